"""Exact decimals: what text is one, how many digits it may have, and its value as a scaled integer.

A quantity is held in units of 10^-6 (micros), a unit price in units of 10^-12, an amount in units of 10^-18, so that
quantity * unit price is an amount without any rounding (semantics 3). Digits count as written: `1.5000000` has seven.

>>> parse_quantity("1928.5")
1928500000
>>> format_scaled(12_500_000_000_000_000_000, AMOUNT_SCALE)
'12.5'
>>> parse_quantity("1_000") is None
True
"""

import re
from decimal import Decimal

QUANTITY_SCALE = 6
PRICE_SCALE = 12
AMOUNT_SCALE = QUANTITY_SCALE + PRICE_SCALE
QUANTITY_INTEGER_DIGITS = 20
PRICE_INTEGER_DIGITS = 18
LEDGER_PRECISION = 38

DECIMAL_PATTERN = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_DECIMAL = re.compile(DECIMAL_PATTERN, re.ASCII)
_LONGEST_TEXT = 128
_LARGEST_EXPONENT = 400


def parse_scaled(text: str, scale: int, integer_digits: int) -> int | None:
    """The value of a decimal text in units of 10^-scale, or None when it is no decimal or has too many digits.

    The grammar is that of JSON numbers in ASCII: no spaces, no plus sign, no leading zeros, no separators.
    """
    if len(text) > _LONGEST_TEXT or _DECIMAL.fullmatch(text) is None:
        return None
    return scaled(Decimal(text), scale, integer_digits)


def scaled(value: Decimal, scale: int, integer_digits: int) -> int | None:
    """The value in units of 10^-scale, or None when it is not finite or has too many digits; never rounded.

    Works on the digits alone, so no decimal context can change the result.
    """
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent < -scale or exponent > _LARGEST_EXPONENT:
        return None
    coefficient = int("".join(map(str, digits)))
    magnitude = coefficient * int("1" + "0" * (exponent + scale))
    if magnitude >= int("1" + "0" * (integer_digits + scale)):
        return None
    return -magnitude if sign else magnitude


def parse_quantity(text: str) -> int | None:
    """The quantity in micros, or None: at most 20 integer and 6 fractional digits."""
    return parse_scaled(text, QUANTITY_SCALE, QUANTITY_INTEGER_DIGITS)


def scaled_quantity(value: Decimal) -> int:
    """The micros of a quantity that was checked when it was read; anything else is our own error."""
    return _checked(scaled(value, QUANTITY_SCALE, QUANTITY_INTEGER_DIGITS), value)


def scaled_price(value: Decimal) -> int:
    """The 10^-12 units of a price that was checked when it was read; anything else is our own error."""
    return _checked(scaled(value, PRICE_SCALE, PRICE_INTEGER_DIGITS), value)


def scaled_amount(value: Decimal) -> int:
    """The 10^-18 units of an amount that was checked as prices are when it was read."""
    return _checked(scaled(value, AMOUNT_SCALE, PRICE_INTEGER_DIGITS), value)


def _checked(units: int | None, value: Decimal) -> int:
    assert units is not None, f"{value} should have been refused when it was read"
    return units


def format_scaled(units: int, scale: int) -> str:
    """The decimal text of a scaled integer, without trailing zeros and without an exponent."""
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(scale + 1, "0")
    fraction = digits[len(digits) - scale :].rstrip("0")
    whole = digits[: len(digits) - scale]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def divide_half_away(numerator: int, denominator: int) -> int:
    """numerator / denominator to the nearest integer, halves away from zero; the denominator is positive.

    >>> divide_half_away(5, 2), divide_half_away(-5, 2), divide_half_away(4, 3)
    (3, -3, 1)
    """
    quotient = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -quotient if numerator < 0 else quotient
