"""The bytes of a String column, for compiled loops, without a copy.

A column holds a view of 16 bytes per text: its length, then up to 12 bytes of a short text itself, or the place of a
long one in a buffer.

>>> texts = texts_of(pl.Series(["acme", None, "a-rather-long-name"]))
>>> texts.lengths.tolist()
[4, -1, 18]
>>> bytes(texts.long[texts.places[2] :][:18])
b'a-rather-long-name'
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Bytes: TypeAlias = npt.NDArray[np.uint8]

INLINE = 12
NULL = -1
_VIEW_BYTES = 16
_FIRST_DATA = 2
_NO_PLACES, _NO_VIEWS, _NO_BYTES = np.zeros(0, np.int32), np.zeros((0, 2), np.uint64), np.zeros(0, np.uint8)


class Texts(NamedTuple):
    """One row per text: its length in bytes (-1: null), and where it stands: in `short` if at most INLINE long, or in
    `long`.

    `views` (n, 2) uint64 are the views themselves; `short` has the same memory, byte by byte.
    """

    lengths: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]
    views: npt.NDArray[np.uint64]
    short: Bytes
    long: Bytes


def texts_of(column: pl.Series) -> Texts:
    """The bytes of a String column."""
    array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    if len(array.buffers()) > _FIRST_DATA + 1:
        array = array.cast(pa.large_string()).cast(pa.string_view())  # all long texts in one buffer
    if not len(array):
        return Texts(_NO_PLACES, _NO_PLACES, _NO_VIEWS, _NO_BYTES, _NO_BYTES)
    _, views, *data = array.buffers()
    octets = np.frombuffer(views, np.uint8)[array.offset * _VIEW_BYTES :][: len(array) * _VIEW_BYTES]
    words = octets.view(np.int32).reshape(-1, 4)
    lengths = words[:, 0].copy()
    inside = np.arange(4, len(array) * _VIEW_BYTES, _VIEW_BYTES, dtype=np.int32)
    places = np.where(lengths <= INLINE, inside, words[:, 3])
    if array.null_count:
        lengths[column.is_null().to_numpy()] = NULL
    long = np.frombuffer(data[0], np.uint8) if data else _NO_BYTES
    return Texts(lengths, places, octets.view(np.uint64).reshape(-1, 2), octets, long)
