"""The floors of the design (architecture 6) that this benchmark can show, and whether a run reached them.

The rule: what was not measured has no floor, rather than one that is missed or reached.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Floor:
    """One promise: the measured value, what it must reach and what we aim for; `most` when lower is better."""

    name: str
    value: float
    floor: float
    aim: float
    unit: str
    most: bool

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of the floor."""
        return self.value <= self.floor if self.most else self.value >= self.floor


def floors_of(results: dict[str, Any]) -> list[Floor]:
    """Every floor with its value in this run; `results` as `ops.bench.__main__` gathers them."""
    found: list[Floor] = []
    if "core" in results:
        core = results["core"]
        found += [
            Floor("core: duplicates, running usage, prices", core["core"], 0.6, 0.2, "µs", True),
            Floor("state per subscription and charge", core["state_per_charge"], 200, 64, "B", True),
        ]
    if "flows" in results:
        found += _of_files(results["flows"], results["resume"])
    if "settlement" in results:
        found += _of_settlement(results["settlement"])
    if "flow" in results.get("kafka", {}):
        found += _of_kafka(results["kafka"])
    return found


def _of_files(flows: list[dict[str, Any]], resume: dict[str, Any]) -> Iterator[Floor]:
    fewest, most = flows[0], flows[-1]
    bare = "file -> ledger / bare limit"
    for flow in flows:
        yield Floor(f"{bare}, {flow['subscriptions']:,}", flow["ratio"], 0.4, 0.7, "", False)
    for flow in flows:
        yield Floor(f"{bare} in CPU, {flow['subscriptions']:,}", flow["ratio_cpu"], 0.4, 0.7, "", False)
    yield Floor(
        f"throughput at {most['subscriptions']:,} against {fewest['subscriptions']:,}",
        most["per_second"] / fewest["per_second"],
        0.8,
        0.95,
        "",
        False,
    )
    yield Floor(f"resume with {resume['subscriptions']:,} subscriptions", resume["seconds"], 10, 2, "s", True)


def _of_settlement(settled: list[dict[str, Any]]) -> Iterator[Floor]:
    fewest, most = settled[0], settled[-1]
    name = f"settling {fewest['subscriptions']:,} subscriptions / one aggregate"
    yield Floor(name, fewest["ratio"], 5, 2, "", True)
    yield Floor(f"settling {most['subscriptions']:,}, memory", most["most_megabytes"], 2048, 2048, "MiB", True)


def _of_kafka(kafka: dict[str, Any]) -> Iterator[Floor]:
    flow, one, two = kafka["flow"], kafka["processes"][0], kafka["processes"][-1]
    yield Floor("Kafka -> ledger / bare limit", flow["ratio"], 0.4, 0.7, "", False)
    yield Floor("Kafka -> ledger / bare limit in CPU", flow["ratio_cpu"], 0.4, 0.7, "", False)
    yield Floor("Kafka -> ledger, events/s", flow["per_second"], 200_000, 400_000, "", False)
    if "absent" not in kafka["peer"]:
        yield Floor(
            "Kafka -> ledger / Quix Streams job", flow["per_second"] / kafka["peer"]["per_second"], 3, 3, "", False
        )
    yield Floor("two processes / one, large records", two["per_second"] / one["per_second"], 1.5, 1.5, "", False)
    yield Floor("producer -> published row, p99", kafka["latency"]["p99"], 3, 1.5, "s", True)
    idle = kafka["idle"]
    yield Floor(f"{idle['partitions']} idle partitions, of a core", 100 * idle["cores"], 5, 5, "%", True)
