"""The case notation with settlement: `settle TIME`, or `correct NUMBER TIME`, and what came of it: `invoice`, its
`line`s, `nothing`, `waits`.

    settle  2026-02-01
    invoice acme 1 12.50
    line    usage calls tier 1  100 x 0.10 = 10
    line    recurring_fee 2.50
    nothing other
    waits   third catalog_changed
    correct acme-1 2026-02-10
    invoice acme 1.1 12

Lines stand in the order of the invoice; an invoice without lines below it may have any. `change KIND ID key: value`
edits an entry of the catalog from there on; without keys, the entry is gone.
"""

from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.cases.document import keys_of
from tests.cases.notation import Case, Reading, Record, parse_cases
from tests.cases.words import CaseError, Words, number_of, time_of


@dataclass
class InvoiceLine:
    """An expected line; None means that the case does not say."""

    place: str
    kind: str
    adjusts: str | None
    charge: str | None
    tier: int | None
    quantity: Fraction | None
    unit_price: Fraction | None
    amount: Fraction
    period: int | None


@dataclass
class Invoice:
    """An expected invoice of a subscription."""

    place: str
    subscription: str
    period: str
    total: Fraction
    lines: list[InvoiceLine] = field(default_factory=list)


@dataclass
class Settling:
    """One `settle` or `correct`, and all that is to come of it: every invoice, and every subscription that waits."""

    place: str
    as_of: datetime
    invoices: list[Invoice] = field(default_factory=list)
    nothing: list[str] = field(default_factory=list)
    waits: dict[str, str] = field(default_factory=dict)
    corrects: str | None = None


@dataclass
class Change:
    """An edit of the catalog: entries with other values for some keys; without any, the entry is gone."""

    kind: str
    name: str
    values: dict[str, Any]


Step = list[Record] | Settling | Change


class SettlementReading(Reading):
    """A case with settlement being read."""

    def __init__(self, title: str, place: str) -> None:
        super().__init__(title, place)
        self.steps: list[Step] = []
        self.taken = 0

    def _take_records(self) -> None:
        if len(self.case.records) > self.taken:
            self.steps.append(self.case.records[self.taken :])
            self.taken = len(self.case.records)

    def _read_settle(self, words: Words) -> None:
        self._take_records()
        self.steps.append(Settling(words.place, time_of(words.word("a time"), self.day, words.place)))

    def _read_correct(self, words: Words) -> None:
        self._take_records()
        number = words.word("the invoice's number")
        moment = time_of(words.word("a time"), self.day, words.place)
        self.steps.append(Settling(words.place, moment, corrects=number))

    def _settling(self, words: Words) -> Settling:
        if not self.steps or not isinstance(self.steps[-1], Settling) or len(self.case.records) > self.taken:
            raise CaseError(words.place, "this stands below a `settle`")
        return self.steps[-1]

    def _read_invoice(self, words: Words) -> None:
        who, period = words.word("the subscription"), words.word("the period, and a revision")
        self.named.append(who)
        total = number_of(words.word("the total"), words.place)
        self._settling(words).invoices.append(Invoice(words.place, who, period, total))

    def _read_nothing(self, words: Words) -> None:
        who = words.word("the subscription")
        self.named.append(who)
        self._settling(words).nothing.append(who)

    def _read_waits(self, words: Words) -> None:
        who = words.word("the subscription")
        self._settling(words).waits[who] = words.word("the reason")

    def _read_change(self, words: Words) -> None:
        self._take_records()
        self.steps.append(Change(words.word("which kind"), words.word("its id"), keys_of(words)))

    def _read_line(self, words: Words) -> None:
        if not isinstance(self.steps[-1] if self.steps else None, Settling) or len(self.case.records) > self.taken:
            super()._read_line(words)
            return
        kind = words.word("the line's kind")
        adjusts = words.word("what it adjusts") if kind == "adjustment" else None
        charge = None if words.matches(r"tier|-?[0-9].*") else words.word("the charge")
        tier = int(number_of(words.word("a tier"), words.place)) if words.take("tier") else None
        first = number_of(words.word("an amount or a quantity"), words.place)
        quantity = unit_price = None
        if words.take("x"):
            quantity, unit_price = first, number_of(words.word("the unit price"), words.place)
            words.expect("=")
            first = number_of(words.word("the amount"), words.place)
        period = int(number_of(words.word("a period"), words.place)) if words.take("of") else None
        line = InvoiceLine(words.place, kind, adjusts, charge, tier, quantity, unit_price, first, period)
        self._settling(words).invoices[-1].lines.append(line)

    def finish(self) -> Case:
        self._take_records()
        case = super().finish()
        case.steps = self.steps
        return case


def read_settlement_cases(path: Path) -> list[Case]:
    """The cases of a file."""
    return parse_cases(path.read_text(encoding="utf-8"), path.name, SettlementReading)
