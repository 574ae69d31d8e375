"""How values are written in a notification: exact decimals, money, moments in UTC, shares in percent.

Owns every filter that a template may use, and what a value without one looks like. The rule: a decimal is written with
all its digits, whatever the ambient decimal context; what is null is written as nothing.

>>> quantity(Decimal("1234567.500000"))
'1,234,567.5'
>>> amount(Decimal("12.5"), "USD"), amount(Decimal("-0.0000015"), "USD"), amount(Decimal(1300), "JPY")
('12.50 USD', '-0.0000015 USD', '1,300 JPY')
>>> moment(datetime(2026, 11, 20, 10, tzinfo=UTC)), percent(Decimal("0.125"))
('20 November 2026, 10:00 UTC', '12.5 %')
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from schemas.currencies import MINOR_UNITS
from schemas.fields import read_decimal
from schemas.notification_variables import VariableType

_MONTHS = (
    "January February March April May June July August September October November December".split()
)  # strftime would write them in the language of whoever runs the flow


def _plain(value: Decimal | int, fewest: int = 0) -> str:
    """All digits in groups of three, no trailing zeros but for `fewest` digits after the point."""
    sign, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int), value
    units = "".join(map(str, digits)) + "0" * max(exponent, 0)
    scale = max(-exponent, 0)
    units = units.rjust(scale + 1, "0")
    whole, fraction = units[: len(units) - scale], units[len(units) - scale :].rstrip("0").ljust(fewest, "0")
    text = f"{int(whole):,}" + (f".{fraction}" if fraction else "")
    return f"-{text}" if sign and text.strip("0.,") else text


def quantity(value: Decimal | int | None) -> str:
    """An exact decimal with its digits in groups of three; nothing for null."""
    return "" if value is None else _plain(value)


def amount(value: Decimal | int | None, currency: str | None = None) -> str:
    """Money with at least the currency's minor units, and the currency behind it; nothing for null."""
    if value is None:
        return ""
    return f"{money(value, currency)} {currency or ''}".rstrip()


def money(value: Decimal | int, currency: str | None) -> str:
    """An amount's digits alone, at least the currency's minor units, where a heading says the currency."""
    return _plain(value, MINOR_UNITS.get(currency or "", 0))


def moment(value: datetime | None) -> str:
    """A moment to the minute in UTC, to the second where it has some; nothing for null."""
    if value is None:
        return ""
    utc = value.astimezone(UTC)
    return f"{date(utc)}, {utc:%H:%M:%S} UTC" if utc.second else f"{date(utc)}, {utc:%H:%M} UTC"


def date(value: datetime | None) -> str:
    """The day of a moment in UTC; nothing for null."""
    if value is None:
        return ""
    utc = value.astimezone(UTC)
    return f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year}"


def percent(value: Decimal | int | None) -> str:
    """A share of 1 in percent, exactly; nothing for null."""
    if value is None:
        return ""
    sign, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int), value
    return f"{_plain(Decimal((sign, digits, exponent + 2)))} %"


def written(value: Any) -> Any:
    """What a value looks like where a template says nothing more."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal() | int():
            return _plain(value)
        case datetime():
            return moment(value)
        case _:
            return value


def one_line(value: Any) -> Any:
    """The same for a subject: a text in one line, so that no value can add a header to a mail."""
    text = written(value)
    return " ".join(text.split()) if isinstance(text, str) else text


def _default(value: Any, instead: Any) -> Any:
    return instead if value is None or value == "" else value


def _length(value: Any) -> int:
    return 0 if value is None else len(value)


def _of_text(change: Callable[[str], str]) -> Callable[[str | None], str]:
    return lambda text: "" if text is None else change(text)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter: what it takes, what its one argument is (if it has any), and what it gives (None: what it took)."""

    run: Callable[..., Any]
    takes: tuple[VariableType, ...]
    gives: VariableType | None
    argument: tuple[VariableType, ...] = ()
    needs_argument: bool = False


_SCALARS: tuple[VariableType, ...] = ("text", "quantity", "amount", "moment", "count", "flag")

FILTERS: Mapping[str, Filter] = {
    "quantity": Filter(quantity, ("quantity", "count", "amount"), "text"),
    "amount": Filter(amount, ("amount",), "text", ("text",)),
    "moment": Filter(moment, ("moment",), "text"),
    "date": Filter(date, ("moment",), "text"),
    "percent": Filter(percent, ("quantity",), "text"),
    "decimal": Filter(read_decimal, ("text",), "quantity"),
    "default": Filter(_default, _SCALARS, None, _SCALARS, needs_argument=True),
    "length": Filter(_length, ("text", "list"), "count"),
    "upper": Filter(_of_text(str.upper), ("text",), "text"),
    "lower": Filter(_of_text(str.lower), ("text",), "text"),
    "trim": Filter(_of_text(str.strip), ("text",), "text"),
}
