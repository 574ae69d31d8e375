"""How long a record takes from its producer to a published row: the producer's clock against the reader's.

A record's time is the moment of its sending. A row is published when the manifest that names its file lies in place and
its moment has come; from then on every reader sees it.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dataflows.ledger import manifest
from ops.bench.kafka_command import RunningFlow, running
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.kafka_topic import make_topics, settings_for
from ops.bench.worker import measure

_EPOCH_SECONDS = 0.5
_SECONDS_TO_END = 120
_QUANTILES = 200


def measure_latency(
    bootstrap: str,
    broker: int,
    prefix: str,
    subscriptions: int,
    per_second: int,
    seconds: int,
    warm_up: int,
    ledger: str,
) -> dict[str, Any]:
    """Seconds from sending to the published row, of all records but those of the first `warm_up` seconds."""
    settings = settings_for(bootstrap, prefix, epoch_seconds=_EPOCH_SECONDS)
    make_topics(settings, subscriptions)
    sightings = Sightings(Path(ledger))
    asked = {"subscriptions": subscriptions, "per_second": per_second, "seconds": seconds + warm_up}
    with ThreadPoolExecutor(1) as thread, running(settings, Path(ledger)) as flow:
        begun, cpu, of_broker = perf_counter(), flow.cpu(), cpu_seconds(broker)
        producer = thread.submit(measure, "kafka_paced", bootstrap=bootstrap, prefix=prefix, **asked)
        sent = _watch(flow, sightings, producer)
        taken = perf_counter() - begun
        cpu, of_broker = flow.cpu() - cpu, cpu_seconds(broker) - of_broker
    sending, latency = sightings.latencies()
    assert len(latency) == sent["sent"], f"{len(latency)} rows of {sent['sent']} records were published"
    steady = latency[sending >= sending.min() + 1_000_000 * warm_up] / 1e6
    quantiles = np.quantile(steady, np.linspace(0, 1, _QUANTILES + 1))
    return {
        "events": len(steady),
        "epoch": _EPOCH_SECONDS,
        "warm_up": warm_up,
        "asked_per_second": per_second,
        "producer": sent,
        **{f"p{percent}": float(np.percentile(steady, percent)) for percent in (50, 90, 99)},
        "max": float(steady.max()),
        "max_with_warm_up": float(latency.max() / 1e6),
        "quantiles": quantiles.round(3).tolist(),
        "cores": cpu / taken,
        "broker_cores": of_broker / taken,
    }


def _watch(flow: RunningFlow, sightings: "Sightings", producer: "Future[dict[str, Any]]") -> dict[str, Any]:
    """Look until all that the producer sent is published; what the producer tells."""
    while not producer.done():
        flow.look()
        sightings.look()
    sent, last = producer.result(), perf_counter() + _SECONDS_TO_END
    while sightings.rows < sent["sent"]:
        flow.look()
        sightings.look()
        assert perf_counter() < last, f"{sightings.rows} of {sent['sent']} records are published"
    return sent


class Sightings:
    """Which files of events have been published, and since when every reader sees them."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._changed: dict[Path, int] = {}
        self._since: dict[str, int] = {}
        self.rows = 0

    def look(self) -> None:
        """Take in what has been published since the last look: each commit's own files, not what they are merged to."""
        for path in (self._ledger / "manifest").glob("*.json"):
            changed = path.stat().st_mtime_ns // 1_000
            if self._changed.get(path) == changed:
                continue
            self._changed[path] = changed
            for file in manifest.load(path).files:
                if file.table == "events" and not file.level and file.name not in self._since:
                    self._since[file.name] = max(file.visible_from, changed)
                    self.rows += file.rows

    def latencies(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each row: when its record was sent, and how long it took from then on, both in microseconds."""
        sending, latency = [], []
        for name, since in self._since.items():
            times = pl.read_parquet(self._ledger / "events" / name, columns=["record_time"])["record_time"]
            sent = times.dt.timestamp("us").to_numpy()
            sending.append(sent)
            latency.append(since - sent)
        return np.concatenate(sending), np.concatenate(latency)
