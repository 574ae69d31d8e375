"""The small typed tree that an expression becomes: a closed union, all of its numbers plain integers.

Denominators are gone here: whoever builds the tree has aligned the operands, so that every interpreter (columns, rows,
bounds) computes with integers alone and cannot disagree about a digit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rating.expressions.kinds import Kind
from rating.expressions.like import Pattern

ElementKind = Literal["number", "text"]
Value: TypeAlias = int | str | bool | None


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal, or whatever was computed from literals alone."""

    value: Value
    kind: Kind


@dataclass(frozen=True, slots=True)
class Element:
    """A member of the event's data: micros when a number, NULL when absent."""

    name: str
    kind: ElementKind


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Sum, difference or product of two integers."""

    operator: Literal["+", "-", "*"]
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Quotient:
    """Division by a positive integer: rounded down, to the nearest (half away from zero), or what is left over."""

    value: "Node"
    divisor: int
    rounding: Literal["floor", "half_away", "remainder"]


@dataclass(frozen=True, slots=True)
class Absolute:
    """The magnitude of an integer."""

    value: "Node"


@dataclass(frozen=True, slots=True)
class Extreme:
    """The least or greatest of the integers that are not NULL."""

    which: Literal["least", "greatest"]
    values: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of two integers or two texts (by code point)."""

    operator: Literal["=", "<>", "<", "<=", ">", ">="]
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Between:
    """low <= value <= high, in the logic of three values."""

    value: "Node"
    low: "Node"
    high: "Node"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Membership in a list of constants, none of them NULL."""

    value: "Node"
    members: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """A text that matches a pattern as a whole."""

    value: "Node"
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether every one of these is NULL (an element of undecided kind is read both ways)."""

    values: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Negation; NULL stays NULL."""

    value: "Node"


@dataclass(frozen=True, slots=True)
class Logic:
    """Conjunction or disjunction in the logic of three values."""

    operator: Literal["and", "or"]
    values: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """CASE: the value of the first branch whose condition is true."""

    branches: tuple[tuple["Node", "Node"], ...]
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The first value that is not NULL."""

    values: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class TextCall:
    """A function of one text; length counts characters."""

    function: Literal["lower", "upper", "length"]
    value: "Node"


Node: TypeAlias = (
    Constant | Element | Arithmetic | Quotient | Absolute | Extreme | Compare | Between | OneOf | Like | IsNull | Not
    | Logic | Choice | Coalesce | TextCall
)  # fmt: skip


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of a node, in the order of the text."""
    match node:
        case Constant() | Element():
            return ()
        case Arithmetic(_, left, right) | Compare(_, left, right):
            return (left, right)
        case Quotient(value, _, _) | Absolute(value) | OneOf(value, _) | Like(value, _) | Not(value):
            return (value,)
        case TextCall(_, value):
            return (value,)
        case Between(value, low, high):
            return (value, low, high)
        case Extreme(_, values) | Logic(_, values):
            return values
        case IsNull(values) | Coalesce(values):
            return values
        case Choice(branches, otherwise):
            return (*(part for branch in branches for part in branch), otherwise)


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)
