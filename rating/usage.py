"""Running usage: what every counter stood at before and after each event, and the counters themselves.

A counter is a subscription, a charge and a settlement period. Owns the six aggregations; the rule: folding events one
by one or in batches, in whatever split, gives the same usage. Columns are `wide` (n, 2) micros unless said otherwise.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.money import divide_half_away
from rating.prices import Index
from rating.wide import Wide

Keys = npt.NDArray[np.int64]

_FEWEST_SLOTS = 1024
_NEVER = np.iinfo(np.int64).min


@dataclass(slots=True)
class Counters:
    """All counters of a key group: `keys` ascending, with the `slots` (rows) that the other columns hold them in.

    Those columns have room to spare: rows that no slot names are at zero.

    `usage` is the folded usage; `total` the sum behind an average, or the value behind a latest; `count` (int64) the
    events behind an average; `latest_time` (int64 microseconds) the event time behind a latest; `weighted` the sum of
    multiplier * priced quantity.
    """

    keys: Keys
    slots: Index
    usage: Wide
    total: Wide
    weighted: Wide
    count: Index
    latest_time: Index

    @classmethod
    def empty(cls) -> "Counters":
        """No counters."""
        none = np.zeros(0, np.int64)
        return cls(none, none, wide.zeros(0), wide.zeros(0), wide.zeros(0), none.copy(), none.copy())

    def slots_of(self, keys: Keys) -> Index:
        """The slots of these ascending, distinct keys; counters not met before are added at zero."""
        place = np.searchsorted(self.keys, keys)
        known = np.zeros(len(keys), np.bool_)
        inside = place < len(self.keys)
        known[inside] = self.keys[place[inside]] == keys[inside]
        if not known.all():
            self._add(keys[~known], place[~known])
            place = np.searchsorted(self.keys, keys)
        return self.slots[place]

    def _add(self, keys: Keys, place: Index) -> None:
        height, added = len(self.keys), len(keys)
        self.slots = np.insert(self.slots, place, np.arange(height, height + added))
        self.keys = np.insert(self.keys, place, keys)
        if len(self.count) < height + added:
            self._grow(max(_FEWEST_SLOTS, height + added))

    def _grow(self, room: int) -> None:
        """Room for that many counters more, all at zero, so that growing costs little per counter."""
        self.usage, self.total, self.weighted = (
            np.concatenate([column, wide.zeros(room)]) for column in (self.usage, self.total, self.weighted)
        )
        self.count = np.concatenate([self.count, np.zeros(room, np.int64)])
        self.latest_time = np.concatenate([self.latest_time, np.full(room, _NEVER)])


@dataclass(frozen=True, slots=True)
class Segments:
    """Pairs sorted by counter, in order of arrival within each: a segment is one counter's pairs.

    `order` sorts the pairs; `first` is where each segment begins in that order, `segment` the segment of each place.
    """

    order: Index
    first: Index
    segment: Index
    keys: Keys

    @classmethod
    def of(cls, keys: Keys) -> "Segments":
        """The segments of pairs that have these counters."""
        order = _stable_order(keys)
        ordered = keys[order]
        begins = np.ones(len(keys), np.bool_)
        np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
        first = np.flatnonzero(begins)
        return cls(order, first, np.cumsum(begins) - 1, ordered[first])

    @property
    def last(self) -> Index:
        """Where each segment ends in the order, inclusive."""
        return np.append(self.first, len(self.order))[1:] - 1

    def back(self, ordered: Wide) -> Wide:
        """A column in sorted order, put back into the order of the pairs."""
        column = np.empty_like(ordered)
        column[self.order] = ordered
        return column


def _stable_order(keys: Keys) -> Index:
    """The order that sorts the keys and keeps arrival order among equals; by values where they leave room for rows."""
    bits = max(1, (len(keys) - 1).bit_length())
    if len(keys) and int(keys.max()) >> (62 - bits) == 0:
        return np.sort((keys << bits) | np.arange(len(keys))) & ((1 << bits) - 1)
    return np.argsort(keys, kind="stable")


@dataclass(frozen=True, slots=True)
class Fold:
    """The usage before and after each pair, in the order of the pairs."""

    before: Wide
    after: Wide


def fold_sums(counters: Counters, slots: Index, segments: Segments, quantity: Wide) -> Fold:
    """Counts, sums and unique values: each pair adds its quantity."""
    before, after = running_sums(counters.usage[slots], segments, quantity[segments.order])
    counters.usage[slots] = after[segments.last]
    return Fold(segments.back(before), segments.back(after))


def running_sums(start: Wide, segments: Segments, ordered: Wide) -> tuple[Wide, Wide]:
    """Per place in sorted order, the sum before and after it, beginning at each segment's `start`."""
    total = wide.running_total(ordered)
    earlier = wide.subtract(total, ordered)
    base = wide.subtract(start, earlier[segments.first])
    before = wide.add(earlier, base[segments.segment])
    return before, wide.add(before, ordered)


