"""Quotas that block: how much of each event they let through (semantics 5).

Owns that decision, event by event in their order, and what it makes of an event's pairs. The rule: an event that would
lead a blocking quota above its limit is cut at it; where nothing is left below the limit, all of the event is blocked,
and no charge or quota takes anything of it. A cut counts for whatever takes the same quantity of the event; what takes
another quantity takes it whole.
"""

from dataclasses import dataclass, replace

import numpy as np

from rating import wide
from rating.catalog import CompiledCatalog
from rating.compiled import compiled
from rating.pairs import Pairs
from rating.periods import ENDLESS, Times, moment_of
from rating.prices import Index, Mask
from rating.usage import Counters
from rating.wide import Wide
from schemas.catalog import moment_text

_NOBODY = -1
_ZERO = np.uint64(0)


@dataclass(frozen=True, slots=True)
class LetThrough:
    """What quotas leave of some pairs: `pairs` in the order of the events; `blocked` marks what is taken away of them.

    `rows` are those of their counters. `events` are the rows of events of which nothing is left; `by` is the quota that
    blocks each, `until` the end of its window in microseconds UTC.
    """

    pairs: Pairs
    rows: Index
    events: Index
    by: Index
    until: Times

    def sentences(self, catalog: CompiledCatalog) -> dict[int, str]:
        """What is said of each event of which nothing is left."""
        said = {
            (quota, until): _sentence(catalog.charges.ids[quota], until)
            for quota, until in set(zip(self.by.tolist(), self.until.tolist(), strict=True))
        }
        columns = self.events.tolist(), self.by.tolist(), self.until.tolist()
        return {event: said[quota, until] for event, quota, until in zip(*columns, strict=True)}


def _sentence(quota: str, until: int) -> str:
    end = "" if until == ENDLESS else f" until {moment_text(moment_of(until))}"
    return f"quota '{quota}' is used up{end}"


def let_through(counters: Counters, pairs: Pairs, catalog: CompiledCatalog) -> LetThrough:
    """What the quotas leave of these pairs, given what the counters hold; the usage of the counters stays as it is."""
    rows, none = counters.rows_of(pairs.key), np.zeros(0, np.int64)
    charges = catalog.charges
    if not charges.cuts.any():
        return LetThrough(pairs, rows, none, none, none)
    passed, by, at = pairs.quantity.copy(), np.full(len(rows), _NOBODY), np.zeros(len(rows), np.int64)
    quotas = charges.cuts, charges.first_watching, charges.watching, charges.blocks, charges.limit, charges.measure
    apart = np.zeros(len(rows), np.bool_) if pairs.apart is None else pairs.apart
    if not _decide(pairs.event, rows, pairs.charge, pairs.quantity, apart, quotas, counters.usage, passed, by, at):
        return LetThrough(pairs, rows, none, none, none)
    whole = by != _NOBODY
    cut = ~whole & (passed != pairs.quantity).any(axis=1)
    events, first = np.unique(pairs.event[whole], return_index=True)
    blocker = np.flatnonzero(whole)[first]
    places = _places(pairs, whole, cut, catalog)
    parted = _parted(pairs, passed, places, whole)
    return LetThrough(parted, rows[places], events, by[blocker], pairs.period_end[at[blocker]])


