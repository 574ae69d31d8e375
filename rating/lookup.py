"""Names to rows, for whole columns: an open-addressed table over 64-bit hashes of the names.

What is found is compared with the name itself, so two names that share a hash are never taken for each other.

>>> names = NameRows(pl.Series(["acme", "beta"]))
>>> names.rows_of(pl.Series(["beta", None, "gamma"])).tolist()
[1, -1, -1]
"""

import numpy as np
import polars as pl

from rating.prices import Index

_SLOTS_PER_NAME = 2
_FREE = -1


class NameRows:
    """The row of each of these distinct names."""

    def __init__(self, names: pl.Series) -> None:
        self._names = names
        self._size = 1 << max(1, (len(names) * _SLOTS_PER_NAME - 1).bit_length())
        self._table = np.full(self._size, _FREE, np.int64)
        self._hashes = names.hash().to_numpy()
        self._place(np.arange(len(names)), self._slots(self._hashes))

    def _slots(self, hashes: Index) -> Index:
        slots: Index = (hashes & np.uint64(self._size - 1)).view(np.int64)
        return slots

    def _place(self, rows: Index, slots: Index) -> None:
        """Each row takes the first free slot from its own on; of several that want one slot, one gets it a round."""
        while len(rows):
            free = self._table[slots] == _FREE
            self._table[slots[free]] = rows[free]
            left = self._table[slots] != rows
            rows, slots = rows[left], (slots[left] + 1) & (self._size - 1)

    def rows_of(self, names: pl.Series) -> Index:
        """The row of each name, shape (n,), int64; -1 where the name is null or unknown."""
        rows = np.full(len(names), _FREE)
        if not len(self._names):
            return rows
        hashes = names.hash().to_numpy()
        places, slots = np.arange(len(names)), self._slots(hashes)
        while len(places):
            found = self._table[slots]
            same = (found != _FREE) & (self._hashes[found] == hashes[places])
            rows[places[same]] = found[same]
            on = np.flatnonzero((found != _FREE) & ~same)
            places, slots = places[on], (slots[on] + 1) & (self._size - 1)
        return self._without_namesakes(names, rows)

    def _without_namesakes(self, names: pl.Series, rows: Index) -> Index:
        """Rows whose name is not the one asked for only share its hash: those names are looked for one by one."""
        known = np.flatnonzero(rows >= 0)
        asked = names if len(known) == len(rows) else names.gather(known)
        other = (self._names.gather(rows[known]) != asked).fill_null(value=True)
        for place in known[other.to_numpy()].tolist():
            match = (self._names == names[place]).arg_true() if names[place] is not None else []
            rows[place] = match[0] if len(match) else _FREE
        return rows
