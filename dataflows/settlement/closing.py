"""Closing what is due: one look at the ledger, key group by key group, invoices written, then published at once.

Owns the order of a settlement on disk. Does not own what is owed (`rating.settle`) or files (`ledger.writer`). The
rule: what was settled is what the ledger says was settled, so a crash anywhere is followed by the same work once more,
and by no second invoice. Each key group's invoices are one writer's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
import polars as pl

from dataflows.errors import RatemillError
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.manifest import show_now
from dataflows.ledger.published import VisibleFiles, files_sql
from dataflows.settlement.reading import Completeness, LedgerReader, WholeLedger, look, look_at
from dataflows.settlement.writing import InvoiceWriters, invoice_writers
from rating.book import moved, settled_numbers
from rating.due import NEVER, VOIDS_NONE, Due, Moments, again, due_periods, ended, period_end
from rating.notices import ids_of
from rating.prices import Index
from rating.settle import Settlement, Tariff, settle
from schemas.invoices import Outcome

# Every reading goes through all line items of a writer, and every settling holds what it makes in memory.
_PERIODS_READ_AT_ONCE = 55_000
_PERIODS_SETTLED_AT_ONCE = 27_500
_PARTS_AT_ONCE = 2
_TIME = pl.Datetime("us", "UTC")


@dataclass(slots=True)
class SettlementProgress:
    """What a settlement has done: periods that are due and done, invoices, and subscriptions that wait with why.

    `strangers` are subscriptions that the catalog lacks, `stray_refunds` refunds of which no invoice can be found.
    """

    due: int = 0
    done: int = 0
    invoices: int = 0
    lines: int = 0
    waiting: list[tuple[str, str, str]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    stray_refunds: list[str] = field(default_factory=list)


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
        self._refunds = [(one.id, one.invoice) for one in tariff.catalog.refunds]
        self._lock = Lock()
        self.progress = SettlementProgress()

    @property
    def subscriptions(self) -> pl.DataFrame:
        """The subscriptions of the catalog: `subscription`, its row, and `subscription_id`."""
        return self._ids

    def close(self, until: Moments, writers: Collection[int], *, supplements: bool = True) -> None:
        """Settle what is due by then of the key groups of some settlement writers, and publish it.

        `supplements` are of subscriptions that were settled to their end; finding them goes through all line items.
        """
        self._show_what_was_settled(writers)
        files = VisibleFiles.now(self._folder.root)
        with look_at(files) as reader:
            facts = self._facts(reader)
            settled = reader.settled(self._ids)
            due, over = self._due(settled, until, writers)
            if supplements and len(over):
                due = due.joined(self._supplements(reader, settled, over, until.usual))
            self.progress.due += int((due.revision == 0).sum())
            if self._refunds:
                self.progress.stray_refunds = reader.stray_refunds(self._refunds, self._ids)
            if len(due.subscription):
                self._settle(_Round(reader, files, facts, due, settled), until, writers)
        self._on_progress(self.progress)

    def correct(self, subscription_id: str, period: int, revision: int, moment: int) -> None:
        """Make an invoice anew, from what ledger and catalog say by now; the new one takes its place."""
        named = pl.DataFrame({"subscription_id": [subscription_id], "period": [period], "revision": [revision]})
        self._show_what_was_settled(self._folder.settlement_writers())
        files = VisibleFiles.now(self._folder.root)
        with look_at(files, voided=ids_of(named, named.columns).to_list()) as reader:
            facts = self._facts(reader)
            row = self._row_of(subscription_id)
            due = self._again(reader, np.array([row]), np.array([period - 1]), np.array([revision]), moment)
            settled = reader.settled(self._ids)
            writers = [int(self._writer_of[row])]
            self._settle(_Round(reader, files, facts, due, settled, corrects=True), Moments.both(moment), writers)

    def draft(self, subscription_id: str, moment: int) -> Settlement:
        """What settling a subscription would make of its periods up to the one that is open at a moment, ended by then.

        Nothing is written. RatemillError says why nothing would come of it.
        """
        catalog, terms = self._tariff.seller.catalog, self._tariff.seller.terms
        row = self._row_of(subscription_id)
        with look(self._folder.root) as reader:
            settled = reader.settled(self._ids)
            numbers = settled_numbers(settled, len(self._ids), NEVER)
            over = period_end(catalog, row, moment)
            every = due_periods(catalog, terms, numbers, Moments.both(over))
            due = every.take(np.flatnonzero(every.subscription == row))
            if not len(due.subscription):
                raise RatemillError(f"subscription {subscription_id} has no invoice to come: it is settled to its end")
            whole = reader.whole(self._refunds, int(due.start.min()))
            book = reader.book(self._ids[np.unique(due.subscription)], settled, whole)
            certificate = self._facts(reader).certificate(catalog.digest)
            made = settle(self._tariff, due, book, certificate)
        for reason, detail in made.settled_periods.select("reason", "reason_detail").drop_nulls().rows():
            raise RatemillError(f"subscription {subscription_id} cannot be settled: {reason}: {detail}")
        return made

    def _row_of(self, subscription_id: str) -> int:
        row = self._tariff.seller.catalog.subscription_rows.get(subscription_id)
        if row is None:
            raise RatemillError(f"the catalog does not have subscription {subscription_id}")
        return row

    def _show_what_was_settled(self, writers: Iterable[int]) -> None:
        """Whatever the clock said when it was published: else it would be settled twice."""
        for writer in writers:
            show_now(self._folder.manifest(writer))

    def _facts(self, reader: LedgerReader) -> Completeness:
        facts = reader.completeness(self._folder.shape.writers)
        _check_conserved(self._folder, facts)
        return facts

    def _due(self, settled: pl.DataFrame, until: Moments, writers: Collection[int]) -> tuple[Due, Index]:
        """What is due, and the subscriptions that were settled to their end."""
        catalog, terms = self._tariff.seller.catalog, self._tariff.seller.terms
        numbers = settled_numbers(settled, len(self._ids), NEVER)
        every = due_periods(catalog, terms, numbers, until)
        own = np.isin(self._writer_of[every.subscription], list(writers))
        due = every if own.all() else every.take(np.flatnonzero(own))
        over = ended(catalog, terms, numbers, until, every)
        return due, over[np.isin(self._writer_of[over], list(writers))]

    def _supplements(self, reader: LedgerReader, settled: pl.DataFrame, over: Index, moment: int) -> Due:
        """The last periods of subscriptions that are over, of which something is owed by now, or that were moved."""
        catalog = self._tariff.seller.catalog
        ends = pl.Series(catalog.subscriptions.life[over, 1]).cast(_TIME)
        asked = self._ids[over].with_columns(ended_at=ends)
        own = settled.join(asked, on="subscription", how="semi")
        changed = moved(own, catalog)["subscription"].to_numpy()
        found = np.union1d(reader.afterwards(asked, self._refunds), changed)
        numbers = settled_numbers(own, len(self._ids), NEVER)[found]
        return self._again(reader, found, numbers, np.full(len(found), VOIDS_NONE), moment)

    def _again(self, reader: LedgerReader, subscription: Index, number: Index, voids: Index, moment: int) -> Due:
        asked = pl.DataFrame({"subscription": subscription, "number": number})
        asked = asked.join(self._ids, on="subscription", how="left", maintain_order="left")
        revision = asked.join(reader.revisions(asked), on=["subscription", "number"], maintain_order="left")["revision"]
        catalog = self._tariff.seller.catalog
        return again(catalog, subscription, number, revision.to_numpy(), voids, moment)

    def _settle(self, round_: "_Round", until: Moments, writers: Collection[int]) -> None:
        with invoice_writers(self._folder, writers, self._keeping) as out:
            self._settle_parts(round_, out)
            if round_.corrects and self.progress.waiting:
                name, reason, detail = self.progress.waiting[0]
                raise RatemillError(
                    f"nothing was changed: subscription {name} would not be settled: {reason}: {detail}"
                )
            out.publish(round_.facts, until.usual, self._tariff.seller.catalog.digest)

    def _settle_parts(self, round_: "_Round", out: InvoiceWriters) -> None:
        """Parts are settled side by side; each writer is given rows in the order of its parts."""
        whole = round_.reader.whole(self._refunds, int(round_.due.start.min()))
        said = round_.reader.waiting()
        certificate = round_.facts.certificate(self._tariff.seller.catalog.digest)
        last_of: dict[int, Future[None]] = {}
        begun = []
        with ThreadPoolExecutor(1, "ledger") as aside, ThreadPoolExecutor(_PARTS_AT_ONCE, "settlement") as threads:
            # Settling begins while this is found out, and then waits for it.
            whole = replace(whole, rated_twice=aside.submit(whole.rated_twice).result)
            shared = _Shared(round_, whole, said, certificate, out)
            try:
                for writer, part in self._parts_of_writers(round_.due):
                    last_of[writer] = threads.submit(self._settle_part, shared, writer, part, last_of.get(writer))
                    begun.append(last_of[writer])
                for each in as_completed(begun):
                    each.result()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        # Whichever part was done first.
        self.progress.waiting.sort()

    def _settle_part(self, shared: "_Shared", writer: int, read: Due, before: Future[None] | None) -> None:
        round_ = shared.round
        own = self._ids[np.unique(read.subscription)]
        line_items = self._line_items_of(writer, round_.files)
        if 2 * len(own) < np.count_nonzero(self._writer_of == writer):
            line_items += " SEMI JOIN due USING (subscription_id)"
        book = round_.reader.book(own, round_.settled, shared.whole, line_items)
        for part in parts_of(read):
            made = settle(self._tariff, part, book.of(np.unique(part.subscription)), shared.certificate)
            if before is not None:
                before.result()
            shared.out.append(writer, self._news(made, shared.said))
            with self._lock:
                self.progress.done += int((part.revision == 0).sum())
                self._on_progress(self.progress)

    def _line_items_of(self, writer: int, files: VisibleFiles) -> str:
        """The line items of the key groups of a settlement writer: one writer of the rating flow has written them."""
        rating = writer - self._folder.settlement_writers().start
        return files_sql(files.of("line_items", self._folder.manifest(rating)))

    def _parts_of_writers(self, due: Due) -> Iterator[tuple[int, Due]]:
        writers = self._writer_of[due.subscription]
        for writer in np.unique(writers).tolist():
            for part in parts_of(due.take(np.flatnonzero(writers == writer)), _PERIODS_READ_AT_ONCE):
                yield writer, part

    def _news(self, made: Settlement, said: pl.DataFrame) -> Settlement:
        """The rows to write: what was said before of periods that wait is not said again."""
        periods = made.settled_periods
        waits = periods.filter(pl.col("outcome") == Outcome.WAITING.label)
        with self._lock:
            self.progress.invoices += made.invoices.height
            self.progress.lines += made.invoice_lines.height
            self.progress.waiting += waits.select("subscription_id", "reason", "reason_detail").rows()
        if not waits.height:
            return made
        news = waits.join(said, on=["subscription_id", "period", "reason", "reason_detail"], how="anti")
        done = periods.filter(pl.col("outcome") != Outcome.WAITING.label)
        return replace(made, settled_periods=pl.concat([done, news]))


@dataclass(frozen=True, slots=True)
class _Round:
    """One look at the ledger, and what is due by it; one that corrects is given up if its subscription waits."""

    reader: LedgerReader
    files: VisibleFiles
    facts: Completeness
    due: Due
    settled: pl.DataFrame
    corrects: bool = False


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the parts of a round have in common; `said` is what was said before of periods that wait."""

    round: _Round
    whole: WholeLedger
    said: pl.DataFrame
    certificate: str
    out: InvoiceWriters


def parts_of(due: Due, height: int = _PERIODS_SETTLED_AT_ONCE) -> Iterator[Due]:
    """The periods in even parts of at most about so many; those of one subscription stay together."""
    starts: Index = np.flatnonzero(np.diff(due.subscription, prepend=-1))
    parts = max(1, -(-len(due.subscription) // height))
    first, height = 0, -(-len(due.subscription) // parts)
    while first < len(due.subscription):
        behind = np.searchsorted(starts, first + height)
        end = int(starts[behind]) if behind < len(starts) else len(due.subscription)
        yield due.take(slice(first, end))
        first = end


def _check_conserved(folder: LedgerFolder, facts: Completeness) -> None:
    if not facts.is_conserved:
        raise RatemillError(
            f"the ledger {folder.root} does not say what became of every record: see the view `conservation`; nothing"
            " was settled"
        )
