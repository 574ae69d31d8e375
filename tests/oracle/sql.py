"""SQL scalar expressions by a walk over sqlglot's tree, one event at a time, in exact fractions; None is NULL."""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Any

import sqlglot
from sqlglot import exp

from tests.oracle.pricing import round_half_away
from tests.oracle.reading import Event, decimal_of, element_of, text_of

_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
}
_ARITHMETIC: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
    exp.Div: lambda a, b: a / b,
    exp.Mod: lambda a, b: a - b * int(a / b),
}


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[exp.Expression, set[str]]:
    """The tree, and the names of the elements that it reads as text."""
    tree = sqlglot.parse_one(text)
    return tree, _texts(tree)


def is_true(text: str, event: Event) -> bool:
    """Whether a filter lets the event through: NULL does not."""
    return truth(parse(text)[0], event, parse(text)[1]) is True


def number(text: str, event: Event) -> Fraction | None:
    """The value of a formula, or None for SQL's NULL."""
    return value(parse(text)[0], event, parse(text)[1])


def unreadable(text: str, event: Event) -> bool:
    """Whether an element that the expression reads is present but neither the number nor the text that it needs."""
    tree, texts = parse(text)
    for name in {name_of(column) for column in tree.find_all(exp.Column)}:
        element = element_of(event, name)
        if element is not None and (text_of if name in texts else decimal_of)(element) is None:
            return True
    return False


def name_of(column: exp.Column) -> str:
    return ".".join(part.name for part in column.parts)


def truth(node: exp.Expression, event: Event, texts: set[str]) -> bool | None:
    match node:
        case exp.Paren():
            return truth(node.this, event, texts)
        case exp.Boolean():
            return bool(node.this)
        case exp.Null():
            return None
        case exp.Not():
            inner = truth(node.this, event, texts)
            return None if inner is None else not inner
        case exp.And() | exp.Or():
            sides = {truth(node.this, event, texts), truth(node.expression, event, texts)}
            decisive = isinstance(node, exp.Or)
            return decisive if decisive in sides else None if None in sides else not decisive
        case exp.Is():
            return value(node.this, event, texts) is None
        case exp.In():
            return _in(value(node.this, event, texts), [value(item, event, texts) for item in node.expressions])
        case exp.Between():
            middle, low, high = (value(node.args[key], event, texts) for key in ("this", "low", "high"))
            above = None if middle is None or low is None else low <= middle
            below = None if middle is None or high is None else middle <= high
            return False if False in (above, below) else None if None in (above, below) else True
        case exp.Like():
            text, pattern = value(node.this, event, texts), value(node.expression, event, texts)
            return None if text is None or pattern is None else _like(text, pattern)
    left, right = value(node.this, event, texts), value(node.expression, event, texts)
    return None if left is None or right is None else _COMPARE[type(node)](left, right)


def value(node: exp.Expression, event: Event, texts: set[str]) -> Any:
    """A Fraction, a str, or None."""
    match node:
        case exp.Paren():
            return value(node.this, event, texts)
        case exp.Literal():
            return node.this if node.is_string else Fraction(node.this)
        case exp.Null():
            return None
        case exp.Column():
            name = name_of(node)
            return (text_of if name in texts else decimal_of)(element_of(event, name))
        case exp.Coalesce():
            return next((v for v in _arguments(node, event, texts) if v is not None), None)
        case exp.Least() | exp.Greatest():
            known = [v for v in _arguments(node, event, texts) if v is not None]
            return None if not known else (min if isinstance(node, exp.Least) else max)(known)
        case exp.Case():
            for branch in node.args["ifs"]:
                if truth(branch.this, event, texts) is True:
                    return value(branch.args["true"], event, texts)
            return None if node.args.get("default") is None else value(node.args["default"], event, texts)
    operands = [value(operand, event, texts) for operand in (node.this, node.args.get("expression")) if operand]
    if None in operands:
        return None
    return _ARITHMETIC[type(node)](*operands) if type(node) in _ARITHMETIC else _function(node, operands[0])


def _function(node: exp.Expression, operand: Any) -> Any:
    match node:
        case exp.Neg():
            return -operand
        case exp.Abs():
            return abs(operand)
        case exp.Floor():
            return Fraction(floor(operand))
        case exp.Ceil():
            return Fraction(ceil(operand))
        case exp.Round():
            return round_half_away(operand, int(node.args["decimals"].this) if node.args.get("decimals") else 0)
        case exp.Lower():
            return operand.lower()
        case exp.Upper():
            return operand.upper()
        case exp.Length():
            return Fraction(len(operand))
    raise AssertionError(f"{node.sql()} is not known to the oracle")


def _arguments(node: exp.Expression, event: Event, texts: set[str]) -> list[Any]:
    return [value(argument, event, texts) for argument in (node.this, *node.expressions)]


def _in(left: Any, items: list[Any]) -> bool | None:
    if left is None:
        return None
    return True if left in items else None if None in items else False


def _like(text: str, pattern: str) -> bool:
    steps = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(steps), text, re.DOTALL) is not None


def _texts(tree: exp.Expression) -> set[str]:
    """The columns that are read as text, all others are numbers: those beside a text or inside a text function.

    Of a column that is only asked whether it IS NULL, a text is as good as a number.
    """
    inside = [name_of(node.this) for node in tree.find_all(exp.Is) if isinstance(node.this, exp.Column)]
    columns = [name_of(column) for column in tree.find_all(exp.Column)]
    texts = {name for name in inside if inside.count(name) == columns.count(name)}
    for node in tree.walk():
        if isinstance(node, (exp.Lower, exp.Upper, exp.Length, exp.Like)):
            texts |= {name_of(column) for column in node.find_all(exp.Column)}
        elif type(node) in _COMPARE or isinstance(node, (exp.In, exp.Between, exp.Coalesce)):
            beside = list(node.iter_expressions())
            if any(isinstance(child, exp.Literal) and child.is_string for child in beside):
                texts |= {name_of(child) for child in beside if isinstance(child, exp.Column)}
    return texts
