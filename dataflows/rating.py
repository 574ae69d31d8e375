"""The rating flow, from events to the ledger; it reads as the picture in docs/architecture: top to bottom.

    files or Kafka ──► read: decode, admit ──► deal ──► rate, state per key group ──► ledger: price, write, publish
                              └──────────► announce: how many come, how far we are ──────┘

Owns the order of the steps. Does not own what they do. An item is a table of many events. Step names, key-group names
and writer names are part of the recovery state: none may change.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import StatefulBatchLogic

from dataflows.catalogs import Catalogs
from dataflows.connectors.announcements import announcements, writer_name
from dataflows.connectors.files import FileSource, InputFile, ReadingProgress
from dataflows.connectors.kafka_source import KafkaSource
from dataflows.connectors.ledger import LedgerSink, RatingProgress
from dataflows.connectors.topic import TopicInput, resting_consumers
from dataflows.failures import noted
from dataflows.housekeeping import housekeeping
from dataflows.items import EpochEnds, Finished, Idle, Reached
from dataflows.kept_epochs import KeptEpochs
from dataflows.key_groups import key_group_names
from dataflows.ledger.folder import LedgerFolder
from dataflows.metrics import Stage, Step, count_snapshot, timed
from dataflows.preparation import FLOW, LEDGER_STEP, RATE_STEP, READ_STEP, files_to_read
from dataflows.settings import Settings
from dataflows.steps.first_sights import FirstSights
from dataflows.steps.give_way import GiveWay, to_workers
from rating.engine import Admitted, GroupState, Rated, RatingSettings, Share, rate

LATENESS_OF_TOPICS = 24 * 3_600_000_000
# The duplicate index forgets by the hour, and every key group that is told something must be kept anew.
_BETWEEN_NEWS = 3_600_000_000

Dealt = tuple[str, tuple[int, Share | Reached]]


@dataclass(frozen=True, slots=True)
class RatingPlan:
    """All that a rating flow is built from.

    `inputs` are files, or one topic. `on_progress` is called in this process whenever rows were handed over. Reading
    a topic ends when `stopping` is set. `threads` waits at its end for what writes the ledger, which a run that fails
    leaves running: the ledger must not be let go before.
    """

    catalogs: Catalogs
    folder: LedgerFolder
    inputs: Sequence[InputFile] | TopicInput
    settings: Settings
    reading: ReadingProgress = field(default_factory=lambda: ReadingProgress({}))
    writing: RatingProgress = field(default_factory=RatingProgress)
    on_progress: Callable[[], None] = lambda: None
    stopping: Event = field(default_factory=Event)
    threads: ExitStack = field(default_factory=ExitStack)
    epochs: KeptEpochs = field(default_factory=KeptEpochs)

    @property
    def rating_settings(self) -> RatingSettings:
        """The settings that the core takes; a topic always has a lateness (semantics 6), files only if one is set."""
        lateness = self.settings.lateness_us
        if lateness is None and isinstance(self.inputs, TopicInput):
            lateness = LATENESS_OF_TOPICS
        return RatingSettings(self.settings.key_groups, lateness, self.settings.skew_us)


def build_flow(plan: RatingPlan) -> Dataflow:
    """The flow, ready to run; the ledger must have been prepared (`preparation.prepare`)."""
    flow = Dataflow(FLOW)
    admitted = op.input(READ_STEP, flow, _source(plan))
    shares = op.flat_map("deal", admitted, _dealer(plan))
    rated = op.stateful_batch(RATE_STEP, shares, _rater(plan))
    to_writers = op.map("route", rated, lambda keyed: keyed[1])
    announced = op.flat_map(
        "announce", admitted, lambda item: announcements(item, plan.settings.writers, plan.settings.key_groups)
    )
    op.output(LEDGER_STEP, op.merge("gather", announced, to_writers), _sink(plan))
    workers = plan.settings.workers * plan.settings.processes
    ends = op.flat_map("ends", admitted, lambda item: to_workers(item, workers))
    op.stateful_batch("give_way", ends, lambda snapshot: GiveWay())
    return flow


def flow() -> Dataflow:
    """The flow from the settings of this process, for Bytewax's own command (`python -m bytewax.run`)."""
    from dataflows.plans import plan_among_peers

    return build_flow(plan_among_peers())


