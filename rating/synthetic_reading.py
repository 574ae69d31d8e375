"""What expressions make of simulated transactions, before anybody rates them. Quantities are micros."""

from collections.abc import Mapping, Sequence

import polars as pl

from rating.expressions import Evaluated, Expression, compile_boolean
from rating.meters import Element
from schemas.decimals import QUANTITY_SCALE, format_scaled, parse_quantity

Values = Mapping[str, int | str]


def holds(condition: str, rows: Sequence[Values]) -> list[bool]:
    """For which transactions a condition is true."""
    found: list[bool] = evaluated(compile_boolean(condition), rows).values.to_list()
    return found


def evaluated(expression: Expression, rows: Sequence[Values]) -> Evaluated:
    """The value of an expression for each transaction."""
    columns: dict[Element, pl.Series] = {}
    for name, kind in expression.elements:
        if kind == "number":
            columns[name, kind] = pl.Series([number(row, name) for row in rows], dtype=pl.Int128)
        else:
            columns[name, kind] = pl.Series([_text(row, name) for row in rows], dtype=pl.String)
    return expression.evaluate(columns, len(rows))


def number(row: Values, name: str) -> int | None:
    """An element as a number; None where it is absent or none."""
    value = row.get(name)
    return parse_quantity(value) if isinstance(value, str) else value


def _text(row: Values, name: str) -> str | None:
    value = row.get(name)
    return format_scaled(value, QUANTITY_SCALE) if isinstance(value, int) else value
