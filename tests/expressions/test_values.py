"""What expressions are worth: examples by hand, each computed as a column and one event at a time."""

import pickle
from fractions import Fraction

import polars as pl
import pytest

from rating.expressions import compile_boolean, compile_number
from rating.expressions.nodes import Quotient, walk
from tests.expressions.evaluation import INEXACT, Text, both_ways, columns, number, numbers, truth, truths

EU, US = Text("eu"), Text("us")
LARGEST = "99999999999999999999.999999"


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        ("TRUE", "TRUE", True, True),
        ("TRUE", "FALSE", False, True),
        ("TRUE", "NULL", None, True),
        ("FALSE", "FALSE", False, False),
        ("FALSE", "NULL", False, None),
        ("NULL", "NULL", None, None),
    ],
)
def test_logic_has_three_values(left, right, both, either):
    sides = {"TRUE": "a = 1", "FALSE": "a = 2", "NULL": "absent = 1"}
    for one, other in ((left, right), (right, left)):
        for operator, expected in (("AND", both), ("OR", either)):
            text = f"{sides[one]} {operator} {sides[other]}"
            assert truth(text, a=1) is (expected is True)
            assert truth(f"NOT ({text})", a=1) is (expected is False)
            assert truth(f"({one} {operator} {other})") is (expected is True)


def test_null_at_the_top_is_false():
    assert truths("region = 'eu'", {"region": EU}, {"region": US}, {}) == [True, False, False]
    assert truths("region <> 'eu'", {"region": EU}, {"region": US}, {}) == [False, True, False]
    assert truths("NOT region = 'eu'", {"region": EU}, {"region": US}, {}) == [False, True, False]
    assert truths("a NOT IN (1, 2)", {"a": 1}, {"a": 3}, {}) == [False, True, False]
    assert truths("a BETWEEN b AND 5", {"a": 6}, {"a": 3}, {"a": 3, "b": 3}) == [False, False, True]
    assert truths("NOT a BETWEEN b AND 5", {"a": 6}, {"a": 3}, {"a": 3, "b": 3}) == [True, False, False]


def test_an_element_without_another_use_is_null_when_it_is_neither_number_nor_text():
    events = {"a": EU}, {"a": 5}, {}
    assert truths("a IS NULL", *events) == [False, False, True]
    assert truths("a IS NOT NULL", *events) == [True, True, False]
    assert truths("a IS NULL OR a < 9", *events) == [True, True, True]
    assert compile_boolean("a IS NULL OR a < 9").elements == {("a", "number")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("12 / 2 / 3", 2),
        ("2 * 7 % 4", 2),
        ("-2 - -3", 1),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("mod(7.5, 2)", "1.5"),
        ("1e3 + 1E-6", "1000.000001"),
        ("abs(-1.5)", "1.5"),
        ("floor(-1.5)", -2),
        ("ceil(-1.5)", -1),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(1.005, 2)", "1.01"),
        ("round(1250, -2)", 1300),
        ("round(1 / 3, 6)", "0.333333"),
        ("1 / 3 * 3", 1),
        ("least(3, 1, 2)", 1),
        ("greatest(3, 1, 2)", 3),
        ("greatest(NULL, 2)", 2),
        ("coalesce(NULL, NULL, 4)", 4),
        ("NULL + 1", None),
        ("length('häuser😀')", 7),
        ("CASE WHEN 1 > 2 THEN 3 END", None),
    ],
)
def test_a_constant_is_computed_once_for_all(text, value):
    expected = None if value is None else Fraction(value)
    compiled = compile_number(text)
    assert number(text) == expected
    assert compiled.constant == (None if expected is None else expected * 10**6)
    assert compiled.elements == frozenset()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("TRUE OR TRUE AND FALSE", True),
        ("NOT FALSE AND FALSE", False),
        ("NOT 1 = 2", True),
        ("1 < 2 AND 2 <= 2 AND 3 > 2 AND 3 >= 3 AND 1 <> 2 AND 1 != 2", True),
        ("'a' < 'b' AND 'B' < 'a' AND 'a' < 'aa' AND 'z' < 'ä' AND 'ä' < '😀'", True),
        ("'1.0' = '1'", False),
        ("1.0 = 1", True),
        ("'it''s' = 'it''s'", True),
        ("'A' = 'a'", False),
        ("lower('ÄB') = 'äb' AND upper('äb') = 'ÄB'", True),
    ],
)
def test_precedence_and_comparison(text, value):
    assert truth(text) is value


