"""Speed sanity, far from the measured values so that only a change of kind fails: the least of many runs counts."""

import time

import polars as pl

from rating.expressions import compile_boolean, compile_number

ROWS = 50_000
STATUS = pl.Series([200_000_000, 404_000_000, 500_000_000, None, 201_500_000] * (ROWS // 5), dtype=pl.Int128)
REGION = pl.Series(["eu", "us", None, "eu", "ap"] * (ROWS // 5), dtype=pl.String)


def least_seconds(expression, given, runs=30):
    least = None
    for _ in range(runs):
        start = time.perf_counter()
        expression.evaluate(given, ROWS)
        spent = time.perf_counter() - start
        least = spent if least is None else min(least, spent)
    return least


def test_a_filter_takes_well_under_a_millisecond():
    filtering = compile_boolean("region = 'eu' AND status < 500")
    assert least_seconds(filtering, {("region", "text"): REGION, ("status", "number"): STATUS}) < 0.001


def test_a_formula_takes_about_a_millisecond():
    formula = compile_number("status + 4 * status")
    assert least_seconds(formula, {("status", "number"): STATUS}) < 0.002


def test_a_constant_is_nearly_free():
    assert least_seconds(compile_number("1.2"), {}) < 0.0005


def test_one_huge_number_does_not_slow_down_the_others():
    huge = pl.concat([STATUS.head(ROWS - 1), pl.Series([10**26 - 1], dtype=pl.Int128)])
    assert least_seconds(compile_number("a * a"), {("a", "number"): huge}, runs=5) < 0.05
