"""The case notation: a text that someone in finance can read, as records, a catalog and expectations.

The notation is described in README.md beside this file. A mistake in a case is a CaseError naming file and line.

>>> [case] = parse_cases('''
... price  calls USD per_unit 0.10
... event  e1 acme 09:00 5  -> 0.50
... ''', "example.case")
>>> case.records[0].expectation.amounts
(Fraction(1, 2),)
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.cases.document import DEFAULT_SOURCE, CatalogReading
from tests.cases.expected import Expectation, LineExpectation, NoticeExpectation, VerdictExpectation
from tests.cases.words import CaseError, Words, amounts_of, number_of, span_of, time_of

VERDICTS = ("rated", "exempt", "trial", "blocked", "duplicate", "parked", "late", "rejected")
ATTRIBUTES = ("source", "subscription", "credential", "subscriber", "organization", "subject")


@dataclass
class Record:
    """One record of an input: its bytes, the moment it was logged (None in files), and what should become of it."""

    place: str
    partition: int
    raw: bytes
    record_time: datetime | None
    expectation: Expectation | None
    lines: list[LineExpectation] = field(default_factory=list)
    notices: list[NoticeExpectation] | None = None


@dataclass(frozen=True)
class Sum:
    """`total`, `usage` or `count`: what should come out over all records."""

    place: str
    kind: str
    subject: str
    charge: str | None
    value: Fraction
    period_start: datetime | None = None


@dataclass
class Case:
    """One case: a catalog as its YAML document, records in reading order, sums, and the reading flow's settings."""

    title: str
    place: str
    document: dict[str, list[dict[str, Any]]]
    records: list[Record] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    verdicts: list[VerdictExpectation] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)
    lateness: timedelta | None = None
    skew: timedelta | None = timedelta(minutes=5)

    @property
    def partitions(self) -> int:
        """How many lanes the records come from."""
        return 1 + max((record.partition for record in self.records), default=0)


def read_cases(path: Path) -> list[Case]:
    """The cases of a file."""
    return parse_cases(path.read_text(encoding="utf-8"), path.name)


def parse_cases(text: str, file: str, reading: "type[Reading] | None" = None) -> list[Case]:
    """The cases of a text; each `case` begins one, and what stands before the first is a case of its own.

    `reading` knows more directives than these.
    """
    reading = reading or Reading
    cases: list[Reading] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = Words(line, f"{file}:{number}")
        if words.is_blank():
            continue
        directive = words.word("a directive")
        if directive == "case":
            cases.append(reading(words.rest() or file, words.place))
            continue
        if not cases:
            cases.append(reading(file, words.place))
        cases[-1].read(directive, words)
    return [each.finish() for each in cases]


