"""Thresholds: at which usage people are told, and which of them a change of usage crosses (semantics 5).

Owns where thresholds lie: shares of a quota's limit and of the upper bound of each tier; and, between them, the marks
at tenths of a quota, near its limit at twentieths, at which nobody is notified but the quota's verdict is told anew.
The rule: a threshold is crossed when `before < threshold <= after`, once per window; of a usage that may fall, `before`
is the greatest so far.

A subscription that overrides its product's share has thresholds of its own, which stand behind those of all charges.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from rating import wide
from rating.charges import Charges
from rating.compiled import compiled
from rating.prices import Index, Mask, PriceTable
from rating.wide import Wide
from schemas.catalog import Product, Quota, Subscription
from schemas.decimals import scaled_quantity

_ALL = 10**6
_MARKS = tuple(share * _ALL // 100 for share in (*range(10, 80, 10), *range(80, 100, 5)))


@dataclass(frozen=True, slots=True)
class Threshold:
    """`share` of `limit`, in micros; `usage` is the least usage in micros that reaches it. `tier`: None for a quota.

    `owner` is the row of the charge or quota whose threshold it is. Nobody is notified of what is a `mark`.
    """

    owner: int
    usage: int
    share: int
    limit: int
    tier: int | None
    mark: bool = False


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of all counters: those of row i are `first[i]` up to `first[i + 1]`, by ascending usage.

    Rows are charges, with the quotas that share their counters, and quotas; then once more those of products whose
    subscriptions override the share: `moved` (int32) says by how many rows, per subscription; None if there is no such
    subscription. `usage` are wide micros; `owner` is the charge or quota of each; of those not `notified` nobody is
    told.
    """

    first: Index
    usage: Wide
    owner: Index
    entries: tuple[Threshold, ...]
    moved: npt.NDArray[np.int32] | None
    notified: Mask


@dataclass(frozen=True, slots=True)
class Crossed:
    """Thresholds that pairs have crossed, in the order of the pairs and then ascending: rows of both."""

    pair: Index
    threshold: Index


def compile_thresholds(
    products: Sequence[Product], subscriptions: Sequence[Subscription], product_of: Index, charges: Charges
) -> Thresholds:
    """The thresholds of these charges, and of the subscriptions with a share of their own."""
    first_charge = np.searchsorted(charges.product, np.arange(len(products) + 1)).tolist()
    rows = [
        _of_counter(row, products[product].notification_threshold, None, charges)
        for row, product in enumerate(charges.product.tolist())
    ]
    moved = np.zeros(len(subscriptions), np.int32)
    begins: dict[tuple[int, Decimal], int] = {}
    for row, entry in enumerate(subscriptions):
        share = entry.notification_threshold
        if share is None:
            continue
        product = int(product_of[row])
        if (product, share) not in begins:
            begins[product, share] = len(rows)
            rows += [
                _of_counter(charge, share, share, charges) for charge in range(*first_charge[product : product + 2])
            ]
        moved[row] = begins[product, share] - first_charge[product]
    entries = tuple(entry for own in rows for entry in own)
    return Thresholds(
        first=np.array([0, *accumulate(map(len, rows))], np.int64),
        usage=wide.from_integers(entry.usage for entry in entries),
        owner=np.array([entry.owner for entry in entries], np.int64),
        entries=entries,
        moved=moved if begins else None,
        notified=np.array([not entry.mark for entry in entries], np.bool_),
    )


def _of_counter(row: int, of_tiers: Decimal | None, override: Decimal | None, charges: Charges) -> list[Threshold]:
    """Those of a charge's tiers and of the quotas that share its counter, or of a quota."""
    found = [] if charges.is_quota[row] else list(_of_tiers(row, of_tiers, charges.prices))
    for place in charges.watching[slice(*charges.first_watching[row : row + 2])].tolist():
        found += _of_quota(place, charges.quotas[place], override)
    return sorted((entry for entry in found if entry.usage > 0), key=lambda entry: (entry.usage, entry.share))


def _of_tiers(row: int, share: Decimal | None, prices: PriceTable) -> Iterator[Threshold]:
    """A share of the upper bound of each tier but the last, which has none, and the included usage, which is none."""
    bounds = wide.to_integers(prices.bounds[prices.first_bound[row] : prices.first_bound[row + 1]])
    for tier, bound in enumerate(bounds[1:], start=1):
        yield _threshold(row, scaled_quantity(share or Decimal(0)), bound, tier)


def _of_quota(row: int, quota: Quota | None, override: Decimal | None) -> Iterator[Threshold]:
    """The shares that the quota names, or the one that the subscription puts in their place; all of it; the marks."""
    assert quota is not None, f"row {row} is that of a charge"
    shares = {_ALL, *map(scaled_quantity, quota.notify_at if override is None else (override,))}
    for share in shares.union(_MARKS):
        yield _threshold(row, share, scaled_quantity(quota.limit), None, share not in shares)


def _threshold(owner: int, share: int, limit: int, tier: int | None, mark: bool = False) -> Threshold:
    return Threshold(owner, -(-share * limit // _ALL), share, limit, tier, mark)


def crossings(
    thresholds: Thresholds, places: Index, ends: tuple[Wide, Wide], rows: Index, peak: Wide, may_fall: Mask
) -> Crossed | None:
    """The thresholds, of these rows of the table, that the usage of pairs crosses between its `ends`.

    Of pairs that `may_fall`, `rows` are their rows of `peak`, the greatest usage so far, which goes on.
    """
    pair, threshold = _cross(places, thresholds.first, thresholds.usage, *ends, rows, peak, may_fall)
    return Crossed(pair, threshold) if len(pair) else None


@compiled
def _cross(
    place: Index,
    first: Index,
    thresholds: Wide,
    before: Wide,
    after: Wide,
    rows: Index,
    peak: Wide,
    may_fall: Mask,
) -> tuple[Index, Index]:
    """The pairs that cross thresholds, and which; raises the peaks."""
    lowest, counts = np.empty(len(place), np.int64), np.zeros(len(place), np.int64)
    for pair in range(len(place)):
        entry, behind = first[place[pair]], first[place[pair] + 1]
        if entry == behind:
            continue
        low, high = before[pair, 0], before[pair, 1]
        if may_fall[pair]:
            row = rows[pair]
            if _less(low, high, peak[row, 0], peak[row, 1]):
                low, high = peak[row, 0], peak[row, 1]
            if _less(low, high, after[pair, 0], after[pair, 1]):
                peak[row, 0], peak[row, 1] = after[pair, 0], after[pair, 1]
            else:
                peak[row, 0], peak[row, 1] = low, high
        while entry < behind and not _less(low, high, thresholds[entry, 0], thresholds[entry, 1]):
            entry += 1
        lowest[pair] = entry
        while entry < behind and not _less(after[pair, 0], after[pair, 1], thresholds[entry, 0], thresholds[entry, 1]):
            entry += 1
        counts[pair] = entry - lowest[pair]
    crossing, crossed = np.empty((2, counts.sum()), np.int64)
    number = 0
    for pair in range(len(place)):
        for entry in range(lowest[pair], lowest[pair] + counts[pair]):
            crossing[number], crossed[number] = pair, entry
            number += 1
    return crossing, crossed


@compiled
def _less(low: np.uint64, high: np.uint64, other_low: np.uint64, other_high: np.uint64) -> bool:
    return bool(np.int64(high) < np.int64(other_high) or (high == other_high and low < other_low))
