"""How large a number can become, before anything is computed: interval arithmetic in Python's integers.

Int128 wraps around in silence, so no column is computed unless every number on the way is proved to fit.
"""

from collections.abc import Mapping
from typing import NamedTuple

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
    children,
)

LIMIT = 10**37


class Bounds(NamedTuple):
    """Least and greatest value of a node, and the largest magnitude of anything computed on the way to it."""

    low: int
    high: int
    widest: int

    @property
    def fits(self) -> bool:
        """Whether 128 bits hold all of it."""
        return self.widest < LIMIT


def bounds(node: Node, elements: Mapping[Element, tuple[int, int]]) -> Bounds:
    """The bounds of a node; of texts and conditions only `widest` has a meaning."""
    parts = [bounds(child, elements) for child in children(node)]
    low, high, extra = _own(node, parts, elements)
    return Bounds(low, high, max([abs(low), abs(high), extra, *(part.widest for part in parts)]))


def _own(node: Node, parts: list[Bounds], elements: Mapping[Element, tuple[int, int]]) -> tuple[int, int, int]:
    """Low, high, and the largest magnitude that computing this node alone passes through."""
    match node:
        case Constant(value, kind):
            number = value if kind == "number" and isinstance(value, int) else 0
            return number, number, 0
        case Element(_, kind):
            return (*elements[node], 0) if kind == "number" else (0, 0, 0)
        case Arithmetic(operator, _, _):
            return (*_arithmetic(operator, *parts), 0)
        case Quotient(_, divisor, rounding):
            return (*_quotient(parts[0], divisor, rounding), 2 * (_magnitude(parts[0]) + divisor))
        case Absolute():
            return 0, _magnitude(parts[0]), 0
        case Extreme() | Coalesce():
            return min(part.low for part in parts), max(part.high for part in parts), 0
        case Choice():
            results = [*parts[1::2], parts[-1]]
            return min(part.low for part in results), max(part.high for part in results), 0
        case TextCall():
            return 0, 2**32, 0
        case OneOf(_, members):
            return 0, 0, max(abs(member) if isinstance(member, int) else 0 for member in members)
        case Compare() | Between() | Like() | IsNull() | Not() | Logic():
            return 0, 0, 0


def _arithmetic(operator: str, left: Bounds, right: Bounds) -> tuple[int, int]:
    if operator == "+":
        return left.low + right.low, left.high + right.high
    if operator == "-":
        return left.low - right.high, left.high - right.low
    corners = [one * other for one in left[:2] for other in right[:2]]
    return min(corners), max(corners)


def _quotient(value: Bounds, divisor: int, rounding: str) -> tuple[int, int]:
    if rounding == "remainder":
        return (1 - divisor if value.low < 0 else 0), (divisor - 1 if value.high > 0 else 0)
    return value.low // divisor - 1, value.high // divisor + 1


def _magnitude(value: Bounds) -> int:
    return max(abs(value.low), abs(value.high))
