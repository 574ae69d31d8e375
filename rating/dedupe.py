"""The duplicate index of a key group: has this (source, id) been seen, and where first?

Sorted runs of 96-bit identity hashes, each with the position of the first sight, in buckets of record time so that
whole buckets leave once they are older than the lateness. Budget: 22 bytes per event. Rebuilt from the ledger at start,
so it has no snapshot: an event met again at its own position is itself and no duplicate, which makes a replay harmless.

>>> index = DuplicateIndex(lateness=None)
>>> identities = hash_identities(pl.Series(["e1", "e2", "e1"]), pl.Series(["api"] * 3))
>>> seen = Sightings(identities, np.arange(3), np.zeros(3, np.int64))
>>> index.repeats(seen).tolist()
[False, False, True]
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from rating.bloom import BloomFilter
from rating.compiled import compiled
from rating.hashing import Hashes, hash_pairs
from rating.prices import Index, Mask
from rating.texts import texts_of
from rating.wide import Wide

_PARTITION_SHIFT = 48
_SEEDS = (11, 23, 37, 53)
_MOST_RUNS = 10
_MERGED_RUNS = 6
_CHECK_SHIFT = np.uint64(32)
_HOUR = 3_600_000_000
_BUCKETS_IN_LATENESS = 8
_NOT_YET = np.iinfo(np.int64).min


def hash_identities(event_ids: pl.Series, sources: pl.Series) -> Wide:
    """128-bit hashes, shape (n, 2) uint64, of the pairs (source, id); the two parts are hashed apart, never joined."""
    return hash_pairs(texts_of(event_ids), texts_of(sources), _SEEDS)


def pack_positions(partition: int, offsets: Index) -> Index:
    """Partition and offset of each record in one int64."""
    return offsets | (partition << _PARTITION_SHIFT)


@dataclass(frozen=True, slots=True)
class Sightings:
    """Events as the index sees them, in order of arrival: identity hashes, packed positions, clocks (microseconds)."""

    identity: Wide
    position: Index
    record_time: Index

    def take(self, rows: Index) -> "Sightings":
        """These rows."""
        return Sightings(np.take(self.identity, rows, axis=0), self.position[rows], self.record_time[rows])


@dataclass(frozen=True, slots=True)
class _Run:
    """First sights sorted by the high hash; `check` is the upper half of the low hash."""

    high: Hashes
    check: npt.NDArray[np.uint32]
    position: Index

    @classmethod
    def of(cls, sights: Sightings) -> "_Run":
        order = np.argsort(sights.identity[:, 1])
        return cls(sights.identity[order, 1], _checks(sights.identity)[order], sights.position[order])

    @classmethod
    def merged(cls, runs: "list[_Run]") -> "_Run":
        """The sights of all these runs; runs of like length are merged first."""
        while len(runs) > 1:
            runs = sorted(runs, key=lambda run: len(run.high))
            one, other = runs[:2]
            columns = one.high, one.check, one.position, other.high, other.check, other.position
            runs = [cls(*_merge(*columns)), *runs[2:]]
        return runs[0]


@compiled
def _mark_sights(
    high: Hashes,
    check: npt.NDArray[np.uint32],
    position: Index,
    identity: Wide,
    own_position: Index,
    suspects: Index,
    within: Mask,
    repeated: Mask,
    held: Mask,
) -> None:
    """Marks the suspects that a run holds: at their own position, or, within reach, at another one."""
    for row in range(len(identity)):
        wanted = identity[row, 1]
        low, beyond = 0, len(high)
        while low < beyond:
            middle = (low + beyond) >> 1
            if high[middle] < wanted:
                low = middle + 1
            else:
                beyond = middle
        if low < len(high) and high[low] == wanted and check[low] == identity[row, 0] >> _CHECK_SHIFT:
            if position[low] == own_position[row]:
                held[suspects[row]] = True
            elif position[low] >= 0 and within[row]:
                repeated[suspects[row]] = True


@compiled
def _merge(
    high: Hashes,
    check: npt.NDArray[np.uint32],
    position: Index,
    other_high: Hashes,
    other_check: npt.NDArray[np.uint32],
    other_position: Index,
) -> tuple[Hashes, npt.NDArray[np.uint32], Index]:
    height = len(high) + len(other_high)
    merged_high, merged_check = np.empty(height, np.uint64), np.empty(height, np.uint32)
    merged_position = np.empty(height, np.int64)
    row = other_row = 0
    for place in range(height):
        if other_row == len(other_high) or (row < len(high) and high[row] <= other_high[other_row]):
            merged_high[place], merged_check[place], merged_position[place] = high[row], check[row], position[row]
            row += 1
        else:
            merged_high[place], merged_check[place] = other_high[other_row], other_check[other_row]
            merged_position[place] = other_position[other_row]
            other_row += 1
    return merged_high, merged_check, merged_position


def _checks(identity: Wide) -> npt.NDArray[np.uint32]:
    return (identity[:, 0] >> np.uint64(32)).astype(np.uint32)


def reach_of(lateness: int) -> int:
    """How far behind the clock of a record lie the sights that it may repeat, at most, in microseconds."""
    return lateness + _bucket_length(lateness)


def _bucket_length(lateness: int) -> int:
    return max(_HOUR, lateness // _BUCKETS_IN_LATENESS)


class DuplicateIndex:
    """First sights of one key group. `lateness` in microseconds bounds how far back it reaches; None: without end.

    An event whose record's time less the lateness lies before the `floor` is beyond reach (None: no event is).
    """

    def __init__(self, lateness: int | None) -> None:
        self._lateness = lateness
        self._bucket_length = None if lateness is None else _bucket_length(lateness)
        self._buckets: dict[int, list[_Run]] = {}
        self._filter = BloomFilter()
        self._progress: dict[int, int] = {}
        self.floor: int | None = None

    def __len__(self) -> int:
        return sum(len(run.high) for runs in self._buckets.values() for run in runs)

    def look(self, events: Sightings) -> tuple[Mask, Mask]:
        """Where the identity was first seen at another position (remembered, or earlier among these events), and where
        it is remembered at this very position.
        """
        repeated = self._repeats_within(events)
        held = np.zeros(len(repeated), np.bool_)
        suspects = np.flatnonzero(self._filter.may_hold(events.identity))
        if not len(suspects):
            return repeated, held
        asked = events.take(suspects)
        for bucket, runs in self._buckets.items():
            within = self._reaches(bucket, asked.record_time)
            for run in runs:
                columns = run.high, run.check, run.position, asked.identity, asked.position
                _mark_sights(*columns, suspects, within, repeated, held)
        return repeated, held

    def repeats(self, events: Sightings) -> Mask:
        """Where the identity was first seen at another position."""
        return self.look(events)[0]

    def _reaches(self, bucket: int, record_time: Index) -> Mask:
        """Whether a bucket still counts for a record of that time: it does until all of it is past the lateness."""
        if self._lateness is None or self._bucket_length is None:
            return np.ones(len(record_time), np.bool_)
        return (bucket + 1) * self._bucket_length > record_time - self._lateness

    def _repeats_within(self, events: Sightings) -> Mask:
        high, low = events.identity[:, 1], events.identity[:, 0]
        repeated = np.zeros(len(high), np.bool_)
        ordered = np.sort(high)
        if not (ordered[1:] == ordered[:-1]).any():
            return repeated
        order = np.lexsort((np.arange(len(high)), low, high))
        same = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
        repeated[order[1:][same]] = True
        if not self._reaches(self._bucket_of(events.record_time).min(), events.record_time).all():
            self._clear_unreached(events.record_time, order, same, repeated)
        return repeated

    def _clear_unreached(self, record_time: Index, order: Index, same: Mask, repeated: Mask) -> None:
        """Where the sight before lies past the lateness, a repeat is a first sight again."""
        first = order[0]
        for row, alike in zip(order[1:].tolist(), same.tolist(), strict=True):
            if not alike or not self._reaches(self._bucket_of(record_time[[first]])[0], record_time[[row]])[0]:
                repeated[row] = False
                first = row

    def _bucket_of(self, record_time: Index) -> Index:
        return record_time // self._bucket_length if self._bucket_length else np.zeros(len(record_time), np.int64)

    def beyond_reach(self, events: Sightings) -> Mask:
        """Events whose lane lies so far behind the others that what they may repeat has been dropped."""
        if self._lateness is None or self.floor is None:
            return np.zeros(len(events.position), np.bool_)
        behind: Mask = events.record_time - self._lateness < self.floor
        return behind

    def remember(self, events: Sightings) -> None:
        """Adds first sights that are not held yet."""
        if not len(events.position):
            return
        if self._bucket_length is None:
            self._add_run(0, events)
        else:
            bucket = self._bucket_of(events.record_time)
            for number in np.unique(bucket).tolist():
                self._add_run(number, events.take(np.flatnonzero(bucket == number)))
            self._follow(events)
        if not self._filter.add(events.identity):
            self._rebuild_filter()

    def _add_run(self, bucket: int, events: Sightings) -> None:
        runs = self._buckets.setdefault(bucket, [])
        runs.append(_Run.of(events))
        if len(runs) >= _MOST_RUNS:
            runs.sort(key=lambda run: len(run.high), reverse=True)
            runs[-_MERGED_RUNS:] = [_Run.merged(runs[-_MERGED_RUNS:])]

    def expect(self, partitions: Iterable[int]) -> None:
        """Until something is known of each of these partitions, nothing is forgotten: one may lie far behind."""
        for partition in partitions:
            self._progress.setdefault(partition, _NOT_YET)

    def advance(self, partition: int, moment: int) -> None:
        """Nothing comes on a partition before a moment (microseconds UTC) any more; it held back what it may repeat."""
        if self._lateness is not None:
            self._progress[partition] = max(moment, self._progress.get(partition, moment))
            self._forget()

    def know_nothing_before(self, moment: int) -> None:
        """Sights before a moment (microseconds UTC) were left out: whatever may repeat them is beyond reach."""
        self.floor = max(moment, self.floor or moment)

    def _follow(self, events: Sightings) -> None:
        partitions = events.position >> _PARTITION_SHIFT
        for partition in np.unique(partitions).tolist():
            latest = int(events.record_time[partitions == partition].max())
            self._progress[partition] = max(latest, self._progress.get(partition, latest))
        self._forget()

    def _forget(self) -> None:
        """Drops the buckets that no partition can reach any more: the one furthest behind decides."""
        furthest = min(self._progress.values())
        if furthest == _NOT_YET:
            return
        for bucket in [number for number in self._buckets if not self._reaches(number, np.array([furthest]))[0]]:
            del self._buckets[bucket]
            self.know_nothing_before((bucket + 1) * (self._bucket_length or 0))

    def to_bytes(self) -> bytes:
        """The identities held, without positions and times, as plain bytes: for values, which have neither."""
        runs = [run for own in self._buckets.values() for run in own]
        return b"".join([*(run.high.tobytes() for run in runs), *(run.check.tobytes() for run in runs)])

    @classmethod
    def from_bytes(cls, stored: bytes) -> "DuplicateIndex":
        """An endless index that holds the identities that `to_bytes` gave, all at position 0."""
        index = cls(None)
        count = len(stored) // (np.dtype(np.uint64).itemsize + np.dtype(np.uint32).itemsize)
        if count:
            high = np.frombuffer(stored, np.uint64, count)
            check = np.frombuffer(stored, np.uint32, offset=high.nbytes)
            none = np.zeros(count, np.int64)
            index.remember(Sightings(np.stack([check.astype(np.uint64) << np.uint64(32), high], axis=1), none, none))
        return index

    def _rebuild_filter(self) -> None:
        self._filter.grow(len(self))
        for runs in self._buckets.values():
            for run in runs:
                identity = np.stack([run.check.astype(np.uint64) << np.uint64(32), run.high], axis=1)
                assert self._filter.add(identity), "the filter was given room for all events"