class Reading(CatalogReading):
    """One case being read, line by line."""

    def __init__(self, title: str, place: str) -> None:
        super().__init__()
        self.case = Case(title, place, self.document)
        self.day = "2026-01-15"
        self.record_time: datetime | None = None
        self.lanes = ["first"]
        self.lane = "first"
        self.named: list[str] = []

    def read(self, directive: str, words: Words) -> None:
        reader: Callable[[Words], None] | None = getattr(self, f"_read_{directive}", None)
        if reader is None:
            raise CaseError(words.place, f"'{directive}' is no directive")
        reader(words)
        words.end()

    def finish(self) -> Case:
        """The case, its catalog completed."""
        self.complete(self.named)
        return self.case

    # --- how records are read

    def _read_day(self, words: Words) -> None:
        self.day = words.word("a date")
        time_of("00:00", self.day, words.place)

    def _read_logged(self, words: Words) -> None:
        self.record_time = time_of(words.word("a time"), self.day, words.place)

    def _read_lane(self, words: Words) -> None:
        self.lane = words.word("a name")
        if self.lane not in self.lanes:
            self.lanes.append(self.lane)

    def _read_lateness(self, words: Words) -> None:
        self.case.lateness = span_of(words.word("a span"), words.place)

    def _read_skew(self, words: Words) -> None:
        self.case.skew = span_of(words.word("a span"), words.place)

    # --- records

    def _read_event(self, words: Words) -> None:
        self._add(_event(words.word("the event's id"), *self._body(words)), words)

    def _read_events(self, words: Words) -> None:
        count = int(number_of(words.word("how many"), words.place))
        prefix, body, start = words.word("the events' id"), self._body(words), len(self.case.records)
        for number in range(1, count + 1):
            self._add(_event(f"{prefix}{number}", *body), words if number == 1 else None)
        for record in self.case.records[start:]:
            record.expectation = self.case.records[start].expectation

    def _read_record(self, words: Words) -> None:
        self._add(words.before_arrow().encode("utf-8", "surrogatepass"), words)

    def _body(self, words: Words) -> tuple[dict[str, str], dict[str, str]]:
        """The attributes and the elements of an event line, each as JSON text."""
        attributes: dict[str, str] = {"source": json.dumps(DEFAULT_SOURCE)}
        elements: dict[str, str] = {}
        who, when = words.word("the subscription, or -"), words.word("the time, or -")
        if who != "-":
            attributes["subscription"] = json.dumps(who)
            self.named.append(who)
        if when != "-":
            moment = time_of(when, self.day, words.place)
            attributes["time"] = json.dumps(moment.isoformat().replace("+00:00", "Z"))
        if words.matches(r"-?[0-9][^=\s]*"):
            elements["quantity"] = words.word("the quantity")
        while words.matches(r"[A-Za-z_][\w.]*=.*"):
            name, text = words.assignment()
            (attributes if name in ATTRIBUTES else elements)[name] = _json(text, words.place)
        return attributes, elements

    def _add(self, raw: bytes, words: Words | None) -> None:
        place = words.place if words else self.case.records[-1].place
        expectation = _expectation(words) if words and words.take("->") else None
        partition = self.lanes.index(self.lane)
        self.case.records.append(Record(place, partition, raw, self.record_time, expectation))

    # --- expectations

    def _read_line(self, words: Words) -> None:
        if not self.case.records:
            raise CaseError(words.place, "`line` stands below the event it belongs to")
        kind = words.word("the line's kind")
        charge = None if words.matches(r"tier|-?[0-9].*") else words.word("the charge")
        tier = int(number_of(words.word("a tier"), words.place)) if words.take("tier") else None
        quantity = number_of(words.word("the quantity"), words.place)
        words.expect("x")
        unit_price = number_of(words.word("the unit price"), words.place)
        words.expect("=")
        amount = number_of(words.word("the amount"), words.place)
        if quantity * unit_price != amount:
            raise CaseError(words.place, f"{quantity} x {unit_price} is not {amount}")
        usage = words.pair(lambda text: number_of(text, words.place)) if words.take("usage") else None
        period = words.pair(self._moment(words.place)) if words.take("period") else None
        self.case.records[-1].lines.append(
            LineExpectation(words.place, kind, charge, tier, quantity, unit_price, amount, usage, period)
        )

    def _read_notify(self, words: Words) -> None:
        if not self.case.records:
            raise CaseError(words.place, "`notify` stands below the event it belongs to")
        record = self.case.records[-1]
        record.notices = record.notices or []
        if words.take("nobody"):
            return
        kind, of = words.word("the kind"), words.word("the quota or charge")
        tier = int(number_of(words.word("a tier"), words.place)) if words.take("tier") else None
        share = number_of(words.word("the share"), words.place)
        words.expect("of")
        limit = number_of(words.word("the limit"), words.place)
        usage = words.pair(lambda text: number_of(text, words.place)) if words.take("usage") else None
        window = words.pair(self._moment(words.place)) if words.take("window") else None
        told = tuple(words.rest().split()) if words.take("to") else None
        record.notices.append(NoticeExpectation(words.place, kind, of, tier, share, limit, usage, window, told))

    def _moment(self, place: str) -> Callable[[str], datetime | None]:
        return lambda text: None if text == "open" else time_of(text, self.day, place)

    def _read_verdict(self, words: Words) -> None:
        who, quota = words.word("the subscription"), words.word("the quota")
        verdict, remaining = words.word("allowed or blocked"), number_of(words.word("what remains"), words.place)
        window = words.pair(self._moment(words.place)) if words.take("window") else None
        self.case.verdicts.append(VerdictExpectation(words.place, who, quota, verdict, remaining, window))

    def _read_total(self, words: Words) -> None:
        self._sum("total", words)

    def _read_usage(self, words: Words) -> None:
        self._sum("usage", words)

    def _sum(self, kind: str, words: Words) -> None:
        subject = words.word("the subscription")
        charge = None if words.matches(r"-?[0-9][0-9.]*") else words.word("the charge")
        value = number_of(words.word("the sum"), words.place)
        start = time_of(words.word("a period's start"), self.day, words.place) if words.take("in") else None
        self.case.sums.append(Sum(words.place, kind, subject, charge, value, start))

    def _read_count(self, words: Words) -> None:
        verdict = words.word("a verdict")
        _check_verdict(verdict, words.place)
        self.case.sums.append(Sum(words.place, "count", verdict, None, number_of(words.word("a number"), words.place)))


def _event(identity: str, attributes: dict[str, str], elements: dict[str, str]) -> bytes:
    members = [f'"id": {json.dumps(identity)}', *(f"{json.dumps(name)}: {text}" for name, text in attributes.items())]
    data = ", ".join(f"{json.dumps(name)}: {text}" for name, text in elements.items())
    return ("{" + ", ".join([*members, f'"data": {{{data}}}']) + "}").encode()


def _json(text: str, place: str) -> str:
    """Text that is JSON stays as it is written, any other text is a JSON string."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except ValueError:
        if text[:1] in '"{[':
            raise CaseError(place, f"`{text}` is not JSON") from None
        return json.dumps(text)
    return text


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _expectation(words: Words) -> Expectation:
    if words.matches(r"[+-]?[0-9][0-9.]*") or words.matches(r"[+-]"):
        return Expectation("rated", None, amounts_of(words.rest(), words.place))
    verdict = words.word("a verdict or amounts")
    _check_verdict(verdict, words.place)
    return Expectation(verdict, words.word("a reason") if words.matches(r"[a-z_]+") else None)


def _check_verdict(word: str, place: str) -> None:
    if word not in VERDICTS:
        raise CaseError(place, f"'{word}' is neither a verdict ({', '.join(VERDICTS)}) nor amounts")
