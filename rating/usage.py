"""Running usage: what every counter stood at before and after each event, and the counters themselves.

A counter is a subscription, a charge and a settlement period. Owns the six aggregations; the rule: folding events one
by one or in batches, in whatever split, gives the same usage. Columns are `wide` (n, 2) micros unless said otherwise.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.compiled import compiled
from rating.money import divide_half_away
from rating.prices import Index, Mask
from rating.wide import Wide

Keys = npt.NDArray[np.int64]
Foldings = npt.NDArray[np.uint8]

_FEWEST = 1024
_FREE = -1
NEVER = np.iinfo(np.int64).min
_ODD, _BITS = 0x1E37_79B9_7F4A_7C15, 64


class Folding(IntEnum):
    """How a counter takes a quantity: adds it, keeps the greatest or the latest one, or averages."""

    SUM = 0
    GREATEST = 1
    LATEST = 2
    AVERAGE = 3

    @classmethod
    def of(cls, aggregation: str) -> "Folding":
        """That of a meter's aggregation; counts and unique values add up."""
        return {"max": cls.GREATEST, "latest": cls.LATEST, "average": cls.AVERAGE}.get(aggregation, cls.SUM)


_SUM, _LATEST, _AVERAGE = int(Folding.SUM), int(Folding.LATEST), int(Folding.AVERAGE)


@dataclass(slots=True)
class Counters:
    """All counters of a key group, in the order in which they were met; the first `held` rows of each column count.

    `usage` is the folded usage; `peak` the greatest one so far, where thresholds watch a usage that may fall; `total`
    the sum behind an average; `count` (int64) the events behind an average; `latest_time` (int64 microseconds) the
    event time behind a latest; `weighted` the sum of multiplier * priced quantity. `places` is an open-addressed table
    of rows by key.
    """

    held: int
    keys: Keys
    places: npt.NDArray[np.int32]
    usage: Wide
    total: Wide
    weighted: Wide
    peak: Wide
    count: Index
    latest_time: Index

    @classmethod
    def of(
        cls, keys: Keys, usage: Wide, total: Wide, weighted: Wide, peak: Wide, count: Index, latest_time: Index
    ) -> "Counters":
        """The counters with these distinct keys."""
        return cls(len(keys), keys, _table(keys, len(keys)), usage, total, weighted, peak, count, latest_time)

    @classmethod
    def empty(cls) -> "Counters":
        """No counters."""
        none = np.zeros(0, np.int64)
        usage, total, weighted, peak = (wide.zeros(0) for _ in range(4))
        return cls.of(none, usage, total, weighted, peak, none.copy(), none.copy())

    def take(self, rows: Index) -> "Counters":
        """These counters alone."""
        usage, total, weighted, peak = (
            np.take(column, rows, axis=0) for column in (self.usage, self.total, self.weighted, self.peak)
        )
        return Counters.of(self.keys[rows], usage, total, weighted, peak, self.count[rows], self.latest_time[rows])

    def rows_of(self, keys: Keys) -> Index:
        """The rows of these keys; counters not met before are added at zero."""
        if self.held + len(keys) > len(self.keys):
            self._grow(max(_FEWEST, 2 * self.held, self.held + len(keys)))
        rows = np.empty(len(keys), np.int64)
        self.held = _find_or_add(keys, self.keys, self.places, self.held, rows)
        return rows

    def _grow(self, room: int) -> None:
        more = room - len(self.keys)
        self.keys, self.count = (np.concatenate([old, np.zeros(more, np.int64)]) for old in (self.keys, self.count))
        self.latest_time = np.concatenate([self.latest_time, np.full(more, NEVER)])
        self.usage, self.total, self.weighted, self.peak = (
            np.concatenate([old, wide.zeros(more)]) for old in (self.usage, self.total, self.weighted, self.peak)
        )
        self.places = _table(self.keys[: self.held], room)


def _table(keys: Keys, room: int) -> npt.NDArray[np.int32]:
    """A table for `room` keys that is at most half full, with these keys in their rows."""
    places = np.full(1 << max(1, (2 * room - 1).bit_length()), _FREE, np.int32)
    _find_or_add(keys, keys.copy(), places, 0, np.empty(len(keys), np.int64))
    return places


@compiled
def _find_or_add(keys: Keys, held_keys: Keys, places: npt.NDArray[np.int32], held: int, rows: Index) -> int:
    """Fills in the row of each key, adding those not held yet; gives how many are held then.

    First all first places are read, and then the keys there, without a branch, so that the waits for memory overlap.
    """
    last = len(places) - 1
    shift = _BITS
    while 1 << (_BITS - shift) <= last:
        shift -= 1
    for number in range(len(keys)):
        rows[number] = places[_first_place(keys[number], shift, last)]
    found = np.empty(len(keys), np.int64)
    for number in range(len(keys)):
        found[number] = held_keys[max(rows[number], 0)]
    for number in range(len(keys)):
        key = keys[number]
        if rows[number] != _FREE and found[number] == key:
            continue
        place = _first_place(key, shift, last)
        while places[place] != _FREE and held_keys[places[place]] != key:
            place = (place + 1) & last
        if places[place] == _FREE:
            places[place] = held
            held_keys[held] = key
            held += 1
        rows[number] = places[place]
    return held


