"""The settlement flow: while the rating flow writes the ledger, its periods are closed as they end.

    commits: how far is the input complete? ──► is anything due by then? ──► settle, split by key group ──► ledger

Owns that order, and when to look. Does not own closing (`closing`). The rule: the flow keeps nothing: what was settled,
and how far input is complete, the ledger says; so it may be killed and started at any moment, and time is the progress
of the input, never the clock.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import duckdb
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.errors import RatemillError, UnmendableError
from dataflows.failures import noted, plain_failures
from dataflows.housekeeping import housekeeping
from dataflows.ledger.folder import LedgerFolder, take_lock
from dataflows.relay import to_standard_error
from dataflows.settings import Settings
from dataflows.settlement.alone import Together
from dataflows.settlement.closing import Closer, SettlementProgress
from dataflows.settlement.reading import look
from rating.due import Moments, next_due
from rating.periods import ENDLESS
from rating.settle import Tariff

FLOW = "settlement"
_SECONDS_AFTER_FAILURE = 5.0
# What waits for a person is looked at again so often, for the catalog may have been put right.
_SECONDS_BETWEEN_SECOND_CHANCES = 60.0
_DAY = 86_400_000_000
_NEVER = Moments(-ENDLESS, -ENDLESS)


@dataclass(slots=True)
class SettlementFlowProgress:
    """What the flow has done since it was started; `reached` is up to when the ledger was complete (microseconds).

    By writer: `waiting` are subscriptions that are not settled, with why; `failed` is what is to be tried again.
    """

    periods: int = 0
    invoices: int = 0
    waiting: dict[int, dict[str, str]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    stray_refunds: set[str] = field(default_factory=set)
    reached: int | None = None


class Tariffs:
    """The catalogs of a ledger's history as settlement uses them, the last one kept; for the workers of a process."""

    def __init__(self, history: CatalogHistory) -> None:
        self._versions = CatalogVersions(history)
        self._lock = threading.Lock()
        self._last: Tariff | None = None

    def at(self, moment: int) -> str | None:
        """The digest of the catalog in force at a moment (microseconds UTC); None if the ledger has none yet."""
        self._versions.refresh()
        return self._versions.at(moment) if self._versions.history.versions() else None

    def tariff(self, digest: str) -> Tariff:
        """The tariff with this digest."""
        with self._lock:
            if self._last is None or self._last.seller.catalog.digest != digest:
                self._last = Tariff.of(self._versions.history.catalog(digest), self._versions.compiled(digest))
            return self._last


@dataclass(frozen=True, slots=True)
class SettlementPlan:
    """All that the flow is built from."""

    folder: LedgerFolder
    tariffs: Tariffs
    settings: Settings
    stopping: threading.Event
    progress: SettlementFlowProgress
    remark: Callable[[str], None]
    together: Together


@dataclass(frozen=True, slots=True)
class Look:
    """Something may be due in the key groups of a settlement writer; of those that have ended, `supplements`."""

    writer: int
    until: Moments
    catalog: str
    supplements: bool


def run_settlement(
    settings: Settings,
    folder: LedgerFolder,
    stop: threading.Event,
    *,
    progress: SettlementFlowProgress | None = None,
    remark: Callable[[str], None] = to_standard_error,
) -> SettlementFlowProgress:
    """Settle until `stop` is set; RatemillError says in one sentence why that cannot go on."""
    progress = progress or SettlementFlowProgress()
    tariffs = Tariffs(CatalogHistory(folder.root))
    flow = build_flow(SettlementPlan(folder, tariffs, settings, stop, progress, remark, Together(folder)))
    flow_lock = take_lock(folder, fcntl.LOCK_EX, "settlement-flow.lock")
    with closing(os.fdopen(flow_lock)), plain_failures(folder):
        cluster_main(flow, [], 0, worker_count_per_proc=settings.workers)
    return progress


def build_flow(plan: SettlementPlan) -> Dataflow:
    """The flow, ready to run; it needs no recovery store."""
    flow = Dataflow(FLOW)
    due = op.input("look", flow, Looks(plan))
    settled = op.map("settle", due, Settler(plan))
    op.output("tell", settled, Told())
    return flow


class Looks(FixedPartitionedSource[Look, None]):
    """One partition for each settlement writer; they are dealt to the workers."""

    def __init__(self, plan: SettlementPlan) -> None:
        self._plan = plan

    def list_parts(self) -> list[str]:
        return [str(writer) for writer in self._plan.folder.settlement_writers()]

    @noted
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "LookPartition":
        return LookPartition(self._plan, int(for_part))


