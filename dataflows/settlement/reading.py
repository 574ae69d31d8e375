"""What settlement reads of a ledger, in SQL over its published tables; every read of one reader sees the same state.

Owns the look. Does not own the statements, or what follows from their answers (`rating.settle`). The rule: line items
are summed by statements, so that no more of them than their sums is ever held in memory.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import polars as pl

from dataflows.ledger.commit import offsets_of
from dataflows.ledger.published import VisibleFiles, files_sql
from dataflows.ledger.spill import SpillFolder
from dataflows.settlement import statements
from rating.book import INVOICED, REFUNDED, SETTLED, SUMMED, Book, RefundDone
from rating.periods import microseconds, moment_of
from rating.prices import Index
from schemas.invoices import OF_LINE_ITEMS
from schemas.ledger import TABLES
from schemas.verdicts import VERDICT_LABELS

Refunds = Sequence[tuple[str, str]]

_MEMORY = "256MB"
_HASHES_AT_ONCE = 8_000_000
_MOST_ROWS = 1_000_000_000
_OF_DUE = "FROM line_items SEMI JOIN due USING (subscription_id)"
_LONGEST_LATENESS = 35 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Completeness:
    """How far the inputs of a ledger are rated: by writer its last commit, and counts over all of them.

    `progress` (microseconds UTC) is None until every writer has committed.
    """

    progress: int | None
    commits: tuple[dict[str, Any], ...]

    @property
    def catalog(self) -> str | None:
        """The digest of the catalog in force in the last commit."""
        return max(self.commits, key=lambda row: row["sequence"])["catalog_digest"] if self.commits else None

    @property
    def is_conserved(self) -> bool:
        """Whether every record received has exactly one verdict."""
        return all(
            row["received"] == row["events"] == sum(row[name] for name in VERDICT_LABELS) for row in self.commits
        )

    @property
    def offsets(self) -> dict[int, int]:
        """The next offset of each input partition that no writer has gone beyond."""
        reached: dict[int, int] = {}
        for row in self.commits:
            for partition, offset in offsets_of(row["offsets"]).items():
                reached[partition] = min(offset, reached.get(partition, offset))
        return reached

    def certificate(self, catalog: str) -> str:
        """What an invoice was made from, as JSON text."""
        said = {
            "offsets": {str(partition): offset for partition, offset in sorted(self.offsets.items())},
            "progress": None if self.progress is None else moment_of(self.progress),
            "catalog_digest": catalog,
            "verdicts": {name: int(sum(row[name] for row in self.commits)) for name in VERDICT_LABELS},
            "commits": {str(row["writer"]): row["sequence"] for row in self.commits},
            "ledger_digest": hashlib.sha256("".join(row["digest"] for row in self.commits).encode()).hexdigest(),
        }
        return msgspec.json.encode(said).decode()


class LedgerReader:
    """One consistent look at a ledger, whose tables are given by statements; close it to let the look go.

    Books may be read, and it may be asked what was rated twice, in several threads at once; nothing else may.
    """

    def __init__(self, tables: Mapping[str, str], pending: Path, voided: Sequence[str] = ()) -> None:
        # Two connections would mix up their files in one folder.
        self._spill = SpillFolder(pending)
        self._connection = duckdb.connect(
            config={"memory_limit": _MEMORY, "threads": "1", "temp_directory": str(self._spill.path)}
        )
        self._replaced = pl.DataFrame({"invoice_id": voided}, schema={"invoice_id": pl.String}).to_arrow()
        self._make_ready(self._connection)
        for table, statement in tables.items():
            self._connection.execute(f"CREATE VIEW {table} AS {statement}")
        for view in (statements.VOIDED, statements.STANDING, statements.COUNTED):
            self._connection.execute(view)

    def _make_ready(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("replaced", self._replaced)

    def _beside(self) -> "closing[duckdb.DuckDBPyConnection]":
        """A connection for another thread."""
        connection = self._connection.cursor()
        self._make_ready(connection)
        return closing(connection)

    def close(self) -> None:
        """Let go of the look."""
        self._connection.close()
        self._spill.close()

    def completeness(self, writers: int) -> Completeness:
        """How far the ledger is complete; `writers` is how many must have committed."""
        rows = tuple(self._frame(statements.COMMITS).iter_rows(named=True))
        reached = [microseconds(row["progress"]) for row in rows if row["progress"] is not None]
        return Completeness(min(reached) if len(reached) == writers else None, rows)

    def settled(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The last settled period of each subscription of `ids` (`subscription_id`, `subscription`)."""
        found = self._frame(statements.SETTLED).join(ids, on="subscription_id")
        return found.select(list(SETTLED)).cast(SETTLED)  # type: ignore[arg-type]

    def afterwards(self, ended: pl.DataFrame, refunds: Refunds) -> Index:
        """Of subscriptions that were settled to their end (`subscription_id`, `subscription`, `ended_at`): those of
        which invoices do not say what ledger and catalog say by now.
        """
        self._connection.register("ended", ended.to_arrow())
        self._register_refunds(refunds)
        summed = [kind.label for kind in OF_LINE_ITEMS]
        found = self._connection.execute(statements.AFTERWARDS, {"summed": summed}).fetchall()
        return np.array([row[0] for row in found], np.int64)

    def revisions(self, asked: pl.DataFrame) -> pl.DataFrame:
        """The next `revision` of the invoices of periods (`subscription_id`, `subscription`, `number`)."""
        self._connection.register("asked", asked.to_arrow())
        return self._frame(statements.REVISIONS).cast(
            {"subscription": pl.Int64, "number": pl.Int64, "revision": pl.Int64}
        )

    def replaced(self) -> pl.DataFrame:
        """The `revision` of each `invoice_id` that is about to be voided."""
        return self._frame("SELECT invoice_id, revision FROM invoices SEMI JOIN replaced USING (invoice_id)").cast(
            {"revision": pl.Int64}
        )

    def waiting(self) -> pl.DataFrame:
        """What was said of periods that wait."""
        return self._frame(statements.WAITING)

    def strangers(self, known: pl.DataFrame) -> list[str]:
        """Subscriptions that have line items or settled periods, and that the catalog does not have."""
        self._connection.register("known", known.to_arrow())
        return [str(row[0]) for row in self._connection.execute(statements.STRANGERS).fetchall()]

    def stray_refunds(self, refunds: Refunds, known: pl.DataFrame) -> list[str]:
        """Refunds that no invoice carries yet, of none that there is, or of none whose subscription is `known`."""
        self._register_refunds(refunds)
        self._connection.register("known", known.to_arrow())
        return [str(row[0]) for row in self._connection.execute(statements.STRAY_REFUNDS).fetchall()]

    def book(self, due: pl.DataFrame, settled: pl.DataFrame, whole: "WholeLedger", line_items: str = _OF_DUE) -> Book:
        """What the ledger says of the subscriptions of `due` (`subscription_id`, `subscription`), in their order.

        `line_items` is a statement that gives all of theirs, and perhaps others.
        """
        with self._beside() as connection:
            connection.register("due", due.to_arrow())
            summed = _frame(connection, statements.SUMMED.format(line_items=line_items))
            invoiced = _frame(connection, statements.INVOICED)
        place = np.zeros(int(due["subscription"].max()) + 1, np.int64)  # type: ignore[arg-type]
        place[due["subscription"].to_numpy()] = np.arange(len(due))

        def ordered(rows: pl.DataFrame, columns: Mapping[str, Any]) -> pl.DataFrame:
            rows = rows.select(list(columns)).cast(columns)  # type: ignore[arg-type]
            return rows[np.argsort(place[rows["subscription"].to_numpy()])]

        own = settled.join(due.select("subscription"), on="subscription", how="semi")
        return Book(
            summed=ordered(summed, SUMMED),
            invoiced=ordered(invoiced, INVOICED),
            settled=ordered(own, SETTLED),
            refunded=whole.refunded,
            refunds_done=whole.refunds_done,
            setup_paid_by=whole.setup_paid_by,
            rated_twice=whole.rated_twice,
        )

    def whole(self, refunds: Refunds, since: int) -> "WholeLedger":
        """What concerns more than one subscription; `refunds` are ids of refunds and of their invoices.

        Events rated twice are looked for from the longest lateness before a moment on, in microseconds: adjustments
        are of periods before it.
        """
        refunded: pl.DataFrame = pl.DataFrame(schema=REFUNDED)  # type: ignore[arg-type]
        done: list[Any] = []
        if refunds:
            self._register_refunds(refunds)
            refunded = self._frame(statements.REFUNDED).select(list(REFUNDED)).cast(REFUNDED)  # type: ignore[arg-type]
            done = self._connection.execute(statements.REFUNDS_DONE).fetchall()
        return WholeLedger(
            refunded=refunded,
            refunds_done={row[0]: RefundDone(*row[1:]) for row in done},
            setup_paid_by={(row[0], row[1]): row[2] for row in self._connection.execute(statements.SETUP).fetchall()},
            rated_twice=cache(partial(self._rated_twice, since - _LONGEST_LATENESS)),
        )

    def _rated_twice(self, since: int) -> dict[str, str]:
        """Hashes are compared, which are few bytes; only events that share one, if any, are looked at."""
        with self._beside() as connection:
            [(events,)] = connection.execute(statements.COUNT, {"since": since}).fetchall()
            width = 2**64 // (1 + events // _HASHES_AT_ONCE)
            found = []
            for least in range(0, 2**64, width):
                asked = {"since": since, "least": least, "most": min(least + width, 2**64) - 1}
                hashes = connection.execute(statements.HASHES, asked).fetchnumpy()["hashed"]
                hashes.sort()
                found.append(hashes[1:][hashes[1:] == hashes[:-1]])
            shared = np.unique(np.concatenate(found))
            if not len(shared):
                return {}
            connection.register("shared", pl.DataFrame({"hashed": shared}).to_arrow())
            return dict(connection.execute(statements.RATED_TWICE, {"since": since}).fetchall())

    def _register_refunds(self, refunds: Refunds) -> None:
        asked = pl.DataFrame(refunds, schema={"refund": pl.String, "invoice": pl.String}, orient="row")
        self._connection.register("refunds", asked.to_arrow())

    def _frame(self, statement: str) -> pl.DataFrame:
        return _frame(self._connection, statement)


def _frame(connection: duckdb.DuckDBPyConnection, statement: str) -> pl.DataFrame:
    # All rows as one batch, or Polars copies each column to make it one.
    found = pl.from_arrow(connection.sql(statement).to_arrow_table(batch_size=_MOST_ROWS))
    assert isinstance(found, pl.DataFrame), statement
    return found


@dataclass(frozen=True, slots=True)
class WholeLedger:
    """What the ledger says beyond single subscriptions; see `rating.book.Book`."""

    refunded: pl.DataFrame
    refunds_done: dict[str, RefundDone]
    setup_paid_by: dict[tuple[str, str], str]
    rated_twice: Callable[[], Mapping[str, str]]


def look(root: Path) -> "closing[LedgerReader]":
    """A reader of the ledger as it is now, that is closed at the end of the block."""
    return look_at(VisibleFiles.now(root))


def look_at(files: VisibleFiles, voided: Sequence[str] = ()) -> "closing[LedgerReader]":
    """A reader of these files that is closed at the end of the block; it takes the invoices `voided` for voided."""
    tables = {table: files_sql(files.of(table)) for table in TABLES}
    return closing(LedgerReader(tables, files.root / "pending", voided))
