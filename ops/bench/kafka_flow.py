"""Kafka -> published ledger, recovery on, in one process: the very work of a process that `ratemill run rating` starts.

The time begins with the poll that brings the first records: starting, which compiles the catalog, is told apart. It
ends when the last commit is published, as after a request to stop: nobody waits for the rest of an epoch.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from dataflows import rating as flow
from dataflows.connectors import kafka_reader, kafka_source
from dataflows.connectors import ledger as sink
from dataflows.connectors.kafka_reader import Poll, TopicReader
from dataflows.connectors.topic import topic_input
from dataflows.launcher import run_here
from dataflows.ledger.folder import locked, open_folder
from dataflows.ledger.published import read_table
from dataflows.ledger.writer import LedgerWriter
from dataflows.plans import plan_of_topic
from dataflows.preparation import prepare
from dataflows.settings import Settings
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.kafka_topic import settings_for
from ops.bench.stopwatch import Stopwatch, peak_memory
from rating.engine import Admitted, LaneState
from schemas.verdicts import VERDICT_LABELS

# "other" is librdkafka's threads, which fetch, and Polars' own.
KAFKA_STAGES = ("consume", "columns", "decode", "admit", "rate", "price", "write", "snapshot", "other")
# Where each stage happens; a name that has moved fails here, loudly.
_STAGES: tuple[tuple[Any, str, str], ...] = (
    (TopicReader, "read", "consume"),
    (kafka_reader, "records_of", "columns"),
    (kafka_reader, "decode", "decode"),
    (kafka_source, "admit", "admit"),
    (flow, "rate", "rate"),
    (sink, "assemble", "price"),
    (LedgerWriter, "append", "write"),
    (LedgerWriter, "seal", "write"),
    (LedgerWriter, "publish", "write"),
    (flow.KeyGroup, "snapshot", "snapshot"),
)


@dataclass(slots=True)
class _Clocks:
    """When reading began, on the wall and in CPU time: of this process, and of the broker."""

    broker: int
    wall: float = 0.0
    own: float = 0.0
    of_broker: float = 0.0

    def start(self) -> None:
        self.wall, self.own, self.of_broker = perf_counter(), process_time(), cpu_seconds(self.broker)

    def read(self) -> tuple[float, float, float]:
        """Seconds since the start."""
        return perf_counter() - self.wall, process_time() - self.own, cpu_seconds(self.broker) - self.of_broker


def measure_kafka_flow(bootstrap: str, broker: int, prefix: str, events: int, ledger: str) -> dict[str, Any]:
    """All events of a topic into a new ledger; CPU times and `stages` are microseconds per event."""
    settings = settings_for(bootstrap, prefix)
    called, clocks, watch = perf_counter(), _Clocks(broker), Stopwatch()
    for owner, name, stage in _STAGES:
        watch.watch(owner, name, stage)
    _start_with_the_first_records(clocks, watch)
    stopping = _stop_after(events)
    _run(Path(ledger), settings, stopping)
    wall, own, of_broker = clocks.read()
    commits = read_table(Path(ledger), "commits")
    assert commits["received"].sum() == events, f"{commits['received'].sum()} of {events} records are published"
    watch.seconds["other"] = own - sum(watch.seconds.values())
    return {
        "events": events,
        "seconds": wall,
        "per_second": events / wall,
        "cpu": 1e6 * own / events,
        "broker_cpu": 1e6 * of_broker / events,
        "start_up": clocks.wall - called,
        "stages": {stage: 1e6 * spent / events for stage, spent in watch.seconds.items()},
        "commits": commits.height,
        "verdicts": {verdict: commits[verdict].sum() for verdict in VERDICT_LABELS},
        "line_items": commits["line_items"].sum(),
        "epoch": settings.epoch_seconds,
        "peak_memory": peak_memory(),
    }


def _start_with_the_first_records(clocks: _Clocks, watch: Stopwatch) -> None:
    """Restart the clocks at each poll, until one has brought records."""
    read: Callable[[TopicReader], Poll] = TopicReader.read
    begun = threading.Event()

    def reading(reader: TopicReader) -> Poll:
        if begun.is_set():
            return read(reader)
        watch.seconds.clear()
        clocks.start()
        poll = read(reader)
        if poll.batches:
            begun.set()
        return poll

    owner: Any = TopicReader
    owner.read = reading


def _stop_after(events: int) -> threading.Event:
    """An event that is set when so many records have been admitted to the flow."""
    admit, stopping, admitted = kafka_source.admit, threading.Event(), 0

    def admitting(*arguments: Any) -> tuple[LaneState, Admitted]:
        nonlocal admitted
        lane, outcome = admit(*arguments)
        admitted += outcome.received
        if admitted >= events:
            stopping.set()
        return lane, outcome

    owner: Any = kafka_source
    owner.admit = admitting
    return stopping


def _run(ledger: Path, settings: Settings, stopping: threading.Event) -> None:
    """The flow until it is asked to stop; then it publishes what is committed."""
    folder = open_folder(ledger, settings.key_groups, settings.writers)
    with locked(folder):
        prepare(folder)
        run_here(plan_of_topic(folder, topic_input(folder, settings), settings, stopping))
        prepare(folder)
