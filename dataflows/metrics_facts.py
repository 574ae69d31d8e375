"""What is read from a ledger and asked of Kafka, to be scraped: how far both are, and whether the ledger adds up.

Owns: reading `commits` only as far as they are new, and asking for the ends of partitions beside the scrapes. Does not
own: what the processes count (`metrics`). The rule: these are facts, the same whoever looks and however often a flow
was restarted; what cannot be known is absent, never old.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec
import polars as pl
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from dataflows.connectors.kafka_client import admin_client, answer, topic_name
from dataflows.connectors.topic import EVENTS_TOPIC
from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.folder import LedgerFolder, plain_os_errors
from dataflows.ledger.manifest import Manifest
from dataflows.metrics_table import (
    CONSERVATION_DIFFERENCE,
    END_OFFSET,
    KAFKA_UP,
    LAG,
    LEDGER_LINE_ITEMS,
    LEDGER_PROGRESS,
    LEDGER_READABLE,
    LEDGER_RECORDS,
    NEXT_OFFSET,
    PUBLISHED_AGE,
    PUBLISHED_SEQUENCE,
)
from dataflows.settings import Settings
from schemas.verdicts import VERDICT_LABELS

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_QUESTIONS = 3.0
_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_END = 1.0
_COUNTS = ("received", "line_items", *VERDICT_LABELS)


@dataclass(frozen=True, slots=True)
class WriterFacts:
    """The published commits of one writer: all of them added up, and what the last one says.

    `stored` are the rows of its published files by table, `since` is when the last commit was published, and
    `progress` how far it came; both in microseconds since 1970.
    """

    published: int = 0
    since: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    next_offsets: dict[int, int] = field(default_factory=dict)
    progress: int | None = None

    def after(self, folder: LedgerFolder, state: Manifest) -> "WriterFacts":
        """These facts with the commits that are new in the writer's manifest."""
        if state.next_sequence == self.published:
            return self
        stored: Counter[str] = Counter()
        for file in state.files:
            stored[file.table] += file.rows if file.visible_until is None else 0
        files = [file for file in state.live("commits") if file.sequence_last >= self.published]
        commits = pl.scan_parquet([folder.table("commits") / file.name for file in files])
        new = commits.filter(pl.col("sequence") >= self.published)
        counts = new.select(pl.col(*_COUNTS).sum()).collect().row(0, named=True)
        last = commits.filter(pl.col("sequence") == state.next_sequence - 1)
        offsets, progress = last.select("offsets", pl.col("progress").dt.epoch("us")).collect().row(0)
        return WriterFacts(
            state.next_sequence,
            files[-1].visible_from,
            self.counts + Counter(counts),
            stored,
            msgspec.json.decode(offsets, type=dict[int, int]),
            progress,
        )

    @property
    def difference(self) -> int:
        """Rows by which what was received, what has a verdict, and what is stored differ."""
        decided = sum(self.counts[verdict] for verdict in VERDICT_LABELS)
        return (
            abs(self.counts["received"] - decided)
            + abs(decided - self.stored["events"])
            + abs(self.counts["line_items"] - self.stored["line_items"])
        )


