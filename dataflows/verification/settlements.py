"""Settling once more: each settlement from the ledger as it was then, and its rows compared column by column.

Owns that, and the certificates. Does not own what is owed (`rating.settle`). The rule: a settlement had seen what its
certificate names and every settlement before it, so the same must come of it, whatever came later.
"""

from collections.abc import Mapping

import duckdb
import numpy as np
import polars as pl

from dataflows.catalog_versions import CatalogVersions
from dataflows.errors import RatemillError
from dataflows.ledger.commit_rows import CommitReader
from dataflows.ledger.folder import LedgerFolder
from dataflows.settlement.closing import parts_of
from dataflows.settlement.reading import Completeness, LedgerReader
from dataflows.verification.commits import CommitRow, place_of
from dataflows.verification.findings import Check, Difference, Findings, Unchecked
from dataflows.verification.rounds import Commits, Round, Seen, look_before, named_commits, rounds_of, seen_by_offsets
from rating.book import settled_numbers
from rating.due import NEVER, VOIDS_NONE, Due, Moments, again, due_periods
from rating.periods import ENDLESS, microseconds
from rating.settle import Tariff, settle
from schemas.invoices import Outcome
from schemas.ledger import TABLES, polars_schema

_TABLES = {
    "invoices": (Check.INVOICES, ["invoice_id"]),
    "invoice_lines": (Check.INVOICE_LINES, ["invoice_line_id"]),
    "settled_periods": (Check.SETTLED_PERIODS, ["subscription_id", "period"]),
    "notifications": (Check.NOTICES, ["notification_id"]),
}
_Tables = dict[str, pl.DataFrame]


class Settlements:
    """All settlements of a ledger; `rating` and `settlement` are the commits of both flows by writer."""

    def __init__(
        self, folder: LedgerFolder, catalogs: CatalogVersions, rating: Commits, settlement: Commits, findings: Findings
    ) -> None:
        self._folder = folder
        self._catalogs = catalogs
        self._rating = rating
        self._settlement = settlement
        self._findings = findings
        self._tariffs: dict[str, Tariff] = {}
        self._readers = {writer: CommitReader(folder, writer) for writer in settlement}

    def check(self) -> None:
        """Certificates first, then each settlement in its order; after damage there is nothing to settle from."""
        left = sum(map(len, self._settlement.values()))
        try:
            if not self._findings.differing[Check.FILES]:
                for settled in rounds_of(self._settlement, self._certificates()):
                    self._settle(settled)
                    left -= len(settled.commits)
        except (RatemillError, duckdb.Error) as error:
            self._findings.damage("settlement", "", str(error).partition("\n")[0])
        self._findings.unchecked[Unchecked.NOT_SETTLED] += left

    def _rows(self, row: CommitRow, table: str) -> pl.DataFrame:
        reader = self._readers[row["writer"]]
        commit = reader.commit(row["sequence"])
        none = pl.DataFrame(schema=polars_schema(TABLES[table]))
        return pl.concat([none, *reader.rows(commit, table, TABLES[table].names)])

    def _certificates(self) -> Mapping[tuple[int, int], Seen]:
        """What each commit of settlement had seen of rating."""
        found = {}
        for rows in self._settlement.values():
            for row in rows:
                found[row["writer"], row["sequence"]] = self._certificate_of(row)
        return found

    def _certificate_of(self, row: CommitRow) -> Seen:
        invoices = self._rows(row, "invoices").select("number", "certificate")
        self._findings.add(Check.CERTIFICATES, invoices.height)
        sound: Seen | None = None
        others: Seen | None = None
        texts = invoices.group_by("certificate", maintain_order=True).agg(pl.col("number"))
        for text, numbers in texts.iter_rows():
            seen = named_commits(text, self._rating)
            computed = None if seen is None else self._facts(seen).certificate(row["catalog_digest"])
            if seen is not None and computed == text:
                sound = seen
                continue
            others = others or seen
            for number in numbers:
                difference = Difference(Check.CERTIFICATES, place_of(row), number, "certificate", text, computed)
                self._findings.differ(difference)
        return sound or others or seen_by_offsets(row, self._rating)

    def _facts(self, seen: Seen) -> Completeness:
        """What settlement reads of the commits of rating (`Completeness`), after so many of them."""
        commits = []
        for writer, count in sorted(seen.items()):
            own = self._rating[writer][:count]
            summed = {name: sum(row[name] for row in own) for name in _SUMS}
            commits.append({**own[-1], **summed})
        reached = [microseconds(row["progress"]) for row in commits if row["progress"] is not None]
        complete = len(reached) == self._folder.shape.writers
        return Completeness(min(reached) if complete else None, tuple(commits))

    def _settle(self, settled: Round) -> None:
        tariff = self._tariff(settled.catalog)
        stored = self._stored(settled)
        waits = stored["settled_periods"]["outcome"] == Outcome.WAITING.label
        self._findings.unchecked[Unchecked.WAITING] += int(waits.sum())
        stored["settled_periods"] = stored["settled_periods"].filter(~waits)
        place = " and ".join(place_of(row) for row in settled.commits)
        seen = {writer: count for writer, count in settled.seen.items() if writer in self._rating and count}
        certificate = self._facts(seen).certificate(settled.catalog)
        commits = {**self._rating, **self._settlement}
        replaced = stored["invoices"].select("invoice_id", replaced="voids").drop_nulls()
        periods = stored["settled_periods"].join(replaced, on="invoice_id", how="left")
        with look_before(self._folder, settled, commits, replaced["replaced"].to_list()) as reader:
            computed = _computed(tariff, reader, settled, periods, certificate)
        for table, (check, keys) in _TABLES.items():
            rows = computed[table]
            if table == "settled_periods":
                rows = rows.filter(pl.col("outcome") != Outcome.WAITING.label)
            self._findings.compare(check, place, stored[table], rows, keys)

    def _stored(self, settled: Round) -> _Tables:
        return {table: pl.concat([self._rows(row, table) for row in settled.commits]) for table in _TABLES}

    def _tariff(self, digest: str) -> Tariff:
        if digest not in self._tariffs:
            catalog = self._catalogs.history.catalog(digest)
            self._tariffs = {digest: Tariff.of(catalog, self._catalogs.compiled(digest))}
        return self._tariffs[digest]


