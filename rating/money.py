"""Exact money: a quantity (micros) times a unit price (10^-12) is an amount (10^-18); and the little that is rounded.

>>> divide_half_away(pl.Series([5, -5, 4], dtype=pl.Int128), pl.Series([2], dtype=pl.Int128)).to_list()
[3, -3, 2]
"""

import polars as pl

from rating.wide import constant
from schemas.decimals import QUANTITY_SCALE

ONE = 10**QUANTITY_SCALE
ONE_UNIT = constant(ONE)
_NEGATIVE = constant(-1)


def scale_price(multiplier: pl.Series, unit_price: pl.Series) -> pl.Series:
    """multiplier (micros) * unit price, half away from zero; the product fits, see `prices.usage_limit`."""
    return divide_half_away(multiplier * unit_price, ONE_UNIT)


def divide_half_away(numerator: pl.Series, denominator: pl.Series) -> pl.Series:
    """Int128 division to the nearest integer, halves away from zero; denominators are positive."""
    negative = numerator < 0
    magnitude = numerator.abs()
    quotient = (magnitude + magnitude + denominator) // (denominator + denominator)
    return (quotient * _NEGATIVE).zip_with(negative, quotient)


def round_to(amount: pl.Series, unit: pl.Series) -> pl.Series:
    """Int128 amounts to the nearest multiple of `unit`, halves away from zero; nothing of 38 digits overflows.

    >>> round_to(pl.Series([25, -25, 24], dtype=pl.Int128), pl.Series([10], dtype=pl.Int128)).to_list()
    [30, -30, 20]
    """
    negative = amount < 0
    magnitude = amount.abs()
    rest = magnitude % unit
    rounded = magnitude - rest + unit * (rest + rest >= unit).cast(pl.Int128)
    return (rounded * _NEGATIVE).zip_with(negative, rounded)
