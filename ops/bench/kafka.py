"""The Kafka part: one broker, started for it, and every measurement against it, each in a process of its own."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ops.bench.kafka_cpu import can_measure
from ops.bench.kafka_peer import NoPeerError, measure_peer
from ops.bench.scenario import Scenario
from ops.bench.worker import measure
from ops.kafka.broker import Broker
from ops.kafka.installation import NotInstalledError, find_jars, find_java

_RATIOS = ("ratio", "ratio_orjson", "ratio_cpu")
_LIMITS = ("limit", "limit_cpu", "limit_broker_cpu", "orjson", "orjson_cpu", "orjson_broker_cpu")


@dataclass(frozen=True)
class KafkaSizes:
    """How much is measured; `wide` are the large records, seconds are of wall time."""

    main: Scenario
    peer_lines: int
    wide: Scenario
    processes: tuple[int, ...]
    paced_seconds: int
    warm_up_seconds: int
    idle_partitions: int
    idle_seconds: int


KAFKA = KafkaSizes(Scenario(100_000, 3_000_000), 200_000, Scenario(100_000, 600_000), (1, 2), 30, 10, 64, 20)
QUICK_KAFKA = KafkaSizes(Scenario(2_000, 40_000), 4_000, Scenario(2_000, 20_000), (1, 2), 4, 2, 64, 4)


def why_not_here() -> str | None:
    """What keeps this machine from measuring Kafka, as a sentence."""
    if not can_measure():
        return "this system does not tell the CPU time of other processes in /proc"
    try:
        find_java()
        find_jars()
    except NotInstalledError as missing:
        return str(missing)
    return None


def measure_kafka(
    sizes: KafkaSizes, repeats: int, traffic: Callable[[Scenario], str], tell: Callable[[str], None]
) -> dict[str, Any]:
    """All of it; `traffic` gives the path of a scenario's events. Only `absent`, a sentence, where it cannot be had."""
    if why := why_not_here():
        tell(f"Kafka is left out: {why}")
        return {"absent": why}
    with tempfile.TemporaryDirectory() as folder, Broker() as broker:
        bench = _Bench(broker, Path(folder), sizes, repeats, traffic, tell)
        flow = bench.flow()
        return {
            "cores": len(os.sched_getaffinity(0)),
            "flow": flow,
            "peer": bench.peer(),
            "processes": bench.processes(),
            "latency": bench.latency(round(flow["per_second"] / 2)),
            "idle": bench.idle(),
        }


@dataclass(frozen=True, slots=True)
class _Bench:
    """The measurements, in the order in which they are made."""

    broker: Broker
    folder: Path
    sizes: KafkaSizes
    repeats: int
    traffic: Callable[[Scenario], str]
    tell: Callable[[str], None]

    def flow(self) -> dict[str, Any]:
        """Limit and flow in turns on one topic, as for files; the ratio is the median of the pairs."""
        scenario = self.sizes.main
        path = self.traffic(scenario)
        self.tell("filling a topic with them")
        filled = measure(
            "kafka_topic",
            bootstrap=self.broker.bootstrap,
            prefix="main.",
            path=path,
            subscriptions=scenario.subscriptions,
        )
        os.sync()  # or the first round waits for the disk while the topic is written down
        rounds = [self._round(number, filled["topic"]) for number in range(self.repeats)]
        middle = sorted(rounds, key=lambda one: float(one["per_second"]))[len(rounds) // 2]
        medians = {name: median(one[name] for one in rounds) for name in (*_RATIOS, *_LIMITS)}
        told = [{name: one[name] for name in ("per_second", "limit", "ratio", "ratio_cpu")} for one in rounds]
        return {**middle, **medians, "subscriptions": scenario.subscriptions, "rounds": told, "filled": filled}

    def _round(self, number: int, topic: str) -> dict[str, Any]:
        events = self.sizes.main.events
        exact, plain = (
            self._measure("kafka_limit", prefix="main.", topic=topic, events=events, decoder=decoder)
            for decoder in ("exact", "orjson")
        )
        flow = self._measure("kafka_flow", prefix="main.", events=events, ledger=self.folder / f"main-{number}")
        self.tell(f"  {flow['per_second']:,.0f} events/s, bare limit {exact['per_second']:,.0f}")
        return {
            **flow,
            "limit": exact["per_second"],
            "limit_cpu": exact["cpu"],
            "limit_broker_cpu": exact["broker_cpu"],
            "orjson": plain["per_second"],
            "orjson_cpu": plain["cpu"],
            "orjson_broker_cpu": plain["broker_cpu"],
            "ratio": flow["per_second"] / exact["per_second"],
            "ratio_orjson": flow["per_second"] / plain["per_second"],
            "ratio_cpu": exact["cpu"] / flow["cpu"],
        }

    def peer(self) -> dict[str, Any]:
        """The Quix Streams job on the same topic."""
        path = self.traffic(self.sizes.main)
        self.tell("the peer on the same topic")
        try:
            return measure_peer(self.broker.bootstrap, "main.metering.events", "peer.", path, self.sizes.peer_lines)
        except NoPeerError as missing:
            self.tell(f"The peer is left out: {missing}")
            return {"absent": str(missing)}

    def processes(self) -> list[dict[str, Any]]:
        """Large records through one process, and through more."""
        path, found = self.traffic(self.sizes.wide), []
        for number in self.sizes.processes:
            self.tell(f"large records through {number} process(es)")
            found.append(
                self._measure(
                    "kafka_processes",
                    prefix=f"wide-{number}.",
                    path=path,
                    subscriptions=self.sizes.wide.subscriptions,
                    processes=number,
                    ledger=self.folder / f"wide-{number}",
                )
            )
        return found

    def latency(self, per_second: int) -> dict[str, Any]:
        """From the producer to the published row."""
        self.tell(f"records at {per_second:,} a second")
        return self._measure(
            "kafka_latency",
            prefix="paced.",
            subscriptions=self.sizes.main.subscriptions,
            per_second=per_second,
            seconds=self.sizes.paced_seconds,
            warm_up=self.sizes.warm_up_seconds,
            ledger=self.folder / "paced",
        )

    def idle(self) -> dict[str, Any]:
        """A flow without records."""
        self.tell(f"{self.sizes.idle_partitions} idle partitions")
        return self._measure(
            "kafka_idle",
            prefix="idle.",
            partitions=self.sizes.idle_partitions,
            seconds=self.sizes.idle_seconds,
            ledger=self.folder / "idle",
        )

    def _measure(self, name: str, **arguments: Any) -> dict[str, Any]:
        broker = self.broker
        return measure(name, bootstrap=broker.bootstrap, broker=broker.process_id, **arguments)
