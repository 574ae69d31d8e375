"""128-bit integers in columns: arrays of shape (n, 2), dtype uint64, low limb first, two's complement.

The memory is that of an Arrow decimal128, so a column goes to Polars and back without arithmetic. What is here is what
running totals need for each small share of a batch, where the fixed cost of a query engine would be felt; products and
divisions are done in Polars' Int128. No result may reach 2^127: callers keep bounds (see `prices.usage_limit`).

>>> to_integers(subtract(from_integers([1, -3, 10**30]), from_integers([3, -3, 1])))
[-2, 0, 999999999999999999999999999999]
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Wide = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_DECIMAL = pa.decimal128(38, 0)


def zeros(height: int) -> Wide:
    """A column of `height` zeros."""
    return np.zeros((height, 2), np.uint64)


def from_integers(values: Iterable[int]) -> Wide:
    """A column of Python integers."""
    data = b"".join(value.to_bytes(16, "little", signed=True) for value in values)
    return np.frombuffer(data, np.uint64).reshape(-1, 2).copy()


def to_integers(column: Wide) -> list[int]:
    """The column as Python integers."""
    low, high = column[:, 0].tolist(), high_limb(column).tolist()
    return [(upper << 64) + lower for upper, lower in zip(high, low, strict=True)]


def from_small(column: npt.NDArray[np.int64]) -> Wide:
    """An int64 column, widened."""
    wide = np.empty((len(column), 2), np.uint64)
    wide[:, 0] = column.view(np.uint64)
    wide[:, 1] = (column >> 63).view(np.uint64)
    return wide


def from_series(series: pl.Series) -> Wide:
    """A Polars Int128 or Decimal column without nulls; a decimal gives its unscaled integers."""
    if series.dtype == pl.Int128:
        series = series.cast(pl.Decimal(38, 0))
    arrow = series.rechunk().to_arrow()
    start = arrow.offset * 2
    return np.frombuffer(arrow.buffers()[1], np.uint64)[start : start + len(arrow) * 2].reshape(-1, 2)


def to_series(column: Wide, scale: int | None = None) -> pl.Series:
    """The column as Polars Int128, or, with a scale, as Decimal(38, scale) of these unscaled integers."""
    kind = _DECIMAL if scale is None else pa.decimal128(38, scale)
    array = pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(np.ascontiguousarray(column))])
    series = pl.Series(pl.from_arrow(array))
    return series.to_physical() if scale is None else series


def picked(column: pl.Series, rows: npt.NDArray[np.integer]) -> pl.Series:
    """These rows of a column; `Series.gather` builds a query for the same, which costs ten times as much."""
    return column[pl.Series(rows.astype(np.uint32))]


def constant(value: int) -> pl.Series:
    """One Int128 row, which Polars' arithmetic stretches to the height of the other side."""
    return pl.Series([value], dtype=pl.Int128)


def high_limb(column: Wide) -> npt.NDArray[np.int64]:
    """The signed upper 64 bits."""
    return column[:, 1].view(np.int64)


def subtract(left: Wide, right: Wide) -> Wide:
    """left - right, row by row."""
    difference = left - right
    difference[:, 1] -= left[:, 0] < right[:, 0]
    return difference


def less(left: Wide, right: Wide) -> Mask:
    """left < right, row by row."""
    high_left, high_right = high_limb(left), high_limb(right)
    smaller: Mask = (high_left < high_right) | ((high_left == high_right) & (left[:, 0] < right[:, 0]))
    return smaller
