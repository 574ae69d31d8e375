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

    `events` are the rows of events of which nothing is left; `by` is the quota that blocks each, `until` the end of its
    window in microseconds UTC.
    """

    pairs: Pairs
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
    none = np.zeros(0, np.int64)
    blocking = catalog.charges.blocks[pairs.charge]
    if not blocking.any():
        return LetThrough(pairs, none, none, none)
    passed, by = _decided(counters, pairs, catalog, blocking)
    whole = by != _NOBODY
    cut = ~whole & (passed != pairs.quantity).any(axis=1)
    if not (whole.any() or cut.any()):
        return LetThrough(pairs, none, none, none)
    events, first = np.unique(pairs.event[whole], return_index=True)
    quota = by[whole][first]
    parted = _parted(pairs, passed, whole, cut, catalog)
    return LetThrough(parted, events, pairs.charge[quota], pairs.period_end[quota])


def _decided(counters: Counters, pairs: Pairs, catalog: CompiledCatalog, blocking: Mask) -> tuple[Wide, Index]:
    """Per pair: the quantity that passes, and the row of the pair of the quota that blocks its event (none: -1)."""
    rows = np.full(len(pairs.event), _NOBODY)
    held, rows[blocking] = np.unique(counters.rows_of(pairs.key[blocking]), return_inverse=True)
    used = np.take(counters.usage, held, axis=0)
    passed, by = pairs.quantity.copy(), np.full(len(pairs.event), _NOBODY)
    charges = catalog.charges
    limit, measure = charges.limit[pairs.charge], charges.measure[pairs.charge]
    _decide(pairs.event, rows, limit, measure, pairs.quantity, used, passed, by)
    return passed, by


@compiled
def _decide(
    event: Index, rows: Index, limit: Wide, measure: Index, quantity: Wide, used: Wide, passed: Wide, by: Index
) -> None:
    """Goes through the events; `used` is what the quotas with these rows have let through so far, and goes on."""
    start = 0
    while start < len(event):
        behind = start + 1
        while behind < len(event) and event[behind] == event[start]:
            behind += 1
        blocker = -1
        for pair in range(start, behind):
            row = rows[pair]
            if row >= 0 and blocker < 0 and _exceeds(used[row], quantity[pair], limit[pair]):
                if not _is_less(used[row], limit[pair]):
                    blocker = pair
                else:
                    room = np.empty(2, np.uint64)
                    _subtract(limit[pair], used[row], room)
                    for other in range(start, behind):
                        if measure[other] == measure[pair] and _is_less(room, passed[other]):
                            passed[other, 0], passed[other, 1] = room[0], room[1]
        for pair in range(start, behind):
            row = rows[pair]
            if blocker >= 0:
                by[pair] = blocker
            elif row >= 0:
                low = used[row, 0] + passed[pair, 0]
                used[row, 1] += passed[pair, 1] + np.uint64(low < used[row, 0])
                used[row, 0] = low
        start = behind


@compiled
def _exceeds(used: Wide, quantity: Wide, limit: Wide) -> bool:
    """Whether a quantity above zero leads above the limit."""
    if np.int64(quantity[1]) < 0 or (quantity[0] == _ZERO and quantity[1] == _ZERO):
        return False
    after = np.empty(2, np.uint64)
    after[0] = used[0] + quantity[0]
    after[1] = used[1] + quantity[1] + np.uint64(after[0] < used[0])
    return _is_less(limit, after)


@compiled
def _is_less(left: Wide, right: Wide) -> bool:
    high, other = np.int64(left[1]), np.int64(right[1])
    return bool(high < other or (high == other and left[0] < right[0]))


@compiled
def _subtract(left: Wide, right: Wide, difference: Wide) -> None:
    difference[0] = left[0] - right[0]
    difference[1] = left[1] - right[1] - np.uint64(left[0] < right[0])


def _parted(pairs: Pairs, passed: Wide, whole: Mask, cut: Mask, catalog: CompiledCatalog) -> Pairs:
    """What passes, and behind it what is blocked: of charges only, for quotas have no lines."""
    is_charge = ~catalog.charges.is_quota[pairs.charge]
    rests = cut & is_charge
    kept = np.flatnonzero(is_charge | ~whole)
    rows = np.repeat(kept, 1 + rests[kept])
    is_rest = np.zeros(len(rows), np.bool_)
    is_rest[1:] = rows[1:] == rows[:-1]
    parted = pairs.take(rows)
    quantity = np.where(whole[rows, None], pairs.quantity[rows], passed[rows])
    quantity[is_rest] = wide.subtract(pairs.quantity, passed)[rows[is_rest]]
    blocked = is_rest | whole[rows]
    value = parted.value
    if value is not None:
        # A value that was blocked has not been met.
        value[blocked] = 0
    return replace(parted, quantity=quantity, value=value, blocked=blocked)