def _source(plan: RatingPlan) -> FixedPartitionedSource:
    settings = plan.settings
    if isinstance(plan.inputs, TopicInput):
        return KafkaSource(plan.inputs, plan.catalogs, plan.rating_settings, settings, plan.stopping, plan.epochs)
    return FileSource(
        plan.inputs,
        plan.catalogs,
        plan.rating_settings,
        settings.batch_records,
        settings.batch_bytes,
        plan.reading,
        resting_consumers(plan.folder),
    )


def _dealer(plan: RatingPlan) -> Callable[[Admitted | Finished | Idle | EpochEnds], list[Dealt]]:
    """Shares go to their key groups; how far a partition is, every key group is told, but seldom."""
    names = key_group_names(plan.settings.key_groups)
    told: dict[int, int] = {}

    def news(partition: int, moment: int) -> list[Dealt]:
        if plan.rating_settings.lateness is None or moment - told.get(partition, 0) < _BETWEEN_NEWS:
            return []
        told[partition] = moment
        return [(name, (group, Reached(partition, moment))) for group, name in enumerate(names)]

    def deal(item: Admitted | Finished | Idle | EpochEnds) -> list[Dealt]:
        match item:
            case Admitted():
                shares: list[Dealt] = [(names[group], (group, share)) for group, share in item.shares]
                return shares + news(item.partition, item.record_time)
            case Idle():
                return news(item.partition, item.moment)
            case Finished() | EpochEnds():
                return []

    return deal


def _rater(plan: RatingPlan) -> Callable[[bytes | None], StatefulBatchLogic]:
    first_sights = FirstSights(plan.folder, plan.rating_settings, _partitions_to_come(plan))
    return noted(lambda snapshot: KeyGroup(plan, first_sights, snapshot))


def _partitions_to_come(plan: RatingPlan) -> Collection[int]:
    """The partitions from which there may be records in this run."""
    if isinstance(plan.inputs, TopicInput):
        return range(plan.inputs.partitions)
    return [file.partition for file in files_to_read(plan.folder, plan.inputs)]


class KeyGroup(StatefulBatchLogic):
    """The rating of one key group; its state is in memory, its snapshot plain bytes.

    The state is laid out for one catalog; a share that was admitted under another one moves it there.
    """

    def __init__(self, plan: RatingPlan, first_sights: FirstSights, snapshot: bytes | None) -> None:
        self._plan = plan
        self._settings = plan.rating_settings
        self._first_sights = first_sights
        self._catalog = plan.catalogs.latest()
        self._state: GroupState | None = None
        if snapshot is not None:
            loaded = GroupState.load(snapshot, self._catalog, self._settings.lateness)
            self._state = first_sights.give(loaded, self._catalog)

    @noted
    @timed(Stage.RATE)
    def on_batch(self, values: list[tuple[int, Share | Reached]]) -> tuple[list[tuple[str, Rated]], bool]:
        outcomes = []
        for key_group, item in values:
            state = self._state_of(key_group)
            if isinstance(item, Reached):
                state.duplicates.advance(item.partition, item.moment)
                continue
            self._state, rated = rate(self._moved_under(state, item.batch.catalog), item, self._catalog, self._settings)
            outcomes.append((writer_name(key_group % self._plan.settings.writers), rated))
        return outcomes, self.RETAIN

    def _state_of(self, key_group: int) -> GroupState:
        if self._state is None:
            self._state = self._first_sights.give(GroupState.new(key_group, self._settings.lateness), self._catalog)
        assert self._state.key_group == key_group, f"{key_group} came to {self._state.key_group}"
        return self._state

    def _moved_under(self, state: GroupState, digest: str) -> GroupState:
        before = self._catalog
        if digest == before.digest:
            return state
        self._catalog = self._plan.catalogs.compiled(digest)
        return state.under(before, self._catalog)

    @noted
    @timed(Stage.SNAPSHOT)
    def snapshot(self) -> bytes:
        assert self._state is not None, "a key group without state has had no share"
        return count_snapshot(Step.RATE, self._state.snapshot(self._catalog))


def _sink(plan: RatingPlan) -> LedgerSink:
    keeping = housekeeping(plan.settings)
    return LedgerSink(
        plan.folder,
        plan.settings.writers,
        plan.catalogs,
        keeping,
        plan.writing,
        plan.on_progress,
        plan.threads,
        plan.epochs,
    )
