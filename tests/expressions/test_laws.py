"""Columns, the row-wise path and an independent evaluator agree on any expression and any events."""

import re
from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rating.expressions import ExpressionError, compile_boolean, compile_number
from rating.expressions.bounds import bounds
from rating.expressions.expression import _ranges
from rating.expressions.like import matches, parse_pattern, regular_expression
from rating.expressions.nodes import OneOf, Quotient, walk
from rating.expressions.rows import row_value
from tests.expressions import naive
from tests.expressions.evaluation import Text, both_ways, columns

END = 10**26  # a quantity's micros are smaller
EDGES = [0, 1, 10**6, 10**6 - 1, 500_000, 1_500_000, 3 * 10**6, 10**18, 2**63, 2**64, 10**19, 10**25, END - 1]

edge_biased = st.sampled_from(EDGES) | st.integers(0, 10**7) | st.integers(0, END - 1)
quantities = st.tuples(edge_biased, st.sampled_from([1, -1])).map(lambda pair: Fraction(pair[0] * pair[1], 10**6))
texts = st.text(alphabet="abEÄé%_'\\. 1😀", max_size=5)
decimals = st.sampled_from(["0", "1", "2", "3", "10", "0.5", "1.2", "0.000001", "1e3", "7e-3", "99999999999999999999"])
divisors = st.sampled_from(["1", "2", "3", "7", "1000000", "0.5", "0.03", "1073741824", "99999999999999999999"])
patterns = st.text(alphabet="abE%_é\\. ", max_size=5)
number_names = st.sampled_from(["n1", "n2", "n3"]).map(lambda name: ("name", name))
text_names = st.sampled_from(["t1", "t2"]).map(lambda name: ("name", name))


def tagged(name, *parts):
    return st.tuples(st.just(name), *parts)


def cases(conditions, values):
    return tagged("case", st.lists(st.tuples(conditions, values), min_size=1, max_size=3).map(tuple), values)


def numbers_of(depth):
    leaves = number_names | decimals.map(lambda text: ("number", text))
    if depth == 0:
        return leaves
    part, digits = numbers_of(depth - 1), st.integers(-3, 7).map(lambda n: ("number", str(n)))
    return st.one_of(
        leaves,
        st.tuples(st.sampled_from("+-*"), part, part),
        st.tuples(st.sampled_from("/%"), part, divisors.map(lambda text: ("number", text))),
        tagged("negative", part),
        tagged("call", st.sampled_from(["abs", "floor", "ceil", "round"]), part),
        tagged("call", st.just("round"), part, digits),
        tagged("call", st.sampled_from(["least", "greatest", "coalesce"]), part, part, part | st.just(("null",))),
        tagged("call", st.just("length"), texts_of(depth - 1)),
        cases(conditions_of(depth - 1), part),
    )


def texts_of(depth):
    leaves = text_names | texts.map(lambda text: ("text", text))
    if depth == 0:
        return leaves
    part = texts_of(depth - 1)
    return st.one_of(
        leaves,
        tagged("call", st.sampled_from(["lower", "upper"]), part),
        tagged("call", st.just("coalesce"), part, part),
        cases(conditions_of(depth - 1), part),
    )


def conditions_of(depth):
    number, text = numbers_of(max(depth - 1, 0)), texts_of(max(depth - 1, 0))
    # At least one operand is written so that its kind shows.
    plain = decimals.map(lambda one: ("number", one)) | tagged("+", number_names, number_names)
    words = texts.map(lambda one: ("text", one))
    leaves = st.one_of(
        st.tuples(st.sampled_from(sorted(naive.COMPARE)), number, plain),
        st.tuples(st.sampled_from(sorted(naive.COMPARE)), text, words),
        tagged("between", number, plain, number),
        tagged("in", number, st.lists(decimals.map(lambda one: ("number", one)), min_size=1, max_size=10).map(tuple)),
        tagged("in", text, st.lists(words, min_size=1, max_size=10).map(tuple)),
        tagged("like", text, patterns),
        tagged("is null", tagged("+", number_names, number_names)),
        st.sampled_from([("true",), ("false",), ("null",)]),
    )
    if depth == 0:
        return leaves
    part = conditions_of(depth - 1)
    return st.one_of(leaves, st.tuples(st.sampled_from(["and", "or"]), part, part), tagged("not", part))


optional = st.none() | quantities
events = st.fixed_dictionaries(
    {"n1": optional, "n2": optional, "n3": optional, "t1": st.none() | texts, "t2": st.none() | texts}
)
batches = st.lists(events, min_size=1, max_size=6)


def as_given(event):
    return {name: Text(value) if isinstance(value, str) else value for name, value in event.items()}