@compiled
def _decide(
    event: Index,
    rows: Index,
    charge: Index,
    quantity: Wide,
    apart: Mask,
    quotas: tuple[Mask, Index, Index, Mask, Wide, Index],
    usage: Wide,
    passed: Wide,
    by: Index,
    at: Index,
) -> bool:
    """Fills in what passes of each pair, the quota that blocks its event (none: -1), and the row of that one's pair.

    Tells whether any is cut or blocked. Goes through the events; `usage` goes on with them and is set back at the end.
    First it is read once, without a branch, so that the waits for memory overlap.
    """
    cuts, first_watching, watching, blocks, limit, measure = quotas
    met = np.empty(len(event), np.uint64)
    for pair in range(len(event)):
        met[pair] = usage[rows[pair], 0]
    start, decided = 0, False
    while start < len(event):
        behind = start + 1
        while behind < len(event) and event[behind] == event[start]:
            behind += 1
        blocker, blocked_at = -1, 0
        for pair in range(start, behind):
            own, row = charge[pair], rows[pair]
            if apart[pair] or not cuts[own]:
                continue
            for place in range(first_watching[own], first_watching[own + 1]):
                quota = watching[place]
                if blocks[quota] and _exceeds(usage, row, quantity, pair, limit, quota):
                    decided = True
                    if _is_less(usage[row, 0], usage[row, 1], limit[quota, 0], limit[quota, 1]):
                        _cut(start, behind, pair, usage[row], limit[quota], measure, charge, passed)
                    elif blocker < 0 or quota < blocker:
                        blocker, blocked_at = quota, pair
        for pair in range(start, behind):
            by[pair], at[pair] = blocker, blocked_at
            if blocker < 0 and cuts[charge[pair]]:
                _add(usage, rows[pair], passed, pair)
        start = behind
    for pair in range(len(event)):
        if by[pair] < 0 and cuts[charge[pair]]:
            _subtract(usage, rows[pair], passed, pair)
    return decided


@compiled
def _cut(
    start: int, behind: int, pair: int, used: Wide, limit: Wide, measure: Index, charge: Index, passed: Wide
) -> None:
    """Leaves, of all that takes the same quantity of the event, at most what is left below the limit."""
    low = limit[0] - used[0]
    high = limit[1] - used[1] - np.uint64(limit[0] < used[0])
    for other in range(start, behind):
        if measure[charge[other]] == measure[charge[pair]]:
            above = np.int64(passed[other, 1]) - np.int64(high)
            if above > 0 or (above == 0 and passed[other, 0] > low):
                passed[other, 0], passed[other, 1] = low, high


# What follows takes columns and rows of them: in a compiled loop a row of its own would cost more than the sum.


@compiled
def _exceeds(usage: Wide, row: int, quantity: Wide, pair: int, limit: Wide, quota: int) -> bool:
    """Whether a quantity above zero leads above the limit."""
    low, high = quantity[pair, 0], quantity[pair, 1]
    if np.int64(high) < 0 or (low == _ZERO and high == _ZERO):
        return False
    total = usage[row, 0] + low
    above = usage[row, 1] + high + np.uint64(total < low)
    return _is_less(limit[quota, 0], limit[quota, 1], total, above)


@compiled
def _is_less(low: np.uint64, high: np.uint64, other_low: np.uint64, other_high: np.uint64) -> bool:
    return bool(np.int64(high) < np.int64(other_high) or (high == other_high and low < other_low))


@compiled
def _add(usage: Wide, row: int, quantity: Wide, pair: int) -> None:
    low = usage[row, 0] + quantity[pair, 0]
    usage[row, 1] += quantity[pair, 1] + np.uint64(low < usage[row, 0])
    usage[row, 0] = low


@compiled
def _subtract(usage: Wide, row: int, quantity: Wide, pair: int) -> None:
    borrowed = np.uint64(usage[row, 0] < quantity[pair, 0])
    usage[row, 0] -= quantity[pair, 0]
    usage[row, 1] -= quantity[pair, 1] + borrowed


def _places(pairs: Pairs, whole: Mask, cut: Mask, catalog: CompiledCatalog) -> Index:
    """The pairs that stay, twice where a rest stays too: of charges only, for quotas have no lines."""
    is_charge = ~catalog.charges.is_quota[pairs.charge]
    kept = np.flatnonzero(is_charge | ~whole)
    return np.repeat(kept, 1 + (cut & is_charge)[kept])


def _parted(pairs: Pairs, passed: Wide, places: Index, whole: Mask) -> Pairs:
    """What passes, and behind it what is blocked."""
    is_rest = np.zeros(len(places), np.bool_)
    is_rest[1:] = places[1:] == places[:-1]
    parted = pairs.take(places)
    quantity = np.where(whole[places, None], pairs.quantity[places], passed[places])
    quantity[is_rest] = wide.subtract(pairs.quantity, passed)[places[is_rest]]
    blocked = is_rest | whole[places]
    value = parted.value
    if value is not None:
        # A value that was blocked has not been met.
        value[blocked] = 0
    return replace(parted, quantity=quantity, value=value, blocked=blocked)
