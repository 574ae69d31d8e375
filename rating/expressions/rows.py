"""The slow interpreter: one event at a time, in Python's integers, which have no bound.

It computes constants when an expression is compiled, and the rare events whose numbers are too large for 128 bits.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import add, eq, ge, gt, le, lt, mul, ne, sub
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
from schemas.decimals import divide_half_away

_ARITHMETIC: dict[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def row_value(node: Node, event: Mapping[Element, Value]) -> Value:
    """The value of a node for one event; None is NULL."""
    match node:
        case Constant(value, _):
            return value
        case Element():
            return event[node]
        case Logic(operator, values):
            return _logic(operator == "and", values, event)
        case IsNull(values):
            return all(row_value(value, event) is None for value in values)
        case Coalesce(values):
            return next((value for part in values if (value := row_value(part, event)) is not None), None)
        case Choice(branches, otherwise):
            chosen = (result for condition, result in branches if row_value(condition, event))
            return row_value(next(chosen, otherwise), event)
        case Extreme(which, values):
            present = [value for part in values if (value := _integer(part, event)) is not None]
            return (min if which == "least" else max)(present, default=None)
        case Between(value, low, high):
            return _logic(True, (Compare(">=", value, low), Compare("<=", value, high)), event)
        case _:
            return _strict(node, event)


def _strict(
    node: Arithmetic | Quotient | Absolute | Compare | OneOf | Like | Not | TextCall, event: Mapping[Element, Value]
) -> Value:
    """The nodes that are NULL as soon as one of their parts is."""
    match node:
        case Arithmetic(operator, left, right):
            one, other = _integer(left, event), _integer(right, event)
            return None if one is None or other is None else _ARITHMETIC[operator](one, other)
        case Compare(operator, left, right):
            first, second = row_value(left, event), row_value(right, event)
            return None if first is None or second is None else _COMPARISONS[operator](first, second)
        case Quotient(value, divisor, rounding):
            number = _integer(value, event)
            return None if number is None else _quotient(number, divisor, rounding)
        case Absolute(value):
            number = _integer(value, event)
            return None if number is None else abs(number)
    found = row_value(node.value, event)
    if found is None:
        return None
    match node:
        case OneOf(_, members):
            return found in members
        case Not():
            return not found
        case Like(_, pattern):
            return like.matches(pattern, str(found))
        case TextCall(function, _):
            return len(str(found)) if function == "length" else _cased(str(found), function)


def _integer(node: Node, event: Mapping[Element, Value]) -> int | None:
    value = row_value(node, event)
    assert value is None or isinstance(value, int), f"{node} is no number"
    return value


def _logic(conjunction: bool, values: tuple[Node, ...], event: Mapping[Element, Value]) -> bool | None:
    unknown = False
    for value in values:
        found = row_value(value, event)
        if found is None:
            unknown = True
        elif bool(found) is not conjunction:
            return not conjunction
    return None if unknown else conjunction


def _quotient(number: int, divisor: int, rounding: str) -> int:
    if rounding == "floor":
        return number // divisor
    if rounding == "half_away":
        return divide_half_away(number, divisor)
    left_over = abs(number) % divisor
    return -left_over if number < 0 else left_over


@lru_cache(maxsize=4096)
def _cased(text: str, function: str) -> str:
    # Polars and Python may know different versions of Unicode; one of them decides in both interpreters.
    column = pl.Series([text], dtype=pl.String).str
    return str((column.to_lowercase() if function == "lower" else column.to_uppercase()).item())