class LookPartition(StatefulSourcePartition[Look, None]):
    """Looks how far the ledger is complete; gives a look when that has passed the next moment at which one is due."""

    def __init__(self, plan: SettlementPlan, writer: int) -> None:
        self._plan = plan
        self._writer = writer
        self._awake = datetime.now(UTC)
        self._catalog = ""
        self._next = _NEVER
        self._again = self._awake
        self._day = -1

    def next_awake(self) -> datetime:
        return self._awake

    @noted
    def next_batch(self) -> Iterable[Look]:
        if self._plan.stopping.is_set():
            raise StopIteration
        self._awake = datetime.now(UTC) + timedelta(seconds=self._plan.settings.settlement_seconds)
        try:
            return self._look()
        except (duckdb.Error, RatemillError) as error:
            self._put_off(error)
            return []

    def snapshot(self) -> None:
        return None

    def _look(self) -> list[Look]:
        with look(self._plan.folder.root) as reader:
            progress = reader.completeness(self._plan.folder.shape.writers).progress
        catalog = None if progress is None else self._plan.tariffs.at(progress)
        if progress is None or catalog is None:
            return []
        self._plan.progress.reached = progress
        settings = self._plan.settings
        until = Moments(progress - settings.grace_us, progress - settings.test_grace_us)
        # So that who has left gets one supplement for the events of a day, and not one for each.
        is_new_day = until.usual // _DAY != self._day
        if catalog == self._catalog and not is_new_day and not self._is_due(until):
            return []
        supplements = is_new_day or catalog != self._catalog or bool(self._plan.progress.waiting.get(self._writer))
        self._day = until.usual // _DAY
        self._catalog = catalog
        self._plan.progress.failed.discard(self._writer)
        self._again = datetime.now(UTC) + timedelta(seconds=_SECONDS_BETWEEN_SECOND_CHANCES)
        tariff = self._plan.tariffs.tariff(catalog)
        self._next = next_due(tariff.seller.catalog, tariff.seller.terms, until)
        return [Look(self._writer, until, catalog, supplements)]

    def _is_due(self, until: Moments) -> bool:
        over = until.usual >= self._next.usual or until.of_test_modes >= self._next.of_test_modes
        progress = self._plan.progress
        waits = bool(progress.waiting.get(self._writer)) and datetime.now(UTC) >= self._again
        return over or waits or self._writer in progress.failed

    def _put_off(self, error: Exception) -> None:
        if isinstance(error, UnmendableError):
            raise error
        self._awake = datetime.now(UTC) + timedelta(seconds=_SECONDS_AFTER_FAILURE)
        self._next, self._catalog, self._day = _NEVER, "", -1
        self._plan.remark(f"nothing was settled: {_first_line(error)}; trying again")


class Settler:
    """Settles what a look finds due; what fails is tried again by a later look, for the ledger says what is settled."""

    def __init__(self, plan: SettlementPlan) -> None:
        self._plan = plan
        self._named_for = ""

    @noted
    def __call__(self, found: Look) -> int:
        plan = self._plan
        closer = Closer(plan.folder, plan.tariffs.tariff(found.catalog), housekeeping(plan.settings))
        try:
            self._name_strangers(found, closer)
            with plan.together:
                closer.close(found.until, [found.writer], supplements=found.supplements)
        except (duckdb.Error, RatemillError) as error:
            if isinstance(error, UnmendableError):
                raise
            plan.progress.failed.add(found.writer)
            plan.remark(f"nothing was settled: {_first_line(error)}; trying again")
            return 0
        self._take_note(found.writer, closer.progress)
        return closer.progress.invoices

    def _name_strangers(self, found: Look, closer: Closer) -> None:
        """Once for each catalog: whose line items nobody will be asked to pay."""
        if found.writer != self._plan.folder.settlement_writers().start or found.catalog == self._named_for:
            return
        with look(self._plan.folder.root) as reader:
            for name in reader.strangers(closer.subscriptions):
                self._plan.remark(
                    f"subscription {name} has line items or was settled, and the catalog does not have it: not settled"
                )
        self._named_for = found.catalog

    def _take_note(self, writer: int, done: SettlementProgress) -> None:
        progress = self._plan.progress
        progress.periods += done.done
        progress.invoices += done.invoices
        waiting = {name: f"{reason}: {detail}" for name, reason, detail in done.waiting}
        before = progress.waiting.get(writer, {})
        for name, why in waiting.items():
            if before.get(name) != why:
                self._plan.remark(f"subscription {name} is not settled until a person looks: {why}")
        progress.waiting[writer] = waiting
        for name in set(done.stray_refunds) - progress.stray_refunds:
            self._plan.remark(
                f"refund {name} is of no invoice of the ledger and a subscription of the catalog: it waits for one"
            )
        progress.stray_refunds |= set(done.stray_refunds)


class Told(DynamicSink[int]):
    """The end of the flow; what was done stands in the ledger."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "ToldPartition":
        return ToldPartition()


class ToldPartition(StatelessSinkPartition[int]):
    """Takes the numbers of invoices."""

    def write_batch(self, items: list[int]) -> None:
        del items


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
