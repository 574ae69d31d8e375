"""Closing what is due: one look at the ledger, key group by key group, invoices written, then published at once.

Owns the order of a settlement on disk. Does not own what is owed (`rating.settle`) or files (`ledger.writer`). The
rule: what was settled is what the ledger says was settled, so a crash anywhere is followed by the same work once more,
and by no second invoice. Each key group's invoices are one writer's.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from dataflows.errors import RatemillError
from dataflows.ledger.commit import LanePosition
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, plain_os_errors, take_lock
from dataflows.ledger.manifest import wait_until_visible
from dataflows.ledger.publication import published_state
from dataflows.ledger.writer import LedgerWriter
from dataflows.settlement.reading import Completeness, LedgerReader, WholeLedger, look
from rating.book import settled_numbers
from rating.due import NEVER, Due, Moments, due_periods
from rating.prices import Index
from rating.settle import Settlement, Tariff, settle
from schemas.invoices import Outcome

_PERIODS_AT_ONCE = 100_000
LOCK = "settlement.lock"


@dataclass(slots=True)
class SettlementProgress:
    """What a settlement has done: periods that are due and done, invoices, and subscriptions that wait with why."""

    due: int = 0
    done: int = 0
    invoices: int = 0
    lines: int = 0
    waiting: list[tuple[str, str, str]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


@contextmanager
def settling_alone(folder: LedgerFolder) -> Iterator[None]:
    """Nobody else settles this ledger while the block runs; refuses at once if somebody does."""
    handle = take_lock(folder, fcntl.LOCK_EX, LOCK)
    try:
        yield
    finally:
        os.close(handle)


class Closer:
    """The settlement of a ledger by one tariff; holds what does not change from look to look."""

    def __init__(
        self,
        folder: LedgerFolder,
        tariff: Tariff,
        keeping: Housekeeping,
        on_progress: Callable[[SettlementProgress], None] = lambda progress: None,
    ) -> None:
        self._folder = folder
        self._tariff = tariff
        self._keeping = keeping
        self._on_progress = on_progress
        columns = tariff.seller.catalog.subscriptions
        self._ids = (
            pl.DataFrame({"subscription_id": columns.ids})
            .with_row_index("subscription")
            .cast({"subscription": pl.Int64})
        )
        writers = folder.shape.writers
        self._writer_of = (columns.id_hash % np.uint32(folder.shape.key_groups)).astype(np.int64) % writers
        self.progress = SettlementProgress()

    @property
    def subscriptions(self) -> pl.DataFrame:
        """The subscriptions of the catalog: `subscription`, its row, and `subscription_id`."""
        return self._ids

    def close(self, until: Moments, writer: int) -> None:
        """Settle what is due by then of the key groups of one settlement writer, and publish it."""
        with look(self._folder.root) as reader:
            facts = reader.completeness(self._folder.shape.writers)
            _check_conserved(self._folder, facts)
            settled = reader.settled(self._ids)
            due = self._due(settled, until, writer)
            self.progress.due += len(due.subscription)
            if len(due.subscription):
                self._settle(reader, facts, due, settled, writer, until)
        self._on_progress(self.progress)

    def _due(self, settled: pl.DataFrame, until: Moments, writer: int) -> Due:
        catalog = self._tariff.seller.catalog
        numbers = settled_numbers(settled, len(self._ids), NEVER)
        due = due_periods(catalog, self._tariff.seller.terms, numbers, until)
        own = self._writer_of[due.subscription] == writer - self._folder.shape.writers
        return due.take(np.flatnonzero(own))

    def _settle(
        self,
        reader: LedgerReader,
        facts: Completeness,
        due: Due,
        settled: pl.DataFrame,
        number: int,
        until: Moments,
    ) -> None:
        catalog = self._tariff.seller.catalog
        refunds = [(one.id, one.invoice) for one in self._tariff.catalog.refunds]
        whole = reader.whole(refunds, int(due.start.min()))
        said = reader.waiting()
        certificate = facts.certificate(catalog.digest)
        state = published_state(self._folder, number)
        with plain_os_errors(f"cannot write the ledger {self._folder.root}"):
            writer = LedgerWriter(self._folder, number, state.snapshot(), self._keeping)
            wrote = 0
            for part in _parts(due):
                made = self._made(reader, part, settled, whole, certificate)
                wrote += self._append(writer, made, said)
                self.progress.done += len(part.subscription)
                self._on_progress(self.progress)
            if wrote:
                _announce(writer, facts, until, catalog.digest)
                writer.seal()
                writer.keep()
                writer.publish(writer.merge())
                wait_until_visible([self._folder.manifest(number)])

    def _made(
        self, reader: LedgerReader, part: Due, settled: pl.DataFrame, whole: WholeLedger, certificate: str
    ) -> Settlement:
        rows = pl.DataFrame({"subscription": np.unique(part.subscription)})
        subscriptions = rows.join(self._ids, on="subscription", how="left", maintain_order="left")
        book = reader.book(subscriptions, settled, whole)
        return settle(self._tariff, part, book, certificate)

    def _append(self, writer: LedgerWriter, made: Settlement, said: pl.DataFrame) -> int:
        """Add what was made; what was said before of periods that wait is not said again. Gives the number of rows."""
        tables = made.tables()
        periods = tables["settled_periods"]
        waits = periods.filter(pl.col("outcome") == Outcome.WAITING.label)
        key = ["subscription_id", "period", "reason", "reason_detail"]
        news = waits.join(said, on=key, how="anti")
        tables["settled_periods"] = pl.concat([periods.filter(pl.col("outcome") != Outcome.WAITING.label), news])
        self.progress.invoices += made.invoices.height
        self.progress.lines += made.invoice_lines.height
        self.progress.waiting += waits.select("subscription_id", "reason", "reason_detail").rows()
        writer.append(tables)
        return sum(rows.height for rows in tables.values())


def _parts(due: Due) -> Iterator[Due]:
    """The periods in parts of bounded size; those of one subscription stay together."""
    starts: Index = np.flatnonzero(np.diff(due.subscription, prepend=-1))
    first = 0
    while first < len(due.subscription):
        behind = np.searchsorted(starts, first + _PERIODS_AT_ONCE)
        end = int(starts[behind]) if behind < len(starts) else len(due.subscription)
        yield due.take(np.arange(first, end))
        first = end


def _announce(writer: LedgerWriter, facts: Completeness, until: Moments, catalog: str) -> None:
    """What the commit is made from: how far each input was rated."""
    for partition, offset in (facts.offsets or {0: 0}).items():
        writer.announce(0, partition, LanePosition(offset, until.usual), catalog)


def _check_conserved(folder: LedgerFolder, facts: Completeness) -> None:
    if not facts.is_conserved:
        raise RatemillError(
            f"the ledger {folder.root} does not say what became of every record: see the view `conservation`; nothing"
            " was settled"
        )
