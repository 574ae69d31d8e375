"""Names to rows, for whole columns: an open-addressed table, searched in a compiled loop.

What is found is compared with the name itself, so two names that share a hash are never taken for each other.

>>> names = NameRows(pl.Series(["acme", "beta"]))
>>> names.rows_of(pl.Series(["beta", None, "gamma"])).tolist()
[1, -1, -1]
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from rating.compiled import compiled
from rating.hashing import Hashes, hash_texts
from rating.prices import Index
from rating.texts import INLINE, Bytes, Texts, texts_of

_UNKNOWN = -1
_SEED = 7
_ZERO, _ONE, _HALF, _LOWER = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(0xFFFF_FFFF)
_FREE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


class NameRows:
    """The row of each of these distinct names. A slot of the table has the upper half of a hash and a row."""

    def __init__(self, names: pl.Series) -> None:
        self._texts = texts_of(names)
        self._slots = np.full(1 << max(1, (2 * len(names) - 1).bit_length()), _FREE)
        _place(hash_texts(self._texts, _SEED), self._slots)

    def rows_of(self, names: pl.Series) -> Index:
        """The row of each name, shape (n,), int64; -1 where the name is null or unknown."""
        texts = texts_of(names)
        return _find(hash_texts(texts, _SEED), texts, self._slots, self._texts)


@compiled
def _place(hashes: Hashes, slots: Hashes) -> None:
    last = np.uint64(len(slots) - 1)
    for row in range(len(hashes)):
        slot = hashes[row] & last
        while slots[slot] != _FREE:
            slot = (slot + _ONE) & last
        slots[slot] = (hashes[row] & ~_LOWER) | np.uint64(row)


@compiled
def _find(hashes: Hashes, texts: Texts, slots: Hashes, names: Texts) -> npt.NDArray[np.int64]:
    """First all first slots are read, without a branch, so that the waits for memory overlap."""
    last = np.uint64(len(slots) - 1)
    entries = np.empty(len(hashes), np.uint64)
    for number in range(len(hashes)):
        entries[number] = slots[hashes[number] & last]
    rows = np.full(len(hashes), _UNKNOWN)
    views, name_views = texts.views, names.views
    lengths, long, name_long = texts.lengths, texts.long, names.long
    for number in range(len(hashes)):
        slot, entry = hashes[number] & last, entries[number]
        while entry != _FREE and lengths[number] >= 0:
            if entry >> _HALF == hashes[number] >> _HALF:
                row = entry & _LOWER
                if views[number, 0] == name_views[row, 0]:
                    at, other_at = views[number, 1] >> _HALF, name_views[row, 1] >> _HALF
                    if lengths[number] <= INLINE:
                        same = views[number, 1] == name_views[row, 1]
                    else:
                        same = _same(long, at, name_long, other_at, np.uint64(lengths[number]))
                    if same:
                        rows[number] = np.int64(row)
                        break
            slot = (slot + _ONE) & last
            entry = slots[slot]
    return rows


@compiled
def _same(text: Bytes, at: np.uint64, other: Bytes, other_at: np.uint64, length: np.uint64) -> bool:
    place = _ZERO
    while place < length and text[at + place] == other[other_at + place]:
        place += _ONE
    return bool(place == length)
