"""A second meaning of expressions, independent of the first: trees of tuples, exact fractions, one event at a time.

It shares no line with the engine, not even the parser: a tree is generated, written as SQL here and computed here.
"""

import math
import re
from fractions import Fraction

INEXACT = "inexact"
COMPARE = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def sql(tree) -> str:
    """The tree as SQL, every part in brackets."""
    match tree:
        case ("number", text) | ("name", text):
            return text
        case ("text", text):
            return "'" + text.replace("'", "''") + "'"
        case ("null" | "true" | "false",):
            return tree[0].upper()
        case ("negative", x):
            return f"(- {sql(x)})"
        case ("not", x):
            return f"(NOT {sql(x)})"
        case ("is null", x):
            return f"({sql(x)} IS NULL)"
        case ("in", x, members):
            return f"({sql(x)} IN ({', '.join(map(sql, members))}))"
        case ("between", x, low, high):
            return f"({sql(x)} BETWEEN {sql(low)} AND {sql(high)})"
        case ("like", x, pattern):
            return f"({sql(x)} LIKE {sql(('text', pattern))})"
        case ("case", branches, otherwise):
            whens = " ".join(f"WHEN {sql(condition)} THEN {sql(value)}" for condition, value in branches)
            return f"(CASE {whens} ELSE {sql(otherwise)} END)"
        case ("call", name, *parts):
            return f"{name}({', '.join(map(sql, parts))})"
        case (operator, left, right):
            return f"({sql(left)} {operator} {sql(right)})"


def compute(tree, event):
    """A Fraction, text, bool, or None for NULL."""
    match tree:
        case ("number", text):
            return Fraction(text)
        case ("text", text):
            return text
        case ("name", name):
            return event.get(name)
        case ("null",):
            return None
        case ("true" | "false",):
            return tree[0] == "true"
        case ("is null", x):
            return compute(x, event) is None
        case ("and" | "or", left, right):
            return logic(tree[0], compute(left, event), compute(right, event))
        case ("between", x, low, high):
            above, below = compute((">=", x, low), event), compute(("<=", x, high), event)
            return logic("and", above, below)
        case ("case", branches, otherwise):
            for condition, value in branches:
                if compute(condition, event) is True:
                    return compute(value, event)
            return compute(otherwise, event)
        case ("call", "coalesce", *parts):
            return next((value for part in parts if (value := compute(part, event)) is not None), None)
        case ("call", "least" | "greatest" as which, *parts):
            known = sorted(value for part in parts if (value := compute(part, event)) is not None)
            return None if not known else known[0 if which == "least" else -1]
    return strict(tree, event)


def strict(tree, event):
    operands = [compute(part, event) for part in (tree[2:] if tree[0] == "call" else tree[1:]) if is_tree(part)]
    if None in operands:
        return None
    first = operands[0]
    match tree:
        case ("negative", _):
            return -first
        case ("not", _):
            return not first
        case ("in", _, members):
            return first in [compute(member, event) for member in members]
        case ("like", _, pattern):
            parts = {"%": ".*", "_": "."}
            steps = "".join(parts.get(character, re.escape(character)) for character in pattern)
            return re.fullmatch(steps, first, re.DOTALL) is not None
        case ("call", name, *_):
            return call(name, operands)
        case (operator, _, _) if operator in COMPARE:
            return COMPARE[operator](*operands)
        case ("+", _, _):
            return first + operands[1]
        case ("-", _, _):
            return first - operands[1]
        case ("*", _, _):
            return first * operands[1]
        case ("/", _, _):
            return first / operands[1]
        case ("%", _, _):
            return first - operands[1] * math.trunc(first / operands[1])


def is_tree(part) -> bool:
    return isinstance(part, tuple) and bool(part) and isinstance(part[0], str)


def logic(operator, left, right):
    decisive = operator == "or"
    if decisive in (left, right):
        return decisive
    return None if None in (left, right) else not decisive


def call(name, operands):
    first = operands[0]
    match name:
        case "abs":
            return abs(first)
        case "floor":
            return Fraction(math.floor(first))
        case "ceil":
            return Fraction(math.ceil(first))
        case "round":
            unit = Fraction(10) ** int(operands[1] if len(operands) > 1 else 0)
            magnitude = math.floor(abs(first) * unit + Fraction(1, 2)) / unit
            return magnitude if first >= 0 else -magnitude
        case "length":
            return Fraction(len(first))
        case "lower":
            return first.lower()
        case "upper":
            return first.upper()


def quantity(value):
    """What a formula gives: a Fraction of at most 6 fractional and 20 integer digits, None, or INEXACT."""
    if value is None:
        return None
    return value if (value * 10**6).denominator == 1 and abs(value) < 10**20 else INEXACT