class LedgerFacts(Collector):
    """The facts of a ledger, read at most once a second, however many ask."""

    def __init__(self, folder: LedgerFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._facts = [WriterFacts() for _ in folder.writers()]
        self._looked: float | None = None
        self._readable = False

    def look(self) -> list[WriterFacts] | None:
        """The facts of each writer; None if the ledger cannot be read."""
        with self._lock:
            if self._looked is None or time.monotonic() > self._looked + _SECONDS_BETWEEN_LOOKS:
                self._readable = self._read() or self._read()
                self._looked = time.monotonic()
            return list(self._facts) if self._readable else None

    def _read(self) -> bool:
        """Whether all could be read; files may be replaced while we read, so a second attempt may succeed."""
        folder = self._folder
        try:
            with plain_os_errors("cannot read the ledger"):
                for writer in folder.writers():
                    state = manifest.load(folder.manifest(writer))
                    self._facts[writer] = self._facts[writer].after(folder, state)
        except (RatemillError, pl.exceptions.PolarsError, msgspec.MsgspecError):
            return False
        return True

    def next_offsets(self) -> dict[int, int] | None:
        """The first offset of each partition that not all writers have published; None if the ledger is unreadable."""
        if (facts := self.look()) is None:
            return None
        known = set.intersection(*(set(writer.next_offsets) for writer in facts))
        return {partition: min(writer.next_offsets[partition] for writer in facts) for partition in sorted(known)}

    def age(self) -> float | None:
        """Seconds since the last commit of the writer that lags most; None if there is none, or no ledger to read."""
        facts = self.look()
        if facts is None or not all(writer.published for writer in facts):
            return None
        return max(_age(writer) for writer in facts)

    def collect(self) -> Iterator[Family]:
        """The metrics of the ledger."""
        facts = self.look()
        yield LEDGER_READABLE.one(facts is not None)
        if facts is None:
            return
        counts = sum((writer.counts for writer in facts), Counter())
        yield LEDGER_RECORDS.family(((verdict,), counts[verdict]) for verdict in VERDICT_LABELS)
        yield LEDGER_LINE_ITEMS.one(counts["line_items"])
        yield CONSERVATION_DIFFERENCE.family(((number,), writer.difference) for number, writer in enumerate(facts))
        published = [(number, writer) for number, writer in enumerate(facts) if writer.published]
        yield PUBLISHED_SEQUENCE.family(((number,), writer.published - 1) for number, writer in published)
        yield PUBLISHED_AGE.family(((number,), _age(writer)) for number, writer in published)
        yield LEDGER_PROGRESS.family(
            ((number,), writer.progress / 1_000_000) for number, writer in published if writer.progress is not None
        )
        yield NEXT_OFFSET.family(((partition,), offset) for partition, offset in (self.next_offsets() or {}).items())


def _age(writer: WriterFacts) -> float:
    # A state is stamped a little ahead of its publication.
    return max(0.0, (manifest.now() - writer.since) / 1_000_000)


@dataclass(frozen=True, slots=True)
class Ends:
    """The first offset of each partition, and the one behind its last record; absent where there is no leader."""

    first: dict[int, int]
    behind: dict[int, int]


class KafkaFacts(Collector):
    """The ends of the partitions of events, asked in a thread of its own, and how far the ledger is behind them."""

    def __init__(self, settings: Settings, next_offsets: Callable[[], dict[int, int] | None]) -> None:
        self._settings = settings
        self._next_offsets = next_offsets
        self._ends: Ends | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._go_on_asking, name="ends", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join(_SECONDS_TO_END)

    def collect(self) -> Iterator[Family]:
        """The metrics of the partitions."""
        ends, next_offsets = self._ends, self._next_offsets()
        yield KAFKA_UP.one(ends is not None)
        if ends is None:
            return
        yield END_OFFSET.family(((partition,), offset) for partition, offset in ends.behind.items())
        if next_offsets is not None:
            yield LAG.family(((partition,), lag) for partition, lag in lags(ends, next_offsets).items())

    def _go_on_asking(self) -> None:
        admin: AdminClient | None = None
        while not self._leaving.is_set():
            try:
                admin = admin or admin_client(self._settings)
                self._ends = _ask(admin, topic_name(self._settings, EVENTS_TOPIC))
            except (RatemillError, KafkaException):
                self._ends = None
            self._leaving.wait(_SECONDS_BETWEEN_QUESTIONS)


def lags(ends: Ends, next_offsets: dict[int, int]) -> dict[int, int]:
    """Records to the end of each partition; what was deleted before it was read is no lag."""
    first = {partition: max(next_offsets.get(partition, 0), offset) for partition, offset in ends.first.items()}
    # The ledger may have come further since the ends were asked for.
    return {
        partition: max(0, behind - first[partition]) for partition, behind in ends.behind.items() if partition in first
    }


def _ask(admin: AdminClient, topic: str) -> Ends:
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=_SECONDS_TO_ANSWER)
    partitions = range(len(answer(admin, described[topic], _SECONDS_TO_ANSWER).partitions))
    return Ends(
        _offsets(admin, topic, partitions, OffsetSpec.earliest()),
        _offsets(admin, topic, partitions, OffsetSpec.latest()),
    )


def _offsets(admin: AdminClient, topic: str, partitions: range, which: OffsetSpec) -> dict[int, int]:
    asked = {TopicPartition(topic, partition): which for partition in partitions}
    offsets: dict[int, int] = {}
    for place, told in admin.list_offsets(asked, request_timeout=_SECONDS_TO_ANSWER).items():
        try:
            offsets[place.partition] = answer(admin, told, _SECONDS_TO_ANSWER).offset
        except KafkaException:
            continue
    return offsets
