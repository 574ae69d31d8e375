"""Expressions on a few events written as Python values: numbers as decimal texts or ints, texts as `Text`."""

from fractions import Fraction

import polars as pl

from rating.expressions import Expression, compile_boolean, compile_number

INEXACT = "inexact"


class Text(str):
    """An element that is a text; a plain str is the decimal text of a number."""


def micros(value):
    return None if value is None or isinstance(value, Text) else int(Fraction(value) * 10**6)


def columns(expression: Expression, events: list[dict]) -> dict:
    found = {}
    for name, kind in expression.elements:
        values = [event.get(name) for event in events]
        if kind == "number":
            found[name, kind] = pl.Series([micros(value) for value in values], dtype=pl.Int128)
        else:
            found[name, kind] = pl.Series([v if isinstance(v, Text) else None for v in values], dtype=pl.String)
    return found


def shown(evaluated) -> list:
    """Fractions or booleans, None for NULL, INEXACT."""
    is_number = evaluated.values.dtype == pl.Int128
    pairs = zip(evaluated.values.to_list(), evaluated.inexact.to_list(), strict=True)
    exact = [Fraction(v, 10**6) if is_number and v is not None else v for v in evaluated.values.to_list()]
    return [INEXACT if inexact else one for (_, inexact), one in zip(pairs, exact, strict=True)]


def both_ways(expression: Expression, events: list[dict]) -> list:
    """The values as evaluated, after checking that one event at a time gives the same."""
    given = columns(expression, events)
    found = shown(expression.evaluate(given, len(events)))
    leaves = {leaf: given[leaf.name, leaf.kind] for leaf in expression._leaves}
    assert shown(expression._by_rows(leaves, len(events))) == found
    return found


def numbers(text: str, *events: dict) -> list:
    return both_ways(compile_number(text), list(events))


def number(text: str, **event):
    return numbers(text, event)[0]


def truths(text: str, *events: dict) -> list:
    return both_ways(compile_boolean(text), list(events))


def truth(text: str, **event) -> bool:
    return truths(text, event)[0]
