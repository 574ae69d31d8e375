"""What is refused when a catalog is loaded, and where the message points."""

import pytest
from sqlglot import exp

from rating.expressions import ExpressionError, compile_boolean, compile_number
from rating.expressions.syntax import FUNCTIONS

# The text, the character the message must name, and words it must contain.
REFUSED = [
    ("", 1, "empty"),
    ("   ", 1, "empty"),
    ("-- only a remark", 1, "empty"),
    ("a = ", 3, "missing"),
    ("a = 1 AND", 7, "missing"),
    ("(a = 1", 6, "expected"),
    ("a = 1)", 6, ") is not expected"),
    ("a = 1 b", 7, "b is not expected"),
    ("a = 1, b = 2", 6, ", is not expected"),
    ("'abc = a", 1, "does not end"),
    ("a = 'abc", 5, "does not end"),
    ('"abc = 1', 1, "does not end"),
    ("a = 'it''s' AND \"b\"\"c\" = 'x", 26, "does not end"),
    ("a = 1; b = 2", 1, "one expression"),
    ("a > .5", 5, ".5 is not a decimal"),
    ("a > 5.", 5, "5. is not a decimal"),
    ("a > 007", 5, "007 is not a decimal"),
    ("a > 1_000", 6, "_000"),
    ("a > 0x1F", 6, "x1F"),
    ("a > 1e400", 5, "20 digits before"),
    ("a > 100000000000000000000", 5, "20 digits before"),
    ("a > 0.0000000000001", 5, "12 after"),
    ("٣ > 1", 1, "not a name"),
    ("$1 > 1", 1, "not a name"),
    ("a = '\ud800'", 1, "Unicode"),
    ("now() > 5", 1, "now() is not among"),
    ("a > 5 AND random() < 1", 11, "random() is not among"),
    ("lenght(a) = 1", 1, "did you mean length?"),
    ("count(*) > 1", 1, "count() is not among"),
    ("sum(a) > 1", 1, "sum() is not among"),
    ("ifnull(a, 1) = 1", 1, "ifnull() is not among"),
    ("if(a > 1, TRUE, FALSE)", 1, "if() is not among"),
    ('"now"() > 5', 1, "now() is not among"),
    ("x.abs(a) > 5", 3, "not allowed"),
    ("current_date = a", 1, "CURRENTDATE is not allowed"),
    ("current_timestamp > a", 1, "not allowed"),
    ("read_csv('/etc/passwd') = a", 1, "read_csv() is not among"),
    ("getenv('HOME') = a", 1, "getenv() is not among"),
    ("cast(a AS int) = 1", 1, "cast() is not among"),
    ("try_cast(a AS int) = 1", 1, "try_cast() is not among"),
    ("a::int = 1", 1, "cast"),
    ("date '2020-01-01' = a", 6, "cast"),
    ("interval '1' day = a", 10, "INTERVAL"),
    ("(SELECT 1) = a", 2, "subquery"),
    ("a IN (SELECT b FROM t)", 7, "subquery"),
    ("EXISTS (SELECT 1)", 1, "not among"),
    ("a = ANY (b)", 5, "ANY() is not among"),
    ("*", 1, "star"),
    ("a.* = 1", 3, "star"),
    ("a[0] = 1", 1, "index"),
    ("a -> 'b' = 'x'", 1, "path"),
    ("a ->> 'b' = 'x'", 1, "path"),
    ("a || b = 'x'", 1, "joining"),
    ("'a' 'b' = c", 1, "joining"),
    ("a ILIKE 'x'", 1, "lower(...) LIKE"),
    ("a ~ 'x'", 3, "not expected"),
    ("a RLIKE 'x'", 1, "not allowed"),
    ("a SIMILAR TO 'x'", 1, "not allowed"),
    ("a ^ 2 = 4", 1, "not allowed"),
    ("a & 2 = 4", 1, "not allowed"),
    ("a DIV 2 = 4", 1, "not allowed"),
    ("a IS DISTINCT FROM 1", 1, "not allowed"),
    ("a IS TRUE", 1, "IS NULL"),
    ("(a, b) = 1", 2, "TUPLE"),
    ("a = 1 UNION SELECT 1", 13, "subquery"),
    ("a = 1 LIMIT 1", 7, "LIMIT is not expected"),
    ("sum(a) OVER () = 1", 1, "sum() is not among"),
    ("a OVER () = 1", 3, "OVER() is not among"),
    (":a = 1", 1, "PLACEHOLDER"),
    ("@a = 1", 1, "PARAMETER"),
    ("? = 1", 1, "PLACEHOLDER"),
    ("{a} = 1", 2, "STRUCT"),
    ("a BETWEEN SYMMETRIC 2 AND 1", 1, "form of BETWEEN"),
    ("round(a, 1, 2) = 1", 1, "form of ROUND"),
    ("ceil(a TO day) = 1", 6, "form of CEIL"),
    ("abs(a, b) = 1", 9, "expected"),
    ("abs() = 1", 5, "missing"),
    ("lower(DISTINCT a) = 'x'", 16, "DISTINCT"),
    ("a COLLATE x = 'b'", 1, "COLLATE"),
    ("a = 1 AND NOT", 11, "missing"),
    ("CASE WHEN a = 1 THEN TRUE", 22, "expected"),
    ("a = b", 1, "nothing says whether a"),
    ('region = "eu"', 1, "single quotes"),
    ("a AND b = 1", 1, "a is no condition by itself"),
    ("NOT a", 5, "a is no condition by itself"),
    ("a", 1, "a is no condition by itself"),
    ("1", 1, "a condition is needed here, this is a number"),
    ("a + 1", 1, "a condition is needed here, this is a number"),
    ("a = 'x' AND a > 1", 17, "a is used as a text and as a number"),
    ("a > 1 AND lower(a) = 'x'", 17, "a is used as a text and as a number"),
    ("a + 'x' = 1", 5, "a number is needed here, this is a text"),
    ("length(5) = 1", 8, "a text is needed here, this is a number"),
    ("CASE WHEN a = 1 THEN 1 ELSE 'x' END = 1", 29, "a number is needed here, this is a text"),
    ("a = NULL", 1, "IS NULL"),
    ("a IN (1, NULL)", 1, "IS NULL"),
    ("NULL IS NULL", 1, "NULL alone"),
    ("(a > 1) = TRUE", 2, "cannot be compared"),
    ("a IN (b, 1)", 7, "list of literals"),
    ("a / 0 = 1", 5, "division needs a number other than 0"),
    ("a / (1 - 1) = 1", 6, "division needs a number other than 0"),
    ("a / b = 1", 5, "division needs a number other than 0"),
    ("a % b = 1", 5, "a remainder needs a number other than 0"),
    ("mod(a, 0) = 1", 8, "a remainder needs a number other than 0"),
    ("round(a, b) = 1", 10, "whole number"),
    ("round(a, 0.5) = 1", 10, "whole number"),
    ("round(a, 19) = 1", 10, "between -18 and 18"),
    ("a LIKE b", 8, "text literal"),
    ("a LIKE 5", 8, "a text is needed"),
    ("a LIKE 'x!' ESCAPE '!'", 8, "ends in its escape"),
    ("a LIKE 'x' ESCAPE '!!'", 19, "one character"),
    ("CASE a + 1 WHEN 2 THEN TRUE END", 6, "needs an element"),
    ("(" * 90 + "a = 1" + ")" * 90, 1, "nested too deeply"),
    ("NOT " * 500 + "a = 1", 1, "nested too deeply"),
    ("a" + " + a" * 150 + " = 1", 1, "nested too deeply"),
    ("a = 1 OR " * 500 + "a = 1", 4097, "longer than 4096"),
]