def fold_averages(counters: Counters, slots: Index, segments: Segments, quantity: Wide) -> Fold:
    """Averages: sum / count so far, rounded half away from zero to 6 digits."""
    ordered = quantity[segments.order]
    sums_before, sums = running_sums(counters.total[slots], segments, ordered)
    place = np.arange(len(ordered)) - segments.first[segments.segment]
    counts_before = counters.count[slots][segments.segment] + place
    counters.total[slots] = sums[segments.last]
    counters.count[slots] = counts_before[segments.last] + 1
    after = _average(sums, counts_before + 1)
    counters.usage[slots] = after[segments.last]
    return Fold(segments.back(_average(sums_before, np.maximum(counts_before, 1))), segments.back(after))


def _average(sums: Wide, counts: Index) -> Wide:
    return wide.from_series(divide_half_away(wide.to_series(sums), pl.Series(counts).cast(pl.Int128)))


def fold_greatest(counters: Counters, slots: Index, segments: Segments, quantity: Wide) -> Fold:
    """Maxima: the greatest quantity so far, at least 0."""
    values = np.concatenate([counters.usage[slots], quantity[segments.order]])
    before, after = _leading(segments, wide.order_ranks(values), len(slots))
    counters.usage[slots] = values[after[segments.last]]
    return Fold(segments.back(values[before]), segments.back(values[after]))


def fold_latest(counters: Counters, slots: Index, segments: Segments, quantity: Wide, times: Index) -> Fold:
    """Latest values: that of the greatest event time so far; among equal times the greatest value."""
    values = np.concatenate([counters.usage[slots], quantity[segments.order]])
    moments = np.concatenate([counters.latest_time[slots], times[segments.order]])
    order = np.lexsort((wide.order_ranks(values), moments))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    before, after = _leading(segments, ranks, len(slots))
    counters.usage[slots] = values[after[segments.last]]
    counters.latest_time[slots] = moments[after[segments.last]]
    return Fold(segments.back(values[before]), segments.back(values[after]))


def _leading(segments: Segments, ranks: Index, held: int) -> tuple[Index, Index]:
    """Which candidate leads before and after each place: one of the `held` ones first in `ranks`, or a pair's own.

    Segments ascend, so one running maximum over (segment, rank) starts anew in each segment by itself.
    """
    candidate = np.empty(int(ranks.max()) + 1, np.int64)
    candidate[ranks] = np.arange(len(ranks))
    own = ranks[held:].copy()
    own[segments.first] = np.maximum(own[segments.first], ranks[:held])
    offset = segments.segment * len(ranks)
    after = np.maximum.accumulate(own + offset) - offset
    before = np.empty_like(after)
    before[1:] = after[:-1]
    before[segments.first] = ranks[:held]
    return candidate[before], candidate[after]
