"""Several columns as one integer, so that rows are grouped, joined and ordered by a single column.

>>> packed([np.array([2, 1, 2]), np.array([-1, 7, 3])]).argsort().tolist()
[1, 0, 2]
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from rating.prices import Index

_MOST = 2**62


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


def rows_of(known: Sequence[Index], asked: Sequence[Index]) -> Index:
    """Where each row asked for stands among known ones, which ascend; -1 where it is not one of them.

    >>> rows_of([np.array([1, 1, 4]), np.array([0, 2, 0])], [np.array([4, 1]), np.array([0, 1])]).tolist()
    [2, -1]
    """
    codes = packed([np.concatenate(columns) for columns in zip(known, asked, strict=True)])
    own, wanted = np.split(codes, [len(known[0])])
    assert (own[1:] > own[:-1]).all(), "known rows do not ascend"
    found = np.searchsorted(own, wanted)
    rows: Index = np.where(np.append(own, -1)[found] == wanted, found, -1)
    return rows


def distinct(rows: Index, height: int) -> tuple[list[int], Index]:
    """The distinct ones among rows of a table of this height, ascending, and the place of each row among them.

    >>> distinct(np.array([7, 2, 7]), 9)[0]
    [2, 7]
    """
    is_met = np.zeros(height, np.bool_)
    is_met[rows] = True
    place: Index = (np.cumsum(is_met) - 1)[rows]
    return np.flatnonzero(is_met).tolist(), place


def _dense(column: Index) -> tuple[Index, int]:
    values, rank = np.unique(column, return_inverse=True)
    return rank, len(values)


def ranks(names: pl.Series, *, nulls_last: bool = False) -> Index:
    """The place of each name among all that are met, in their order."""
    if names.null_count() == len(names):
        return np.zeros(len(names), np.int64)
    met = names.unique().sort(nulls_last=nulls_last).alias("name").to_frame().with_row_index("rank")
    named = names.alias("name").to_frame()
    found = named.join(met, on="name", how="left", nulls_equal=True, maintain_order="left")
    return found["rank"].cast(pl.Int64).to_numpy()
