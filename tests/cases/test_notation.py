"""The notation says what is wrong, and where."""

from fractions import Fraction

import pytest

from tests.cases import raters
from tests.cases.checking import differences
from tests.cases.notation import Case, parse_cases
from tests.cases.words import CaseError

EXAMPLE = """
price  api-calls USD graduated  100 @ 0.10 | rest @ 0.05
event  e1 acme 09:00 90    -> 9.00
event  e2 acme 10:00 20    -> 1.00 + 0.50
total  acme 10.50
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("prize a per_unit 1", "'prize' is no directive"),
        ("price a USD per_liter 1", "'per_liter' is no price model"),
        ("price a per_unit", "the unit price is missing"),
        ("price a package 100 5", "`for` is missing at `5`"),
        ("price a per_unit 1 2", "`2` is not understood"),
        ("meter count", "`meter` stands below the `price` or `quota` it belongs to"),
        ("event e1 acme", "the time, or - is missing"),
        ("event e1 acme 9 o'clock", "'9' is not a time"),
        ("event e1 acme 09:00 5 -> 1.00 + x", "`1.00 + x` is not a sum of amounts"),
        ("event e1 acme 09:00 5 -> rate", "'rate' is neither a verdict (rated, "),
        ("event e1 acme 09:00 5 a={x", "`{x` is not JSON"),
        ("line usage 1 x 1 = 1", "`line` stands below the event it belongs to"),
        ("total acme much", "the sum is missing"),
        ("notify quota_reached calls 1 of 10", "`notify` stands below the event it belongs to"),
        ("quota calls 10", "block or overage is missing"),
        ("verdict acme calls blocked", "what remains is missing"),
        ("lateness long", "'long' is not a span such as 24h"),
        ("subscription acme gold", "there is no product 'gold' above this line"),
        ("product p name", "`name` is not `key: value, key: value`"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(line: str, message: str):
    with pytest.raises(CaseError) as error:
        parse_cases(f"# a comment\n{line}", "wrong.case")
    assert str(error.value).startswith(f"wrong.case:2: {message}")


def test_a_line_must_multiply():
    text = "event e1 acme 09:00 5\nline usage 5 x 2 = 11"
    with pytest.raises(CaseError, match=r"wrong\.case:2: 5 x 2 is not 11"):
        parse_cases(text, "wrong.case")


@pytest.mark.parametrize(
    ("right", "wrong", "difference"),
    [
        ("9.00", "9.01", "a.case:3: expected 9.01, was 9"),
        ("1.00 + 0.50", "1.50", "a.case:4: expected 1.5, was 1 + 0.5"),
        ("9.00", "duplicate", "a.case:3: expected duplicate, was rated"),
        ("10.50", "10.49", "a.case:5: total acme should be 10.49, was 10.5"),
        ("90    ->", "90 ->", None),
    ],
)
def test_a_difference_is_named_with_file_and_line(right: str, wrong: str, difference: str | None):
    [case] = parse_cases(EXAMPLE.replace(right, wrong, 1), "a.case")
    assert differences(case, raters.rate_with_oracle(case)) == ([difference] if difference else [])


@pytest.mark.parametrize(
    ("line", "difference"),
    [
        ("line usage tier 2  10 x 0.10 = 1", "the tier should be 2, was 1"),
        ("line tier_flat tier 1  10 x 0.10 = 1", "the kind should be tier_flat, was usage"),
        ("line usage tier 1  5 x 0.20 = 1", "the quantity should be 5, was 10"),
        ("line usage 10 x 0.10 = 1 usage 0..9", "the usage should be 0..9, was 0..10"),
        ("line usage 10 x 0.10 = 1 period 2026-01-01..open", "the period should be 2026-01-01T00:00:00Z..open, was"),
    ],
)
def test_a_line_is_compared_field_by_field(line: str, difference: str):
    text = f"price a USD per_unit 0.10\nevent e1 acme 09:00 10 -> 1\n{line}"
    [case] = parse_cases(text, "a.case")
    found = differences(case, raters.rate_with_oracle(case))
    assert any(text.startswith(f"a.case:3: {difference}") for text in found)


def test_elements_stay_as_they_are_written():
    [case] = parse_cases('price a USD per_unit 1\nevent e1 acme - 1.50 a=7.0 b="7" c=text source=s', "a.case")
    attributes = b'"id": "e1", "source": "s", "subscription": "acme"'
    assert case.records[0].raw == b"{" + attributes + b', "data": {"quantity": 1.50, "a": 7.0, "b": "7", "c": "text"}}'


def test_a_file_holds_many_cases():
    cases: list[Case] = parse_cases("case one\nprice a per_unit 1\ncase two\nprice b per_unit 2", "a.case")
    assert [(case.title, case.place) for case in cases] == [("one", "a.case:1"), ("two", "a.case:3")]
    assert [case.document["products"][0]["charges"][0]["id"] for case in cases] == ["a", "b"]


def test_a_total_may_look_at_one_period():
    text = """
    price  a USD per_unit 1
    event  e1 acme 2026-01-31 5
    event  e2 acme 2026-02-01 7
    total  acme 5 in 2026-01-01
    total  acme 7 in 2026-02-01
    usage  acme a 12
    """
    [case] = parse_cases(text, "a.case")
    assert differences(case, raters.rate_with_oracle(case)) == []
    assert case.sums[-1].value == Fraction(12)
