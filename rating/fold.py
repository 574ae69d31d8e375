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
from rating.money import ONE_UNIT, divide_half_away
from rating.pairs import TRIAL_PERIOD, Pairs, periods_of, subscriptions_of
from rating.periods import Times
from rating.prices import Index
from rating.state import GroupState
from rating.thresholds import Crossed, crossings
from rating.usage import Counters, Fold, fold_quantities, running_sums
from rating.wide import Wide

_ELSEWHERE = -1


@dataclass(frozen=True, slots=True)
class Folded:
    """Per pair, wide micros: usage `before` and `after`; `weighted_before` is None without multipliers."""

    before: Wide
    after: Wide
    weighted_before: Wide | None

    def take(self, rows: Index) -> "Folded":
        """That of these pairs."""
        weighted = None if self.weighted_before is None else np.take(self.weighted_before, rows, axis=0)
        return Folded(np.take(self.before, rows, axis=0), np.take(self.after, rows, axis=0), weighted)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What some rows of the counters held, so that a fold can be taken back."""

    rows: Index
    columns: tuple[npt.NDArray[np.generic], ...]

    @classmethod
    def of(cls, counters: Counters, rows: Index, *, only_usage: bool) -> "_Kept":
        """What these rows hold now."""
        return cls(rows, tuple(np.take(column, rows, axis=0) for column in _columns(counters, only_usage)))

    def restore(self, counters: Counters) -> None:
        """Gives it back to them."""
        for column, held in zip(_columns(counters, len(self.columns) == 1), self.columns, strict=True):
            column[self.rows] = held


def _columns(counters: Counters, only_usage: bool) -> tuple[npt.NDArray[np.generic], ...]:
    if only_usage:
        return (counters.usage,)
    return counters.usage, counters.total, counters.weighted, counters.count, counters.latest_time


def fold(
    state: GroupState, rows: Index, pairs: Pairs, event_time: Times, catalog: CompiledCatalog
) -> tuple[Folded, Crossed | None, Index]:
    """Folds the pairs into these rows of the state's counters; `event_time` has one row per event of the share.

    Also gives the thresholds that they cross. If events would pass the bounds, their rows are given too (of each
    counter the first) and nothing is folded.
    """
    kept, folded = _fold_all(state, rows, pairs, event_time, catalog)
    beyond = _first_beyond(folded, pairs, catalog)
    if len(beyond):
        kept.restore(state.counters)
        return folded, None, beyond
    _remember_values(state, pairs)
    return folded, _crossed(state.counters, rows, pairs, folded, catalog), beyond


def _crossed(counters: Counters, rows: Index, pairs: Pairs, folded: Folded, catalog: CompiledCatalog) -> Crossed | None:
    thresholds = catalog.thresholds
    if not thresholds.entries:
        return None
    places = pairs.charge
    if thresholds.moved is not None:
        places = places + thresholds.moved[subscriptions_of(catalog, pairs.key)]
    may_fall = catalog.charges.may_fall[pairs.charge]
    crossed = crossings(thresholds, places, (folded.before, folded.after), rows, counters.peak, may_fall)
    return None if crossed is None else _in_order(_without_what_is_not_told(crossed, pairs, catalog), pairs, catalog)


def _without_what_is_not_told(crossed: Crossed, pairs: Pairs, catalog: CompiledCatalog) -> Crossed:
    """On trial no tier applies, quotas do; and a quota that counts apart has pairs of its own."""
    owner = catalog.thresholds.owner[crossed.threshold]
    on_trial = periods_of(pairs.key[crossed.pair]) == TRIAL_PERIOD
    left_out = on_trial & ~catalog.charges.is_quota[owner]
    if pairs.apart is not None:
        left_out |= pairs.apart[crossed.pair] & (owner != pairs.charge[crossed.pair])
    if not left_out.any():
        return crossed
    kept = np.flatnonzero(~left_out)
    return Crossed(crossed.pair[kept], crossed.threshold[kept])


def _in_order(crossed: Crossed, pairs: Pairs, catalog: CompiledCatalog) -> Crossed | None:
    """Event by event, those of charges before those of quotas, which a counter that they share brings together."""
    if not len(crossed.pair):
        return None
    if not catalog.charges.has_shared_counters:
        return crossed
    place = pairs.event[crossed.pair] * len(catalog.charges.ids) + catalog.thresholds.owner[crossed.threshold]
    if (place[1:] >= place[:-1]).all():
        return crossed
    order = np.argsort(place, kind="stable")
    return Crossed(crossed.pair[order], crossed.threshold[order])


def _fold_all(
    state: GroupState, rows: Index, pairs: Pairs, event_time: Times, catalog: CompiledCatalog
) -> tuple[_Kept, Folded]:
    foldings = catalog.charges.foldings[pairs.charge]
    kept = _Kept.of(state.counters, rows, only_usage=pairs.multiplier is None and not foldings.any())
    quantity = _with_new_values_only(state, pairs)
    folded = fold_quantities(state.counters, rows, foldings, quantity, event_time[pairs.event], pairs.blocked)
    weighted = None if pairs.multiplier is None else _weigh(state.counters, rows, pairs, folded, catalog)
    return kept, Folded(folded.before, folded.after, weighted)


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


def _weigh(counters: Counters, rows: Index, pairs: Pairs, folded: Fold, catalog: CompiledCatalog) -> Wide:
    """The sum of multiplier * priced quantity before each pair, each product rounded half away from zero to 6 digits.

    Only volume tiers reprice, so only their charges with multipliers need it; others keep the priced usage itself.
    """
    assert pairs.multiplier is not None
    included = wide.picked(catalog.charges.prices.included, pairs.charge)
    before, after = (_excess(wide.to_series(column), included) for column in (folded.before, folded.after))
    weight = divide_half_away(wide.to_series(pairs.multiplier) * (after - before), ONE_UNIT)
    return running_sums(counters.weighted, rows, wide.from_series(weight))


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
