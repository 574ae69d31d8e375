"""The fast interpreter: a whole batch at a time, in Polars columns.

A value is a Series as long as the batch, or of length one where it is the same for all of it. The caller has proved
with `bounds` that no integer on the way passes 128 bits.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from operator import add, and_, eq, ge, gt, le, lt, mul, ne, or_, sub
from typing import Any

import polars as pl

from rating.expressions import like
from rating.expressions.nodes import (
    Absolute,
    Arithmetic,
    Between,
    Choice,
    Coalesce,
    Compare,
    Constant,
    Element,
    Extreme,
    IsNull,
    Like,
    Logic,
    Node,
    Not,
    OneOf,
    Quotient,
    TextCall,
    Value,
)

Columns = Mapping[Element, pl.Series]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": add, "-": sub, "*": mul, "=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_TYPES: dict[str, type[pl.DataType]] = {"number": pl.Int128, "text": pl.String, "boolean": pl.Boolean}
# Comparing one by one is faster than is_in for short lists (measured: 50 against 670 µs per 50,000 texts).
_SHORT_LIST = 8


@lru_cache(maxsize=4096)
def constant_column(value: Value, kind: str) -> pl.Series:
    """A column of length one, shared by all who ask: never to be changed in place."""
    return pl.Series([value], dtype=_TYPES[kind])


def stretched(column: pl.Series, height: int) -> pl.Series:
    """The column at full length."""
    return column if len(column) == height else column.new_from_index(0, height)


def is_true(condition: pl.Series) -> pl.Series:
    """True where the condition is, false where it is false or null (fill_null is slower on small batches)."""
    if not condition.has_nulls():
        return condition.clone()
    return constant_column(True, "boolean").zip_with(condition, constant_column(False, "boolean"))


def column_value(node: Node, columns: Columns, height: int) -> pl.Series:
    """The values of a node for a batch: Int128, String or Boolean, null where SQL has NULL."""
    match node:
        case Constant(value, kind):
            return constant_column(value, kind)
        case Element():
            return columns[node]
        case Arithmetic(operator, left, right) | Compare(operator, left, right):
            one, other = column_value(left, columns, height), column_value(right, columns, height)
            return _series(_OPERATORS[operator](one, other))
        case Extreme(which, values):
            parts = [column_value(value, columns, height) for value in values]
            return reduce(lambda one, other: _extreme(one, other, which, height), parts)
        case Coalesce(values):
            parts = [column_value(value, columns, height) for value in values]
            return reduce(lambda one, other: _chosen(_is_null(one), other, one, height), parts)
        case Between(value, low, high):
            found = column_value(value, columns, height)
            above = found >= column_value(low, columns, height)
            return above & (found <= column_value(high, columns, height))
        case IsNull(values):
            return reduce(and_, (_is_null(column_value(value, columns, height)) for value in values))
        case Logic(operator, values):
            conditions = (column_value(value, columns, height) for value in values)
            return reduce(and_ if operator == "and" else or_, conditions)
        case Choice(branches, otherwise):
            result = column_value(otherwise, columns, height)
            for condition, value in reversed(branches):
                mask = column_value(condition, columns, height)
                result = _chosen(mask, column_value(value, columns, height), result, height)
            return result
        case _:
            return _unary(node, column_value(node.value, columns, height))


def _unary(node: Quotient | Absolute | OneOf | Like | Not | TextCall, value: pl.Series) -> pl.Series:
    match node:
        case Quotient(_, divisor, rounding):
            return _quotient(value, divisor, rounding)
        case Absolute():
            return value.abs()
        case OneOf(_, members):
            return _one_of(value, members)
        case Like(_, pattern):
            return _like(value, pattern)
        case Not():
            return ~value
        case TextCall("length", _):
            return value.str.len_chars().cast(pl.Int128)
        case TextCall(function, _):
            return value.str.to_lowercase() if function == "lower" else value.str.to_uppercase()


def _quotient(value: pl.Series, divisor: int, rounding: str) -> pl.Series:
    zero, by = constant_column(0, "number"), constant_column(divisor, "number")
    if rounding == "floor":
        return value // by
    if rounding == "remainder":
        magnitude = value.abs() % by
    else:
        magnitude = (value.abs() * constant_column(2, "number") + by) // constant_column(2 * divisor, "number")
    return _chosen(value < zero, zero - magnitude, magnitude, len(value))


def _one_of(value: pl.Series, members: tuple[int | str, ...]) -> pl.Series:
    kind = "text" if isinstance(members[0], str) else "number"
    if len(members) > _SHORT_LIST:
        return value.is_in(pl.Series([list(members)], dtype=pl.List(_TYPES[kind])))
    return reduce(or_, (value == constant_column(member, kind) for member in members))


def _like(value: pl.Series, pattern: like.Pattern) -> pl.Series:
    first = "".join(one or "" for one in pattern[0])
    if len(pattern) == 2 and not pattern[1] and None not in pattern[0]:
        return value.str.starts_with(first)
    return value.str.contains(like.regular_expression(pattern))


def _extreme(one: pl.Series, other: pl.Series, which: str, height: int) -> pl.Series:
    keep = (one <= other) if which == "least" else (one >= other)
    return _chosen(keep | _is_null(other), one, other, height)


def _is_null(value: pl.Series) -> pl.Series:
    return value.is_null() if value.has_nulls() else constant_column(False, "boolean")


def _chosen(mask: pl.Series, yes: pl.Series, no: pl.Series, height: int) -> pl.Series:
    """`yes` where the mask is true, `no` where it is false or null."""
    return stretched(yes, height).zip_with(stretched(mask, height), stretched(no, height))


def _series(value: Any) -> pl.Series:
    assert isinstance(value, pl.Series)
    return value