def test_dotted_and_quoted_names():
    event = {"usage.tokens": 5, "x-tier": Text("gold"), "end": 1, "a.b.c.d.e": 2, 'q"q': 3}
    assert truth('usage.tokens = 5 AND "x-tier" = \'gold\' AND "end" = 1 AND "usage"."tokens" = 5', **event)
    assert number('a.b.c.d.e + "q""q"', **event) == 5
    assert compile_boolean("usage.tokens = 5 AND region = 'eu'").elements == {
        ("usage.tokens", "number"),
        ("region", "text"),
    }


def test_names_keep_their_case():
    assert compile_boolean("Status = 1 AND status = 2").elements == {("Status", "number"), ("status", "number")}


def test_elements_learn_from_one_another():
    assert compile_boolean("a = b AND b = c AND c < 5").elements == {(name, "number") for name in "abc"}
    assert compile_boolean("a = coalesce(b, CASE WHEN c = 1 THEN d ELSE 'x' END)").elements == {
        ("a", "text"), ("b", "text"), ("c", "number"), ("d", "text"),
    }  # fmt: skip


def test_case():
    text = "CASE region WHEN 'eu' THEN tokens * 2 WHEN 'us' THEN tokens END"
    events = [{"region": region, "tokens": 5} for region in (EU, US, Text("ap"), None)]
    assert numbers(text, *events) == [10, 5, None, None]
    assert numbers("CASE WHEN tokens > 3 THEN 0.5 ELSE tokens / 3 END", {"tokens": 5}, {"tokens": 3}, {}) == [
        Fraction("0.5"), 1, None,
    ]  # fmt: skip


def test_least_and_greatest_leave_out_null():
    events = {"a": 1, "b": 2}, {"a": 1}, {"b": 2}, {}
    assert numbers("least(a, b)", *events) == [1, 1, 2, None]
    assert numbers("greatest(a, b)", *events) == [2, 1, 2, None]


@pytest.mark.parametrize("count", [1, 8, 9, 200])
def test_lists_of_any_length(count):
    members = ", ".join(str(i) for i in range(count))
    quoted = ", ".join(f"'{i}'" for i in range(count))
    events = {"a": 0, "t": Text("0")}, {"a": count - 1, "t": Text(count - 1)}, {"a": "0.5", "t": Text("0.0")}, {}
    assert truths(f"a IN ({members})", *events) == [True, True, False, False]
    assert truths(f"a NOT IN ({members})", *events) == [False, False, True, False]
    assert truths(f"t IN ({quoted})", *events) == [True, True, False, False]


def test_a_value_with_too_many_digits_is_inexact_never_rounded():
    assert numbers("a * 1.2", {"a": "0.000005"}, {"a": "0.000001"}, {}) == [Fraction("0.000006"), INEXACT, None]
    assert numbers("a / 3", {"a": 1}, {"a": 3}, {"a": -1}) == [INEXACT, 1, INEXACT]
    assert numbers("a / 3 * 3", {"a": 1}, {"a": "0.000001"}) == [1, Fraction("0.000001")]
    assert numbers("a + 0.000001", {"a": LARGEST}, {"a": "99999999999999999999.999998"}) == [
        INEXACT, Fraction(LARGEST),
    ]  # fmt: skip
    assert numbers("-a - 0.000001", {"a": LARGEST}, {"a": 1}) == [INEXACT, Fraction("-1.000001")]
    inexact = compile_number("a / 3").evaluate({("a", "number"): pl.Series([1], dtype=pl.Int128)}, 1)
    assert inexact.values.to_list() == [None]


def test_products_beyond_128_bits_are_exact():
    huge = "12345678901234567890.123456"
    events = [{"a": huge, "b": huge}, {"a": 3, "b": 4}, {"a": huge}, {"a": huge, "b": "0.5"}, {"a": f"-{huge}", "b": 1}]
    assert numbers("a * b", *events) == [INEXACT, 12, None, Fraction(huge) / 2, -Fraction(huge)]
    product = Fraction(huge) ** 2
    assert product > 2**127 / Fraction(10**12)
    assert truths(f"a * b > {huge} AND a * b <= a * b", *events) == [True, False, False, False, False]
    assert numbers("a * b * 2 - a * b - a * b + 1", *events) == [1, 1, None, 1, 1]
    assert numbers(f"a * b - {huge} * a", *events) == [0, 3 * (4 - Fraction(huge)), None, INEXACT, INEXACT]


