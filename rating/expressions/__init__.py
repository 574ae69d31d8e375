"""SQL scalar expressions of meters and pricing rules: compiled with the catalog, evaluated on batches.

Owns which SQL may be written, its kinds, and its exact value. Does not own where an element comes from, nor what a
verdict follows from its value. The rule: a value is exact or it is not given; nothing is ever rounded unless the
expression says round, floor or ceil. docs/expressions.md is the page for those who write them.

>>> import polars as pl
>>> tokens = compile_number("input_tokens + 4 * output_tokens")
>>> sorted(tokens.elements)
[('input_tokens', 'number'), ('output_tokens', 'number')]
>>> micros = pl.Series([2_500_000], dtype=pl.Int128)
>>> tokens.evaluate({(name, "number"): micros for name, _ in tokens.elements}, 1).values.to_list()
[12500000]
>>> compile_number("tokens + 01")
Traceback (most recent call last):
    ...
rating.expressions.errors.ExpressionError: 01 is not a decimal: write it like 0.5, 12 or 1e3 (at character 10)
"""

from rating.expressions.errors import ExpressionError
from rating.expressions.expression import Evaluated, Expression, compile_boolean, compile_number

__all__ = ["Evaluated", "Expression", "ExpressionError", "compile_boolean", "compile_number"]
