"""Holds what a rater made of a case against what the case expects; every difference names its file and line."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from fractions import Fraction

from tests.cases.expected import Expectation, LineExpectation, NoticeExpectation, VerdictExpectation
from tests.cases.notation import Case, Record, Sum
from tests.oracle.rated import Notice, Rated, RatedLine, Standing

Rater = Callable[[Case], Sequence[Rated]]


def differences(case: Case, rated: Sequence[Rated]) -> list[str]:
    """One sentence per difference between the case and what became of its records, in their order."""
    if len(rated) != len(case.records):
        return [f"{case.place}: {len(case.records)} records came back as {len(rated)}"]
    found = []
    for record, result in zip(case.records, rated, strict=True):
        found += _record(record, result)
    found += [text for each in case.sums for text in _sum(each, rated)]
    return found + [text for each in case.verdicts for text in _last_verdict(each, rated)]


def _record(record: Record, result: Rated) -> list[str]:
    found = []
    if record.expectation is not None:
        found = [f"{record.place}: {text}" for text in _verdict(record.expectation, result)]
    if record.lines and len(record.lines) != len(result.lines):
        shown = "; ".join(show(line) for line in result.lines)
        return [*found, f"{record.place}: {len(record.lines)} lines expected, {len(result.lines)} came: {shown}"]
    for expected, line in zip(record.lines, result.lines, strict=False):
        found += [f"{expected.place}: {text}" for text in _line(expected, line)]
    return found + _notices(record, result)


def _notices(record: Record, result: Rated) -> list[str]:
    if record.notices is None:
        return []
    if len(record.notices) != len(result.notices):
        shown = "; ".join(map(show_notice, result.notices)) or "none"
        return [f"{record.place}: {len(record.notices)} notices expected, {len(result.notices)} came: {shown}"]
    pairs = zip(record.notices, result.notices, strict=True)
    return [f"{expected.place}: {text}" for expected, notice in pairs for text in _notice(expected, notice)]


def _notice(expected: NoticeExpectation, notice: Notice) -> list[str]:
    pairs = [
        ("kind", expected.kind, notice.kind),
        ("quota or charge", expected.of, notice.of),
        ("tier", expected.tier, notice.tier),
        ("share", expected.share, notice.share),
        ("limit", expected.limit, notice.limit),
        ("usage", expected.usage, notice.usage),
        ("window", expected.window, notice.window),
        ("recipients", expected.recipients, notice.recipients),
    ]
    return _unlike(pairs)


def _verdict(expected: Expectation, result: Rated) -> list[str]:
    if (expected.verdict, expected.reason or result.reason) != (result.verdict, result.reason):
        wanted = f"{expected.verdict} {expected.reason or ''}".strip()
        return [f"expected {wanted}, was {result.verdict} {result.reason or ''}".rstrip()]
    amounts = tuple(line.line.amount for line in result.lines)
    if expected.amounts is not None and expected.amounts != amounts:
        return [f"expected {_sums(expected.amounts)}, was {_sums(amounts)}"]
    return []


def _line(expected: LineExpectation, rated: RatedLine) -> list[str]:
    line = rated.line
    pairs = [
        ("kind", expected.kind, line.kind),
        ("charge", expected.charge, rated.charge),
        ("tier", expected.tier, line.tier),
        ("quantity", expected.quantity, line.quantity),
        ("unit price", expected.unit_price, line.unit_price),
        ("usage", expected.usage, (line.usage_before, line.usage_after)),
        ("period", expected.period, (rated.period_start, rated.period_end)),
    ]
    return _unlike(pairs)


def _unlike(pairs: list[tuple[str, object, object]]) -> list[str]:
    return [
        f"the {name} should be {_show(wanted)}, was {_show(was)}"
        for name, wanted, was in pairs
        if wanted is not None and wanted != was
    ]


def _last_verdict(expected: VerdictExpectation, rated: Sequence[Rated]) -> list[str]:
    told = [
        standing
        for result in rated
        if result.subscription == expected.subscription
        for standing in result.standings
        if standing.quota == expected.quota
    ]
    if not told:
        return [f"{expected.place}: no verdict was told of {expected.quota} of {expected.subscription}"]
    last = told[-1]
    pairs: list[tuple[str, object, object]] = [
        ("verdict", expected.verdict, last.verdict),
        ("remaining", expected.remaining, last.remaining),
        ("window", expected.window, last.window),
    ]
    return [f"{expected.place}: {text}" for text in _unlike(pairs)]


def _sum(expected: Sum, rated: Sequence[Rated]) -> list[str]:
    value = _value(expected, rated)
    if value == expected.value:
        return []
    subject = " ".join(filter(None, (expected.subject, expected.charge)))
    return [f"{expected.place}: {expected.kind} {subject} should be {_show(expected.value)}, was {_show(value)}"]


def _value(expected: Sum, rated: Sequence[Rated]) -> Fraction:
    if expected.kind == "count":
        return Fraction(Counter(result.verdict for result in rated)[expected.subject])
    lines = [
        line
        for result in rated
        if result.subscription == expected.subject
        for line in result.lines
        if expected.charge in (None, line.charge) and expected.period_start in (None, line.period_start)
    ]
    if expected.kind == "total":
        return sum((line.line.amount for line in lines), Fraction(0))
    usage = [line.line for line in lines if line.line.kind in ("usage", "trial")]
    return sum((line.usage_after - line.usage_before for line in usage), Fraction(0))


def show(rated: RatedLine) -> str:
    """A line as a case writes it."""
    line = rated.line
    return (
        f"{line.kind} {rated.charge} tier {line.tier} {_show(line.quantity)} x {_show(line.unit_price)} = "
        f"{_show(line.amount)} usage {_show(line.usage_before)}..{_show(line.usage_after)} "
        f"period {_show((rated.period_start, rated.period_end))}"
    )


def show_notice(notice: Notice) -> str:
    """A notice as a case writes it."""
    tier = "" if notice.tier is None else f" tier {notice.tier}"
    return (
        f"{notice.kind} {notice.of}{tier} {_show(notice.share)} of {_show(notice.limit)} = {_show(notice.threshold)} "
        f"usage {_show(notice.usage)} window {_show(notice.window)} to {' '.join(notice.recipients) or 'nobody'}"
    )


def show_standing(standing: Standing) -> str:
    """A quota's verdict as a case writes it."""
    return f"{standing.quota} {standing.verdict} {_show(standing.remaining)} window {_show(standing.window)}"


def _sums(amounts: Sequence[Fraction]) -> str:
    return " + ".join(_show(amount) for amount in amounts) or "no lines"


def _show(value: object) -> str:
    match value:
        case tuple():
            return "..".join(_show(part) for part in value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case None:
            return "open"
        case Fraction():
            return _decimal(value)
    return str(value)


def _decimal(value: Fraction) -> str:
    digits = f"{abs(value).numerator * 10**18 // value.denominator:019d}"
    fraction = digits[-18:].rstrip("0")
    return ("-" if value < 0 else "") + digits[:-18] + (f".{fraction}" if fraction else "")
