"""Running usage of a share: each pair folded into its counter by its meter's aggregation, with the bounds kept.

The rule: an event whose usage would pass what 38 digits can price is left out whole, and everything else is as if it
had never come.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.dedupe import Sightings
from rating.measures import Pairs
from rating.money import ONE_UNIT, divide_half_away
from rating.periods import Times
from rating.prices import Index
from rating.state import GroupState
from rating.usage import Counters, Fold, Segments, fold_averages, fold_greatest, fold_latest, fold_sums, running_sums
from rating.wide import Wide

_ELSEWHERE = -1


@dataclass(frozen=True, slots=True)
class Folded:
    """Per pair, wide micros: usage `before` and `after`; `weighted_before` is None without multipliers."""

    before: Wide
    after: Wide
    weighted_before: Wide | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the counters of some slots held, so that a fold can be taken back; nothing where it cannot be needed."""

    slots: Index
    columns: tuple[npt.NDArray[np.generic], ...]

    @classmethod
    def of(cls, counters: Counters, slots: Index) -> "_Kept":
        """What these slots hold now."""
        return cls(slots, tuple(column[slots] for column in _columns(counters)))

    def restore(self, counters: Counters) -> None:
        """Gives it back to them."""
        for column, held in zip(_columns(counters), self.columns, strict=True):
            column[self.slots] = held


def _columns(counters: Counters) -> tuple[npt.NDArray[np.generic], ...]:
    return counters.usage, counters.total, counters.weighted, counters.count, counters.latest_time


def fold(state: GroupState, pairs: Pairs, event_time: Times, catalog: CompiledCatalog) -> tuple[Folded, Index]:
    """Folds the pairs into the state's counters, one row per pair; `event_time` has one row per event of the share.

    If events would pass the bounds, their rows are given too (of each counter the first) and nothing is folded.
    """
    kept, folded = _fold_all(state, pairs, event_time, catalog)
    beyond = _first_beyond(folded, pairs, catalog)
    if len(beyond):
        kept.restore(state.counters)
    else:
        _remember_values(state, pairs)
    return folded, beyond


def _fold_all(state: GroupState, pairs: Pairs, event_time: Times, catalog: CompiledCatalog) -> tuple[_Kept, Folded]:
    segments = Segments.of(pairs.key)
    slots = state.counters.slots_of(segments.keys)
    kept = _Kept.of(state.counters, slots)
    quantity = _with_new_values_only(state, pairs)
    folded = _fold_by_aggregation(state.counters, slots, segments, pairs, quantity, event_time, catalog)
    weighted = None
    if pairs.multiplier is not None:
        weighted = _weigh(state.counters, slots, segments, pairs, folded, catalog)
    return kept, Folded(folded.before, folded.after, weighted)


def _fold_by_aggregation(
    counters: Counters,
    slots: Index,
    segments: Segments,
    pairs: Pairs,
    quantity: Wide,
    event_time: Times,
    catalog: CompiledCatalog,
) -> Fold:
    summed = catalog.charges.summed[pairs.charge]
    if summed.all():
        return fold_sums(counters, slots, segments, quantity)
    kinds = catalog.charges.aggregations[pairs.charge]
    before, after = wide.zeros(len(quantity)), wide.zeros(len(quantity))
    for mask, kind in ((summed, "sum"), *((kinds == kind, kind) for kind in ("max", "latest", "average"))):
        if mask.any():
            own = np.flatnonzero(mask)
            part = _fold_one(kind, counters, pairs.key[own], quantity[own], event_time[pairs.event[own]])
            before[own], after[own] = part.before, part.after
    return Fold(before, after)


def _fold_one(kind: str, counters: Counters, keys: Index, quantity: Wide, times: Times) -> Fold:
    segments = Segments.of(keys)
    slots = counters.slots_of(segments.keys)
    match kind:
        case "max":
            return fold_greatest(counters, slots, segments, quantity)
        case "latest":
            return fold_latest(counters, slots, segments, quantity, times)
        case "average":
            return fold_averages(counters, slots, segments, quantity)
        case _:
            return fold_sums(counters, slots, segments, quantity)


def _sightings(pairs: Pairs, valued: Index) -> Sightings:
    """Unique values as the index takes them; no position is its own, so every repeat counts as one."""
    assert pairs.value is not None
    nowhere = np.full(len(valued), _ELSEWHERE, np.int64)
    return Sightings(pairs.value[valued], nowhere, np.zeros(len(valued), np.int64))


def _valued(pairs: Pairs) -> Index:
    return np.flatnonzero(pairs.value.any(axis=1)) if pairs.value is not None else np.zeros(0, np.int64)


def _with_new_values_only(state: GroupState, pairs: Pairs) -> Wide:
    """Quantities, where a unique meter's value that was met before brings nothing."""
    valued = _valued(pairs)
    if not len(valued):
        return pairs.quantity
    quantity = pairs.quantity.copy()
    quantity[valued[state.values.repeats(_sightings(pairs, valued))]] = 0
    return quantity


def _remember_values(state: GroupState, pairs: Pairs) -> None:
    valued = _valued(pairs)
    if len(valued):
        sightings = _sightings(pairs, valued)
        fresh = np.flatnonzero(~state.values.repeats(sightings))
        held = Sightings(sightings.identity, np.zeros(len(valued), np.int64), sightings.record_time)
        state.values.remember(held.take(fresh))


def _weigh(
    counters: Counters, slots: Index, segments: Segments, pairs: Pairs, folded: Fold, catalog: CompiledCatalog
) -> Wide:
    """The sum of multiplier * priced quantity before each pair, each product rounded half away from zero to 6 digits.

    Only volume tiers reprice, so only their charges with multipliers need it; others keep the priced usage itself.
    """
    assert pairs.multiplier is not None
    included = catalog.charges.prices.included.gather(pairs.charge)
    before, after = (_excess(wide.to_series(column), included) for column in (folded.before, folded.after))
    weight = divide_half_away(wide.to_series(pairs.multiplier) * (after - before), ONE_UNIT)
    weighted_before, weighted = running_sums(
        counters.weighted[slots], segments, wide.from_series(weight)[segments.order]
    )
    counters.weighted[slots] = weighted[segments.last]
    return segments.back(weighted_before)


def _excess(usage: pl.Series, included: pl.Series) -> pl.Series:
    excess = usage - included
    return excess.set(excess < 0, 0)


def _first_beyond(folded: Folded, pairs: Pairs, catalog: CompiledCatalog) -> Index:
    """The events whose usage passes its charge's limit, the first one of each counter."""
    prices = catalog.charges.prices
    if not len(pairs.key) or _surely_within(folded.after, min(prices.usage_limit)):
        return np.zeros(0, np.int64)
    limit = prices.usage_limit_wide[pairs.charge]
    below = wide.less(folded.after, wide.subtract(wide.zeros(len(limit)), limit))
    places = np.flatnonzero(wide.less(limit, folded.after) | below)
    _, first = np.unique(pairs.key[places], return_index=True)
    return np.unique(pairs.event[places[first]])


def _surely_within(usage: Wide, limit: int) -> bool:
    high = wide.high_limb(usage)
    bound = limit >> 64
    return bound > 1 and int(high.max()) < bound - 1 and int(high.min()) > -bound