@compiled
def _first_place(key: int, shift: int, last: int) -> int:
    """The upper bits of the product: keys of one period differ in their upper bits only, which move none below them."""
    return ((key * _ODD) >> shift) & last


@dataclass(frozen=True, slots=True)
class Fold:
    """The usage before and after each pair, in the order of the pairs."""

    before: Wide
    after: Wide


def fold_quantities(
    counters: Counters, rows: Index, foldings: Foldings, quantity: Wide, times: Index, left_out: Mask | None = None
) -> Fold:
    """Folds each pair's quantity into its counter's row, in their order; `times` are the event times.

    What is `left_out` finds the usage at its place in that order, and leaves it as it is.
    """
    before, after, counts = np.empty_like(quantity), np.empty_like(quantity), np.zeros(len(rows), np.int64)
    columns = counters.usage, counters.total, counters.count, counters.latest_time
    skipped = np.zeros(len(rows), np.bool_) if left_out is None else left_out
    _fold(rows, foldings, quantity, times, skipped, *columns, before, after, counts)
    averaged = np.flatnonzero(counts)
    if len(averaged):
        count = counts[averaged]
        before[averaged] = _average(before[averaged], np.maximum(count - 1, 1))
        after[averaged] = _average(after[averaged], count)
        counters.usage[rows[averaged]] = after[averaged]
    if left_out is not None:
        before[left_out] = after[left_out]
    return Fold(before, after)


def _average(sums: Wide, counts: Index) -> Wide:
    """sum / count, rounded half away from zero to 6 digits."""
    return wide.from_series(divide_half_away(wide.to_series(sums), pl.Series(counts).cast(pl.Int128)))


@compiled
def _fold(
    rows: Index,
    foldings: Foldings,
    quantity: Wide,
    times: Index,
    skipped: Mask,
    usage: Wide,
    total: Wide,
    count: Index,
    latest_time: Index,
    before: Wide,
    after: Wide,
    counts: Index,
) -> None:
    """For averages, `before` and `after` are sums, and `counts` the events in them; their usage is left as it is."""
    for pair in range(len(rows)):
        row = rows[pair]
        folding = foldings[pair]
        if skipped[pair]:
            held = total if folding == _AVERAGE else usage
            after[pair, 0], after[pair, 1] = held[row, 0], held[row, 1]
            counts[pair] = count[row] if folding == _AVERAGE else 0
        elif folding == _SUM:
            _add(usage, row, quantity, pair, before, after)
        elif folding != _AVERAGE:
            larger = _less(usage[row, 0], usage[row, 1], quantity[pair, 0], quantity[pair, 1])
            if folding == _LATEST:
                larger = times[pair] > latest_time[row] or (times[pair] == latest_time[row] and larger)
            before[pair, 0], before[pair, 1] = usage[row, 0], usage[row, 1]
            if larger:
                usage[row, 0], usage[row, 1] = quantity[pair, 0], quantity[pair, 1]
                latest_time[row] = times[pair] if folding == _LATEST else latest_time[row]
            after[pair, 0], after[pair, 1] = usage[row, 0], usage[row, 1]
        else:
            _add(total, row, quantity, pair, before, after)
            count[row] += 1
            counts[pair] = count[row]


@compiled
def _add(totals: Wide, row: int, quantity: Wide, pair: int, before: Wide, after: Wide) -> None:
    low, high = totals[row, 0], totals[row, 1]
    sum_low = low + quantity[pair, 0]
    sum_high = high + quantity[pair, 1] + np.uint64(sum_low < low)
    before[pair, 0], before[pair, 1] = low, high
    after[pair, 0], after[pair, 1] = sum_low, sum_high
    totals[row, 0], totals[row, 1] = sum_low, sum_high


@compiled
def _less(low: np.uint64, high: np.uint64, other_low: np.uint64, other_high: np.uint64) -> bool:
    return bool(np.int64(high) < np.int64(other_high) or (high == other_high and low < other_low))


def running_sums(totals: Wide, rows: Index, quantity: Wide) -> Wide:
    """Adds each quantity to its row of `totals`, in their order; gives what each row stood at before."""
    before, after = np.empty_like(quantity), np.empty_like(quantity)
    _sum(totals, rows, quantity, before, after)
    return before


@compiled
def _sum(totals: Wide, rows: Index, quantity: Wide, before: Wide, after: Wide) -> None:
    for pair in range(len(rows)):
        _add(totals, rows[pair], quantity, pair, before, after)
