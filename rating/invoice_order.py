"""The order in which lines stand on invoices, and their numbers.

The rule: nothing but what a line is for decides where it stands; lines may come in any order.

>>> packed([np.array([2, 1, 2]), np.array([-1, 7, 3])]).argsort().tolist()
[1, 0, 2]
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from rating.prices import Index

PLACE = ("subscription", "on")
_ON_INVOICES = (*PLACE, "kind", "number", "adjusts", "charge", "tier")
_NOTHING = -1
_MOST = 2**62


def in_order(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines invoice by invoice as they stand there, with `line_number` from 1; columns as in `rating.owed.LINES`."""
    columns = [lines[name].fill_null(_NOTHING).to_numpy() for name in _ON_INVOICES]
    rows = lines[pl.Series(packed([*columns, _ranks(lines["refund_id"])])).arg_sort()]
    return rows.with_columns(pl.Series("line_number", _numbers(rows), dtype=pl.Int32))


def packed(columns: Sequence[Index]) -> Index:
    """One integer for each row of several columns, which are ordered as the rows are, by the first column first."""
    code, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns if len(code) else ():
        lowest = int(column.min())
        span = int(column.max()) - lowest + 1
        if size * span > _MOST:
            (code, size), (column, span), lowest = _dense(code), _dense(column), 0
        code = code * span + (column - lowest)
        size *= span
    return code


def _dense(column: Index) -> tuple[Index, int]:
    values, rank = np.unique(column, return_inverse=True)
    return rank, len(values)


def _ranks(names: pl.Series) -> Index:
    """The place of each name among all, from 1; 0 for none."""
    found = sorted(set(names.drop_nulls()))
    if not found:
        return np.zeros(len(names), np.int64)
    return names.replace_strict(found, range(1, len(found) + 1), default=0, return_dtype=pl.Int64).to_numpy()


def _numbers(lines: pl.DataFrame) -> Index:
    subscription, on = (lines[name].to_numpy() for name in PLACE)
    begins = np.ones(len(lines), np.bool_)
    begins[1:] = (subscription[1:] != subscription[:-1]) | (on[1:] != on[:-1])
    first = np.flatnonzero(begins)
    numbers: Index = np.arange(len(lines)) - first[np.cumsum(begins) - 1] + 1
    return numbers