def test_nothing_wraps_at_the_edge_of_128_bits():
    square = compile_number("a * a * a * 1e-12")
    events = [{"a": 10**power} for power in range(19)] + [{"a": LARGEST}, {"a": f"-{LARGEST}"}]
    expected = [Fraction(10 ** (3 * power), 10**12) for power in range(19)]
    exact = [value if (value * 10**6).denominator == 1 and value < 10**20 else INEXACT for value in expected]
    assert both_ways(square, events) == [*exact, INEXACT, INEXACT]


def test_constants_beyond_128_bits_are_exact():
    assert truths("a < 1e19 * 1e19 * 1e19", {"a": LARGEST}, {}) == [True, False]
    assert numbers("a * 1e19 * 1e19 * 1e19 / 1e19 / 1e19 / 1e19", {"a": LARGEST}, {"a": -7}) == [Fraction(LARGEST), -7]
    assert numbers("a / 9999999999999999999 / 9999999999999999999 / 9999999999999999999", {"a": 0}, {"a": 1}) == [
        0, INEXACT,
    ]  # fmt: skip


@pytest.mark.parametrize("sign", ["", "-"])
def test_one_large_number_of_either_sign_is_enough(sign):
    events = [{"a": f"{sign}{LARGEST}", "b": LARGEST, "c": LARGEST}]
    assert numbers("a * b * c", *events) == [INEXACT]
    same = [{"a": f"{sign}1e{power}", "b": f"{sign}1e{power}"} for power in range(13, 20)]
    for event in same:
        assert truths("a * b > 1e19", event) == [True]


def test_a_whole_factor_is_taken_up_by_the_denominator():
    assert not any(isinstance(node, Quotient) for node in walk(compile_number("floor(a * 1000000)")._root))


@pytest.mark.parametrize("text", ["round(bytes / 1073741824, 3)", "input + 4 * output", "ceil(seconds / 60) * 1.25"])
def test_usual_formulas_stay_in_columns_for_any_usual_number(text):
    trillion = 10**12 * 10**6
    assert compile_number(text)._safe[0] > trillion


def test_not_like():
    events = {"t": Text("gpt-4")}, {"t": Text("claude")}, {"t": Text("g%")}, {}
    assert truths("t NOT LIKE 'gpt-%'", *events) == [False, True, True, False]
    assert truths("NOT t LIKE 'gpt-%'", *events) == [False, True, True, False]
    assert truths("t NOT LIKE 'g!%' ESCAPE '!'", *events) == [True, True, False, False]


def test_a_large_number_does_not_disturb_its_neighbours():
    events = [{"a": i, "b": 2} for i in range(50)]
    events[17] = {"a": LARGEST, "b": LARGEST}
    events[31] = {"a": LARGEST, "b": 0}
    expected = [Fraction(2 * i) for i in range(50)]
    expected[17], expected[31] = INEXACT, 0
    assert numbers("a * b", *events) == expected


@pytest.mark.parametrize("text", ["a", "a * a", "a * 1.5 + coalesce(b, 1)", "1.5", "CASE WHEN b > 1 THEN 1 ELSE a END"])
def test_an_empty_batch(text):
    assert numbers(text) == []
    assert truths(f"{text} > 0") == []


def test_equal_texts_are_equal_expressions_and_travel_as_text():
    one = compile_number("a + 1")
    assert one == compile_number("a + 1") and hash(one) == hash(compile_number("a + 1"))
    assert one != compile_number("a + 2")
    assert pickle.loads(pickle.dumps(one)) == one
    condition = compile_boolean("a > 1")
    assert pickle.loads(pickle.dumps(condition)).evaluate(columns(condition, [{"a": 2}]), 1).values.to_list() == [True]


def test_a_column_of_the_wrong_type_is_our_own_error():
    with pytest.raises(AssertionError):
        compile_number("a").evaluate({("a", "number"): pl.Series([1], dtype=pl.Int64)}, 1)