@pytest.mark.parametrize(("text", "column", "words"), REFUSED)
def test_the_message_says_what_and_where(text, column, words):
    with pytest.raises(ExpressionError) as refused:
        compile_boolean(text)
    assert words in refused.value.message
    assert refused.value.column == column
    assert str(refused.value) == f"{refused.value.message} (at character {column})"


@pytest.mark.parametrize("text", ["region = 'eu'", "'text'", "TRUE", "a AND b", "CASE WHEN a = 1 THEN 'x' END"])
def test_a_formula_must_be_a_number(text):
    with pytest.raises(ExpressionError):
        compile_number(text)


@pytest.mark.parametrize("text", ["1 / 3", "0.0000001", "1e19 * 1e19", "99999999999999999999 + 1"])
def test_a_constant_that_no_quantity_can_be_is_refused_at_once(text):
    with pytest.raises(ExpressionError, match="this constant has more than"):
        compile_number(text)


def test_a_mistake_in_a_later_line_counts_from_the_start_of_the_text():
    with pytest.raises(ExpressionError) as refused:
        compile_boolean("a = 1\n  AND nwo() = 2")
    assert refused.value.column == 13


def test_only_the_listed_functions_exist():
    for name in {name for function in exp.ALL_FUNCTIONS for name in function.sql_names()} - {
        listed.upper() for listed in FUNCTIONS
    }:
        with pytest.raises(ExpressionError):
            compile_number(f"{name}(a)")