@settings(max_examples=400)
@given(numbers_of(3), batches)
def test_a_number_is_what_exact_fractions_give(tree, batch):
    expected = [naive.quantity(naive.compute(tree, event)) for event in batch]
    try:
        compiled = compile_number(naive.sql(tree))
    except ExpressionError as error:
        # The one refusal that depends on a value: a constant that no quantity can be.
        assert "this constant" in error.message and set(expected) == {naive.INEXACT}
        return
    assert both_ways(compiled, [as_given(event) for event in batch]) == expected


@settings(max_examples=400)
@given(conditions_of(3), batches)
def test_a_condition_is_what_exact_fractions_give(tree, batch):
    compiled = compile_boolean(naive.sql(tree))
    expected = [naive.compute(tree, event) is True for event in batch]
    assert both_ways(compiled, [as_given(event) for event in batch]) == expected


@settings(max_examples=300)
@given(numbers_of(3), batches)
@example(("-", ("name", "n1"), ("name", "n2")), [{"n1": Fraction(1), "n2": Fraction(-5)}])
def test_nothing_on_the_way_passes_its_bounds(tree, batch):
    try:
        compiled = compile_number(naive.sql(tree))
    except ExpressionError:
        return
    given_events = [as_given(event) for event in batch]
    by_element = {leaf: columns(compiled, given_events)[leaf.name, leaf.kind] for leaf in compiled._leaves}
    ranges = _ranges(by_element)
    for node in walk(compiled._root):
        reached = bounds(node, ranges)
        for row in range(len(batch)):
            found = row_value(node, {leaf: column[row] for leaf, column in by_element.items()})
            if isinstance(found, int) and not isinstance(found, bool):
                assert reached.low <= found <= reached.high
                assert abs(found) <= reached.widest
            passed = _passed_through(node, {leaf: column[row] for leaf, column in by_element.items()})
            assert passed <= reached.widest


def _passed_through(node, event) -> int:
    """The largest magnitude that the columns hold while computing this node from its parts."""
    match node:
        case Quotient(value, divisor, _):
            return 2 * (abs(row_value(value, event) or 0) + divisor)
        case OneOf(_, members):
            return max(abs(member) if isinstance(member, int) else 0 for member in members)
    return 0


@settings(max_examples=100)
@given(numbers_of(2), batches, st.data())
def test_a_value_does_not_depend_on_its_neighbours(tree, batch, data):
    compiled = compile_number(naive.sql(("+", ("name", "n1"), ("*", ("number", "0"), tree))))
    given_events = [as_given(event) for event in batch]
    cut = data.draw(st.integers(0, len(batch)))
    parts = [both_ways(compiled, part) for part in (given_events[:cut], given_events[cut:])]
    assert parts[0] + parts[1] == both_ways(compiled, given_events)


@settings(max_examples=300)
@given(st.text(alphabet="abcAB ().,%*+-/<>=!'\"0123456789_\n;:[]{}$@?|&~^#\\", max_size=40) | st.text(max_size=20))
@example("/* open")
@example("{% a %}")
@example("{{ a }} = 1")
@example("'a\\' = b")
@example("e'\\n' = a")
@example("a = 1 /*+ hint */")
def test_no_text_crashes_the_compiler(text):
    for compiling in (compile_boolean, compile_number):
        try:
            compiled = compiling(text)
        except ExpressionError as error:
            assert 1 <= error.column <= len(text) + 1
            assert error.message
        else:
            assert len(compiled.evaluate(columns(compiled, [{}, {}]), 2).values) == 2


@settings(max_examples=400)
@given(st.text(alphabet="ab%_!.\n", max_size=7), st.text(alphabet="ab%_!.\n", max_size=7), st.sampled_from([None, "!"]))
@example("%a%a%a%a%a%b", "a" * 30, None)
@example("a%a", "a", None)
@example("%", "", None)
def test_patterns(pattern, text, escape):
    try:
        pieces = parse_pattern(pattern, escape)
    except ValueError:
        assert escape == "!" and pattern.endswith("!")
        return
    steps = re.findall(r"!.|[^!]", pattern, re.DOTALL) if escape else list(pattern)
    regular = "".join({"%": ".*", "_": "."}.get(step, re.escape(step[-1])) for step in steps)
    expected = re.fullmatch(regular, text, re.DOTALL) is not None
    assert matches(pieces, text) is expected
    quoted = pattern.replace("'", "''")
    compiled = compile_boolean(f"t LIKE '{quoted}'" + (" ESCAPE '!'" if escape else ""))
    assert both_ways(compiled, [{"t": Text(text)}, {}]) == [expected, False]
    assert regular_expression(pieces).startswith(r"(?s)\A")
