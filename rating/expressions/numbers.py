"""Exact numbers while an expression is compiled: an integer node over a denominator known in advance.

An element is over 10^6, the literal 1.2 is 6 over 5, a product multiplies denominators, a sum or comparison brings both
sides to their least common one. So division by a literal is exact too: (a / 3) * 3 = a.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import gcd, lcm
from typing import Literal, NamedTuple

from rating.expressions.kinds import Kind
from rating.expressions.nodes import Arithmetic, Constant, Node, Quotient, children
from rating.expressions.rows import row_value
from schemas.decimals import QUANTITY_SCALE

MICROS = 10**QUANTITY_SCALE


class Lowered(NamedTuple):
    """A node and, for a number, what its integer is divided by."""

    node: Node
    denominator: int = 1


def micros(number: Lowered) -> tuple[Node, int]:
    """The node to compute and the divisor that makes it micros; the event is inexact where that leaves a remainder."""
    shared = gcd(MICROS, number.denominator)
    return scaled(number.node, MICROS // shared), number.denominator // shared


def aligned(parts: Iterable[Lowered]) -> tuple[tuple[Node, ...], int]:
    """The integers of several numbers over their least common denominator, and that."""
    parts = list(parts)
    denominator = lcm(*(part.denominator for part in parts))
    return tuple(scaled(part.node, denominator // part.denominator) for part in parts), denominator


def scaled(node: Node, factor: int) -> Node:
    """A node times an integer."""
    if factor == 1:
        return node
    return folded(Arithmetic("*", node, Constant(factor, "number")), "number")


def times(number: Lowered, factor: Fraction) -> Lowered:
    """A number times a fraction: nothing is computed that the denominator can take up."""
    if not factor:
        return Lowered(scaled(number.node, 0))
    shared = gcd(factor.numerator, number.denominator)
    return Lowered(scaled(number.node, factor.numerator // shared), number.denominator // shared * factor.denominator)


def product(left: Lowered, right: Lowered) -> Lowered:
    """The product of two numbers."""
    for number, constant in ((left, right), (right, left)):
        if isinstance(constant.node, Constant) and isinstance(constant.node.value, int):
            return times(number, Fraction(constant.node.value, constant.denominator))
    return Lowered(Arithmetic("*", left.node, right.node), left.denominator * right.denominator)


def divided(node: Node, divisor: int, rounding: Literal["floor", "half_away"]) -> Node:
    """An integer divided and rounded to an integer."""
    return node if divisor == 1 else folded(Quotient(node, divisor, rounding), "number")


def rounded(number: Lowered, digits: int) -> Lowered:
    """A number rounded to so many fractional digits (negative: to tens, hundreds), half away from zero."""
    unit = Fraction(10) ** -digits
    in_units = times(number, Fraction(10) ** digits)
    return times(Lowered(divided(in_units.node, in_units.denominator, "half_away")), unit)


def folded(node: Node, kind: Kind | None) -> Node:
    """The node, or its value where it is computed from literals alone."""
    parts = children(node)
    if not parts or not all(isinstance(part, Constant) for part in parts):
        return node
    return Constant(row_value(node, {}), kind or "boolean")
