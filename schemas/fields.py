"""The kinds of value a person may write in a catalog: text, exact decimals, moments, versions, currencies.

Each kind says in one sentence what was expected. A decimal is text or a whole number, never a float: a float has
lost the digits that were written.

>>> from pydantic import TypeAdapter
>>> TypeAdapter(UnitPrice).validate_python("0.0000015")
Decimal('0.0000015')
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict

from schemas.currencies import MINOR_UNITS
from schemas.decimals import (
    DECIMAL_PATTERN,
    PRICE_INTEGER_DIGITS,
    PRICE_SCALE,
    QUANTITY_INTEGER_DIGITS,
    QUANTITY_SCALE,
    scaled,
)
from schemas.problems import suggestion

ReadDecimal = Callable[[object], Decimal]

LONGEST_ID = 256
_LONGEST_DECIMAL = 128
_DECIMAL = re.compile(DECIMAL_PATTERN, re.ASCII)
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIRST_YEAR, _YEAR_AFTER = 1970, 2200


class Record(BaseModel):
    """What every model of the catalog is: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def read_decimal(value: object) -> Decimal:
    """The decimal a person wrote as text or as a whole number, digit for digit; a Decimal passes unchanged."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, float):
        raise ValueError(f'a float loses digits; quote it: "{value}"')
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, str):
        raise ValueError(f'expected a decimal such as "0.05", not {describe(value)}')
    if len(value) > _LONGEST_DECIMAL or _DECIMAL.fullmatch(value) is None:
        shown = value if len(value) <= _LONGEST_DECIMAL else f"{value[:20]}..."
        raise ValueError(f"'{shown}' is not a decimal such as \"0.05\" (no spaces, separators or leading zeros)")
    return Decimal(value)


def describe(value: object) -> str:
    """What kind of thing was written, in a person's words."""
    kinds = {type(None): "nothing", bool: "true or false", int: "a number", str: "text"}
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return kinds.get(type(value), "this")


def _bounded(what: str, scale: int, integer_digits: int) -> ReadDecimal:
    def read(value: object) -> Decimal:
        decimal = read_decimal(value)
        if scaled(decimal, scale, integer_digits) is None:
            raise ValueError(
                f"{what} has at most {integer_digits} digits before the point and {scale} after it, not {decimal}",
            )
        return decimal

    return read


def _checked(
    read: Callable[[object], Decimal], test: Callable[[Decimal], bool], says: str
) -> Callable[[object], Decimal]:
    def check(value: object) -> Decimal:
        decimal = read(value)
        if not test(decimal):
            raise ValueError(f"{says}, not {decimal}")
        return decimal

    return check


def _read_text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, not {describe(value)}")
    if not value.strip():
        raise ValueError("is empty")
    return value


def _read_id(value: object) -> str:
    text = _read_text(value)
    if len(text) > LONGEST_ID:
        raise ValueError(f"has {len(text)} characters; at most {LONGEST_ID} are allowed")
    if text != text.strip() or _CONTROL.search(text):
        raise ValueError(f"{text!r} begins or ends with a space, or holds a control character")
    return text


def _read_product_id(value: object) -> str:
    text = _read_id(value)
    if "@" in text:
        raise ValueError(f"'{text}' holds an @, which separates a product from its version")
    return text


def _read_email(value: object) -> str:
    text = _read_id(value)
    if _EMAIL.fullmatch(text) is None:
        raise ValueError(f"'{text}' is not an email address")
    return text


def _read_version(value: object) -> str:
    text = _read_text(value)
    if _VERSION.fullmatch(text) is None:
        raise ValueError(f"'{text}' is not a version of the form x.y.z, such as 1.0.0")
    return text


def _read_product_reference(value: object) -> str:
    text = _read_text(value)
    product_id, at, version = text.rpartition("@")
    if not at or not product_id or _VERSION.fullmatch(version) is None:
        raise ValueError(f"'{text}' does not pin a product version; write it as product@x.y.z")
    return text


def _read_currency(value: object) -> str:
    text = _read_text(value)
    if text not in MINOR_UNITS:
        near = suggestion(text.upper(), MINOR_UNITS)
        raise ValueError(f"'{text}' is not an ISO 4217 currency code{near}")
    return text


def _read_moment(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    text = value if isinstance(value, str) else describe(value)
    try:
        moment = datetime.fromisoformat(text.upper()) if _MOMENT.fullmatch(text) else None
        utc = moment.astimezone(UTC) if moment else None
    except (ValueError, OverflowError):
        utc = None
    if utc is None or not _FIRST_YEAR <= utc.year < _YEAR_AFTER:
        raise ValueError(f"'{text}' is not a time with a zone from 1970 to 2199, such as \"2026-11-01T00:00:00Z\"")
    return utc


def _listed(value: Any) -> Any:
    """A single text where a list of texts is meant."""
    return [value] if isinstance(value, str) else value


_quantity = _bounded("a quantity", QUANTITY_SCALE, QUANTITY_INTEGER_DIGITS)
_price = _bounded("a price or amount", PRICE_SCALE, PRICE_INTEGER_DIGITS)

Text = Annotated[str, BeforeValidator(_read_text)]
Identifier = Annotated[str, BeforeValidator(_read_id)]
ProductIdentifier = Annotated[str, BeforeValidator(_read_product_id)]
Email = Annotated[str, BeforeValidator(_read_email)]
Version = Annotated[str, BeforeValidator(_read_version)]
ProductReference = Annotated[str, BeforeValidator(_read_product_reference)]
Currency = Annotated[str, BeforeValidator(_read_currency)]
Moment = Annotated[datetime, BeforeValidator(_read_moment)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict()]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]

UnitPrice = Annotated[Decimal, BeforeValidator(_price)]
Amount = Annotated[Decimal, BeforeValidator(_price)]
Fee = Annotated[Decimal, BeforeValidator(_checked(_price, lambda d: d >= 0, "must not be negative"))]
PositiveAmount = Annotated[Decimal, BeforeValidator(_checked(_price, lambda d: d > 0, "must be greater than 0"))]
Quantity = Annotated[Decimal, BeforeValidator(_checked(_quantity, lambda d: d >= 0, "must not be negative"))]
PositiveQuantity = Annotated[Decimal, BeforeValidator(_checked(_quantity, lambda d: d > 0, "must be greater than 0"))]
Fraction = Annotated[
    Decimal,
    BeforeValidator(_checked(_quantity, lambda d: 0 <= d <= 1, "must be a fraction from 0 to 1 (0.5 is 50 %)")),
]
