"""The oracle's own parts against values worked out by hand."""

import json
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from tests.oracle import sql
from tests.oracle.calendar import period_of
from tests.oracle.pricing import round_half_away
from tests.oracle.reading import Event, decimal_of, read

DATA = {"x": "1.5", "y": 3, "region": "eu", "empty": None, "usage": {"tokens": 7}, "flag": True}


def event(data: dict) -> Event:
    record = {"id": "e", "source": "s", "subscription": "a", "data": data}
    found = read(json.dumps(record).encode())
    assert isinstance(found, Event)
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x + 4 * y", "13.5"),
        ("x - y", "-1.5"),
        ("-x * 2", "-3"),
        ("y / 4", "0.75"),
        ("mod(-y, 2)", "-1"),
        ("y % 2", "1"),
        ("usage.tokens", "7"),
        ("coalesce(empty, absent, 2)", "2"),
        ("greatest(x, y, 2)", "3"),
        ("least(x, y)", "1.5"),
        ("round(x)", "2"),
        ("round(-x)", "-2"),
        ("round(1.005, 2)", "1.01"),
        ("floor(-x)", "-2"),
        ("ceil(-x)", "-1"),
        ("abs(-x)", "1.5"),
        ("length(region)", "2"),
        ("CASE WHEN region = 'eu' THEN 1 ELSE 2 END", "1"),
        ("CASE WHEN absent = 1 THEN 1 END", None),
        ("absent + 1", None),
        ("flag + 1", None),
        ("region * 2", None),
    ],
)
def test_formulas(text: str, value: str | None):
    assert sql.number(text, event(DATA)) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("region = 'eu' AND x < 2", True),
        ("region = 'eu' AND absent < 2", False),
        ("region = 'us' AND absent < 2", False),
        ("NOT (region = 'us' AND absent < 2)", True),
        ("NOT absent < 2", False),
        ("region = 'eu' OR absent < 2", True),
        ("absent IS NULL", True),
        ("x IS NOT NULL", True),
        ("region IS NULL AND region = 'eu'", False),
        ("region IS NULL", False),
        ("region IS NULL OR region > 5", True),
        ("flag IS NULL", True),
        ("x IN (1, 1.50)", True),
        ("x NOT IN (1, 2)", True),
        ("x NOT IN (1, NULL)", False),
        ("y BETWEEN 3 AND 3", True),
        ("region LIKE '_u'", True),
        ("region LIKE 'E%'", False),
        ("upper(region) = 'EU'", True),
        ("region <> 'us'", True),
    ],
)
def test_filters(text: str, value: bool):
    assert sql.is_true(text, event(DATA)) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000),
        ("-0", 0),
        ("0e5", 0),
        ("1.500000", "1.5"),
        ("99999999999999999999.999999", "99999999999999999999.999999"),
        ("100000000000000000000", None),
        ("1.5000000", None),
        ("1e-7", None),
        ("1e400", None),
        ("01", None),
        ("+1", None),
        (".5", None),
        ("1.", None),
        (" 1", None),
        ("1_000", None),
        ("٣", None),
        ("NaN", None),
        (True, None),
        (None, None),
    ],
)
def test_decimals(text: object, value: object):
    assert decimal_of(text) == (None if value is None else Fraction(value))


def test_months_walk_from_the_anchor():
    start = datetime(2026, 1, 31, tzinfo=UTC)
    ends = []
    time = start
    for _ in range(5):
        time = period_of(start, "month", 1, "UTC", time)[1]
        ends.append((time.month, time.day))
    assert ends == [(2, 28), (3, 31), (4, 30), (5, 31), (6, 30)]


def test_halves_are_rounded_away_from_zero():
    assert [round_half_away(Fraction(n, 2), 0) for n in (1, -1, 3, -3, 2)] == [1, -1, 2, -2, 1]