_SUMS = tuple("received events rated exempt trial blocked duplicate parked late rejected".split())


def _computed(tariff: Tariff, reader: LedgerReader, settled: Round, periods: pl.DataFrame, certificate: str) -> _Tables:
    """The rows of a settlement of these periods, from what `reader` sees."""
    found = {table: [pl.DataFrame(schema=polars_schema(TABLES[table]))] for table in _TABLES}
    columns = tariff.seller.catalog.subscriptions
    ids = pl.DataFrame({"subscription_id": columns.ids}).with_row_index("subscription")
    ids = ids.cast({"subscription": pl.Int64})
    before = reader.settled(ids)
    periods = periods.join(ids, on="subscription_id").with_columns(number=pl.col("period") - 1)
    due = _due(tariff, reader, before, settled.as_of, periods)
    if len(due.subscription):
        refunds = [(one.id, one.invoice) for one in tariff.catalog.refunds]
        whole = reader.whole(refunds, int(due.start.min()))
        for part in parts_of(due):
            named = pl.DataFrame({"subscription": np.unique(part.subscription)})
            named = named.join(ids, on="subscription", how="left", maintain_order="left")
            book = reader.book(named, before, whole)
            for table, rows in settle(tariff, part, book, certificate).tables().items():
                found[table].append(rows)
    return {table: pl.concat(rows) for table, rows in found.items()}


def _due(tariff: Tariff, reader: LedgerReader, before: pl.DataFrame, as_of: int, periods: pl.DataFrame) -> Due:
    """The periods of a settlement as they were due: those that it says it has settled, for the first time or again."""
    catalog, terms = tariff.seller.catalog, tariff.seller.terms
    settled = settled_numbers(before, len(catalog.subscriptions.ids), NEVER)
    is_again = pl.Series(settled[periods["subscription"].to_numpy()] >= periods["number"].to_numpy(), dtype=pl.Boolean)
    first = periods.filter(~is_again)
    tested = terms.is_test[catalog.subscriptions.product[first["subscription"].to_numpy()]]
    ends = first["period_end"].dt.epoch("us").to_numpy()
    # Test modes have a grace of their own, so that their moment is another one.
    until = Moments(as_of, int(ends[tested].max(initial=-ENDLESS)))
    due = due_periods(catalog, terms, settled, until)
    own = first.select("subscription", "number", is_own=pl.lit(value=True))
    known = pl.DataFrame({"subscription": due.subscription, "number": due.number})
    marked = known.join(own, on=["subscription", "number"], how="left", maintain_order="left")
    due = due.take(np.flatnonzero(marked["is_own"].fill_null(value=False).to_numpy()))
    once_more = periods.filter(is_again).sort("subscription")
    return due.joined(_again(tariff, reader, once_more, as_of)) if len(once_more) else due


def _again(tariff: Tariff, reader: LedgerReader, periods: pl.DataFrame, as_of: int) -> Due:
    key = ["subscription", "number"]
    voids = reader.replaced().select(replaced="invoice_id", voids="revision")
    asked = periods.join(voids, on="replaced", how="left", maintain_order="left")
    asked = asked.join(reader.revisions(periods.select(*key, "subscription_id")), on=key, maintain_order="left")
    rows = asked.select(*key, "revision", pl.col("voids").fill_null(VOIDS_NONE)).iter_columns()
    subscription, number, revision, voided = (column.to_numpy() for column in rows)
    return again(tariff.seller.catalog, subscription, number, revision, voided, as_of)
