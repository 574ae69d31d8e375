"""What a verification has compared, and what differed: counts per check, and differences with both values.

The rule: whatever is not compared is counted by name, so that nothing is passed over in silence.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl


class Check(StrEnum):
    """What is compared."""

    FILES = "files"
    DIGESTS = "commit digests"
    CONSERVATION = "conservation"
    VERDICTS = "verdicts"
    LINE_ITEMS = "line items"
    CERTIFICATES = "certificates"
    INVOICES = "invoices"
    INVOICE_LINES = "invoice lines"
    SETTLED_PERIODS = "settled periods"
    NOTICES = "notices of settlement"


class Unchecked(StrEnum):
    """What is counted instead of compared one by one, and why."""

    BY_TOTALS = "line items compared by their totals, for nothing says in which order their inputs were rated"
    AS_STORED = "verdicts that follow from the record as it was sent, which is not kept, or from a setting"
    WAITING = "settlement periods that wait for a person"
    DAMAGED = "commits of rating that were not replayed, for files of theirs are damaged"
    NOT_SETTLED = "commits of settlement that were not made again, for files of the ledger are damaged"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it must be; `place` says where it is stored, `row` which row it is."""

    check: Check
    place: str
    row: str
    column: str
    stored: Any
    computed: Any


@dataclass(slots=True)
class Findings:
    """All that was found; at most `kept_limit` differences are kept, and all are counted.

    `on_progress` is told how many rows were compared, of about how many (`expected`).
    """

    kept_limit: int | None = None
    on_progress: Callable[[int, int], None] = lambda rows, expected: None
    expected: int = 0
    compared: Counter[Check] = field(default_factory=Counter)
    differing: Counter[Check] = field(default_factory=Counter)
    unchecked: Counter[Unchecked] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    _damaged: set[str] = field(default_factory=set)

    @property
    def hold(self) -> bool:
        """Whether nothing differs."""
        return not self.differing.total()

    def add(self, check: Check, rows: int) -> None:
        """So many rows were compared."""
        self.compared[check] += rows
        self.on_progress(self.compared.total(), max(self.expected, self.compared.total()))

    def differ(self, difference: Difference) -> None:
        """Something differs."""
        self.differing[difference.check] += 1
        if self.kept_limit is None or len(self.differences) < self.kept_limit:
            self.differences.append(difference)

    def damage(self, place: str, name: str, what: str, expected: object = "whole") -> None:
        """Something cannot be read; it is told once, though it is met again under its name."""
        if not any(known in f"{name} {what}" for known in self._damaged):
            self._damaged.add(name or what)
            self.differ(Difference(Check.FILES, place, name, "rows", what, expected))

    def compare(
        self, check: Check, place: str, stored: pl.DataFrame, computed: pl.DataFrame, keys: Sequence[str]
    ) -> None:
        """Compare two tables column by column; a row is known by its keys, and must be there once on both sides."""
        self.add(check, stored.height)
        own = computed.select(stored.columns)
        if stored.sort(keys).equals(own.sort(keys)):
            return
        for rows, text in ((stored, "stored"), (own, "computed")):
            for row in rows.filter(pl.struct(keys).is_duplicated()).unique(keys).iter_rows(named=True):
                self.differ(Difference(check, place, _named(row, keys), "row", f"{text} more than once", "once"))
        for column, there, missing in (("row", stored, own), ("row", own, stored)):
            words = ("there", "absent") if there is stored else ("absent", "there")
            for row in there.join(missing, on=keys, how="anti", nulls_equal=True).iter_rows(named=True):
                self.differ(Difference(check, place, _named(row, keys), column, *words))
        both = stored.join(own, on=keys, how="inner", suffix=":computed", nulls_equal=True)
        for column in stored.columns:
            if column not in keys:
                other = pl.col(f"{column}:computed")
                for row in both.filter(pl.col(column).ne_missing(other)).iter_rows(named=True):
                    values = row[column], row[f"{column}:computed"]
                    self.differ(Difference(check, place, _named(row, keys), column, *values))


def _named(row: dict[str, Any], keys: Sequence[str]) -> str:
    return "-".join(str(row[key]) for key in keys)
