"""The page for those who write expressions is true: its examples are executed, its functions are all there are."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from rating.expressions import compile_boolean, compile_number
from rating.expressions.syntax import DEEPEST_TREE, FUNCTIONS, LONGEST_TEXT
from schemas.decimals import QUANTITY_SCALE, format_scaled, parse_quantity

PAGE = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(.+)` \| `(\{.*\})` \| (.+) \|$", PAGE, re.MULTILINE)


def element(data: dict, name: str, kind: str):
    for part in [name] if name in data else name.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    if kind == "text":
        return data if isinstance(data, str) else None
    return None if data is None else parse_quantity(str(data))


def value(text: str, data: dict, is_condition: bool) -> str:
    compiled = compile_boolean(text) if is_condition else compile_number(text)
    given = {
        (name, kind): pl.Series([element(data, name, kind)], dtype=pl.Int128 if kind == "number" else pl.String)
        for name, kind in compiled.elements
    }
    evaluated = compiled.evaluate(given, 1)
    if evaluated.inexact[0]:
        return "inexact"
    found = evaluated.values[0]
    if is_condition:
        return str(found).lower()
    return "NULL" if found is None else format_scaled(found, QUANTITY_SCALE)


@pytest.mark.parametrize(("text", "data", "expected"), EXAMPLES)
def test_every_example_holds(text, data, expected):
    assert value(text, json.loads(data, parse_float=str), expected in ("true", "false")) == expected


def test_the_examples_were_found():
    assert len(EXAMPLES) >= 20


def test_every_function_is_in_the_table():
    rows = re.findall(r"^\| (`\w+\(.*?)\|", PAGE, re.MULTILINE)
    assert tuple(sorted({name for row in rows for name in re.findall(r"`(\w+)\(", row)})) == tuple(sorted(FUNCTIONS))


def test_the_limits_are_the_true_ones():
    assert f"At most {LONGEST_TEXT} characters, nested at most {DEEPEST_TREE} deep" in PAGE
