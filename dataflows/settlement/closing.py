"""Closing what is due: one look at the ledger, key group by key group, invoices written, then published at once.

Owns the order of a settlement on disk. Does not own what is owed (`rating.settle`) or files (`ledger.writer`). The
rule: what was settled is what the ledger says was settled, so a crash anywhere is followed by the same work once more,
and by no second invoice. Each key group's invoices are one writer's.
"""

import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from dataflows.errors import RatemillError
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, take_lock
from dataflows.settlement.reading import Completeness, LedgerReader, look
from dataflows.settlement.writing import invoice_writers
from rating.book import settled_numbers
from rating.due import NEVER, Due, Moments, due_periods
from rating.prices import Index
from rating.settle import Settlement, Tariff, settle
from schemas.invoices import Outcome

# Every reading goes through all line items, and every settling holds what it makes in memory.
_PERIODS_READ_AT_ONCE = 100_000
_PERIODS_SETTLED_AT_ONCE = 25_000
LOCK = "settlement.lock"


@dataclass(slots=True)
class SettlementProgress:
    """What a settlement has done: periods that are due and done, invoices, and subscriptions that wait with why.

    `strangers` are subscriptions that the catalog lacks, `stray_refunds` refunds whose invoice the ledger lacks.
    """

    due: int = 0
    done: int = 0
    invoices: int = 0
    lines: int = 0
    waiting: list[tuple[str, str, str]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    stray_refunds: list[str] = field(default_factory=list)


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
        group = (columns.id_hash % np.uint32(folder.shape.key_groups)).astype(np.int64)
        self._writer_of = folder.settlement_writers().start + group % writers
        self.progress = SettlementProgress()

    @property
    def subscriptions(self) -> pl.DataFrame:
        """The subscriptions of the catalog: `subscription`, its row, and `subscription_id`."""
        return self._ids

    def close(self, until: Moments, writers: Collection[int]) -> None:
        """Settle what is due by then of the key groups of some settlement writers, and publish it."""
        with look(self._folder.root) as reader:
            facts = reader.completeness(self._folder.shape.writers)
            _check_conserved(self._folder, facts)
            settled = reader.settled(self._ids)
            due = self._due(settled, until, writers)
            self.progress.due += len(due.subscription)
            if len(due.subscription):
                self._settle(_Round(reader, facts, due, settled), until, writers)
        self._on_progress(self.progress)

    def _due(self, settled: pl.DataFrame, until: Moments, writers: Collection[int]) -> Due:
        catalog = self._tariff.seller.catalog
        numbers = settled_numbers(settled, len(self._ids), NEVER)
        due = due_periods(catalog, self._tariff.seller.terms, numbers, until)
        return due.take(np.flatnonzero(np.isin(self._writer_of[due.subscription], list(writers))))

    def _settle(self, now: "_Round", until: Moments, writers: Collection[int]) -> None:
        catalog = self._tariff.seller.catalog
        refunds = [(one.id, one.invoice) for one in self._tariff.catalog.refunds]
        whole = now.reader.whole(refunds, int(now.due.start.min()))
        known = set(whole.refunded["invoice_id"])
        self.progress.stray_refunds = [name for name, invoice in refunds if invoice not in known]
        said = now.reader.waiting()
        certificate = now.facts.certificate(catalog.digest)
        owners = self._ids.select("subscription_id", writer=pl.Series(self._writer_of))
        with invoice_writers(self._folder, writers, self._keeping, owners) as out:
            for read in parts_of(now.due, _PERIODS_READ_AT_ONCE):
                book = now.reader.book(self._named(read), now.settled, whole)
                for part in parts_of(read, _PERIODS_SETTLED_AT_ONCE):
                    made = settle(self._tariff, part, book.of(np.unique(part.subscription)), certificate)
                    out.append(self._news(made, said))
                    self.progress.done += len(part.subscription)
                    self._on_progress(self.progress)
            out.publish(now.facts, until.usual, catalog.digest)

    def _named(self, part: Due) -> pl.DataFrame:
        rows = pl.DataFrame({"subscription": np.unique(part.subscription)})
        return rows.join(self._ids, on="subscription", how="left", maintain_order="left")

    def _news(self, made: Settlement, said: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """The rows to write: what was said before of periods that wait is not said again."""
        tables = made.tables()
        periods = tables["settled_periods"]
        waits = periods.filter(pl.col("outcome") == Outcome.WAITING.label)
        news = waits.join(said, on=["subscription_id", "period", "reason", "reason_detail"], how="anti")
        if waits.height:
            tables["settled_periods"] = pl.concat([periods.filter(pl.col("outcome") != Outcome.WAITING.label), news])
        self.progress.invoices += made.invoices.height
        self.progress.lines += made.invoice_lines.height
        self.progress.waiting += waits.select("subscription_id", "reason", "reason_detail").rows()
        return tables


@dataclass(frozen=True, slots=True)
class _Round:
    """One look at the ledger, and what is due by it."""

    reader: LedgerReader
    facts: Completeness
    due: Due
    settled: pl.DataFrame


def parts_of(due: Due, height: int = _PERIODS_SETTLED_AT_ONCE) -> Iterator[Due]:
    """The periods in parts of about so many; those of one subscription stay together."""
    starts: Index = np.flatnonzero(np.diff(due.subscription, prepend=-1))
    first = 0
    while first < len(due.subscription):
        behind = np.searchsorted(starts, first + height)
        end = int(starts[behind]) if behind < len(starts) else len(due.subscription)
        yield due.take(np.arange(first, end))
        first = end


def _check_conserved(folder: LedgerFolder, facts: Completeness) -> None:
    if not facts.is_conserved:
        raise RatemillError(
            f"the ledger {folder.root} does not say what became of every record: see the view `conservation`; nothing"
            " was settled"
        )
