"""The rating flow, from files of events to the ledger; it reads as the picture in docs/architecture: top to bottom.

    files ──► read: decode, resolve, admit ──► deal ──► rate, state per key group ──► ledger: price, write, publish
                          └──────────────► announce: how many come, how far we are ──────┘

Owns the order of the steps. Does not own what they do. An item is a table of many events. Step names, key-group names
and writer names are part of the recovery state: none may change.

`python -m bytewax.run dataflows.rating -r LEDGER/recovery -s 2 -b 0` runs it from the settings; `ratemill rate` and
`dataflows.launcher` are the usual ways.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.files import FileSource, Finished, InputFile, ReadingProgress, register_inputs
from dataflows.connectors.ledger import LedgerSink, RatingProgress, announcements, writer_name
from dataflows.errors import RatemillError
from dataflows.failures import noted
from dataflows.key_groups import key_group_names
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.preparation import FLOW, LEDGER_STEP, READ_STEP, prepare_among_peers
from dataflows.settings import Settings, load_settings
from dataflows.steps.first_sights import FirstSights
from rating.catalog import CompiledCatalog, compile_catalog
from rating.engine import Admitted, GroupState, Rated, RatingSettings, Share, rate


@dataclass(frozen=True, slots=True)
class RatingPlan:
    """All that a rating flow is built from; `on_progress` is called in this process whenever rows were handed over."""

    catalog: CompiledCatalog
    folder: LedgerFolder
    inputs: Sequence[InputFile]
    settings: Settings
    reading: ReadingProgress = field(default_factory=lambda: ReadingProgress({}))
    writing: RatingProgress = field(default_factory=RatingProgress)
    on_progress: Callable[[], None] = lambda: None

    @property
    def rating_settings(self) -> RatingSettings:
        """The settings that the core takes."""
        return RatingSettings(self.settings.key_groups, self.settings.lateness_us, self.settings.skew_us)


def build_flow(plan: RatingPlan) -> Dataflow:
    """The flow, ready to run; the ledger must have been prepared (`preparation.prepare`)."""
    flow = Dataflow(FLOW)
    admitted = op.input(READ_STEP, flow, _source(plan))
    shares = op.flat_map("deal", admitted, _dealer(plan))
    rated = op.stateful_batch("rate", shares, _rater(plan))
    to_writers = op.map("route", rated, lambda keyed: keyed[1])
    announced = op.flat_map("announce", admitted, lambda item: announcements(item, plan.settings.writers))
    op.output(LEDGER_STEP, op.merge("gather", announced, to_writers), _sink(plan))
    return flow


def flow() -> Dataflow:
    """The flow from the settings of this process, for `python -m bytewax.run dataflows.rating`."""
    settings = load_settings()
    if settings.catalog is None or settings.ledger is None or not settings.events:
        raise RatemillError("RATEMILL_CATALOG, RATEMILL_EVENTS and RATEMILL_LEDGER must say what to rate, and where to")
    catalog = compile_catalog(load_catalog(settings.catalog))
    folder = open_folder(settings.ledger, settings.key_groups, settings.writers)
    prepare_among_peers(folder)
    return build_flow(RatingPlan(catalog, folder, register_inputs(folder, settings.events), settings))


def _source(plan: RatingPlan) -> FileSource:
    settings = plan.settings
    return FileSource(
        plan.inputs, plan.catalog, plan.rating_settings, settings.batch_records, settings.batch_bytes, plan.reading
    )


def _dealer(plan: RatingPlan) -> Callable[[Admitted | Finished], list[tuple[str, tuple[int, Share]]]]:
    names = key_group_names(plan.settings.key_groups)

    def deal(item: Admitted | Finished) -> list[tuple[str, tuple[int, Share]]]:
        return [] if isinstance(item, Finished) else [(names[group], (group, share)) for group, share in item.shares]

    return deal


def _rater(plan: RatingPlan) -> Callable[[bytes | None], StatefulBatchLogic]:
    first_sights = FirstSights(plan.folder, plan.rating_settings, plan.catalog)
    return noted(lambda snapshot: KeyGroup(plan, first_sights, snapshot))


class KeyGroup(StatefulBatchLogic):
    """The rating of one key group; its state is in memory, its snapshot plain bytes."""

    def __init__(self, plan: RatingPlan, first_sights: FirstSights, snapshot: bytes | None) -> None:
        self._plan = plan
        self._settings = plan.rating_settings
        self._first_sights = first_sights
        self._state: GroupState | None = None
        if snapshot is not None:
            self._state = first_sights.give(GroupState.load(snapshot, plan.catalog, self._settings.lateness))

    @noted
    def on_batch(self, values: list[tuple[int, Share]]) -> tuple[list[tuple[str, Rated]], bool]:
        outcomes = []
        for key_group, share in values:
            if self._state is None:
                self._state = self._first_sights.give(GroupState.new(key_group, self._settings.lateness))
            assert self._state.key_group == key_group, f"{key_group} came to {self._state.key_group}"
            self._state, rated = rate(self._state, share, self._plan.catalog, self._settings)
            outcomes.append((writer_name(key_group % self._plan.settings.writers), rated))
        return outcomes, self.RETAIN

    @noted
    def snapshot(self) -> bytes:
        assert self._state is not None, "a key group without state has had no share"
        return self._state.snapshot(self._plan.catalog)


def _sink(plan: RatingPlan) -> LedgerSink:
    settings = plan.settings
    keeping = Housekeeping(settings.merge_files, settings.merged_rows, settings.replaced_files_seconds)
    return LedgerSink(plan.folder, settings.writers, plan.catalog, keeping, plan.writing, plan.on_progress)
