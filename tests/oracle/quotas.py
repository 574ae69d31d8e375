"""Quotas and thresholds, naively (semantics 5): windows, what a blocking quota lets through, what is notified."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Any

from tests.oracle.calendar import period_of
from tests.oracle.metering import Counter
from tests.oracle.pricing import free_usage, innermost, zones_of
from tests.oracle.rated import Notice, Standing

LARGEST_USAGE = Fraction(10**36, 10**6)
_MARKS = {Fraction(percent, 100) for percent in (10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 100)}
_SIZES = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}


@dataclass(frozen=True)
class Meter:
    """What is metered of a product: one of its charges, or one of its quotas, to which no pricing rule applies."""

    id: str
    meter: Any
    rules: Any
    exempt_where: str | None
    charge: Any = None
    quota: Any = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it apart from the others of its product."""
        return "charge" if self.quota is None else "quota", self.id

    @property
    def takes(self) -> Any:
        """The same for all that take the same quantity of an event."""
        if self.meter.aggregation == "count":
            return "count"
        rules = tuple((rule.where, rule.quantity) for rule in self.rules if rule.quantity is not None)
        return self.meter.aggregation, self.meter.element, self.meter.quantity, rules


def meters_of(product: Any, charges: Iterable[Any], count: Any) -> list[Meter]:
    """The charges of a product and then its quotas; a quota without a meter meters `count`."""
    of_charges = [Meter(one.id, one.meter, one.rules, one.exempt_where, charge=one) for one in charges]
    return of_charges + [
        Meter(quota.name, quota.meter or count, (), product.exempt_where, quota=quota) for quota in product.quotas
    ]


def window_of(quota: Any, time: datetime, trial_end: datetime | None) -> tuple[datetime, datetime | None]:
    """The tumbling window that holds the time, on trial until its end at the latest.

    Weeks begin on Monday, all other windows are counted from 1970.
    """
    start, end = _window_of(quota, time)
    return start, end if trial_end is None else min(end, trial_end)


def _window_of(quota: Any, time: datetime) -> tuple[datetime, datetime]:
    unit, count = quota.window.unit, quota.window.count
    start = datetime(1970, 1, 5 if unit == "week" else 1, tzinfo=UTC)
    if unit in _SIZES:
        size = _SIZES[unit] * count
        begin = start + (time - start) // size * size
        return begin, begin + size
    return period_of(start, unit, count, "UTC", time)


def passes(
    metered: Iterable[Meter], quantities: Mapping[tuple[str, str], Fraction], used: Mapping[tuple[str, str], Counter]
) -> dict[tuple[str, str], Fraction] | None:
    """How much of the event each meter may take; None if a quota blocks all of it."""
    passing, known = dict(quantities), list(metered)
    for one in known:
        if one.quota is None or one.quota.on_exceed != "block" or quantities[one.key] <= 0:
            continue
        room = Fraction(one.quota.limit) - used[one.key].usage(one.meter.aggregation)
        if room >= quantities[one.key]:
            continue
        if room <= 0:
            return None
        for other in known:
            if other.takes == one.takes:
                passing[other.key] = min(passing[other.key], room)
    return passing


def notices_of(
    one: Meter, product: Any, subscription: Any, low: Fraction, usage: tuple[Fraction, Fraction], window: Any
) -> list[Notice]:
    """The notices of usage going up from `low`, the greatest so far, to what it is now, in ascending order."""
    told = tuple(dict.fromkeys((*product.provider_notification_addresses, *subscription.notification_addresses)))
    found = []
    for share, limit, tier in _shares(one, product, subscription):
        threshold = Fraction(ceil(share * limit * 10**6), 10**6)
        if threshold > 0 and low < threshold <= usage[1]:
            kind = "tier_threshold" if tier is not None else "quota_reached" if share == 1 else "quota_threshold"
            found.append(Notice(kind, one.id, tier, share, threshold, limit, usage, window, told))
    return sorted(found, key=lambda notice: (notice.threshold, notice.share))


def standings_of(
    one: Meter, subscription: Any, low: Fraction, usage: tuple[Fraction, Fraction], window: Any, clock: datetime
) -> list[Standing]:
    """The verdict told anew: at each tenth of the limit, from 80 % on at each twentieth, at each threshold, and
    whenever the limit is passed."""
    limit = Fraction(one.quota.limit)
    own = subscription.notification_threshold
    shares = {Fraction(share) for share in (one.quota.notify_at if own is None else (own,))}
    steps = [Fraction(ceil(share * limit * 10**6), 10**6) for share in shares | _MARKS]
    before, after = usage
    told = any(step > 0 and low < step <= after for step in steps) or (before < limit) != (after < limit)
    if not told or (window[1] is not None and window[1] <= clock):
        return []
    verdict = "blocked" if one.quota.on_exceed == "block" and after >= limit else "allowed"
    return [Standing(one.id, verdict, after, max(limit - after, Fraction(0)), window)]


def _shares(one: Meter, product: Any, subscription: Any) -> list[tuple[Fraction, Fraction, int | None]]:
    """Share, limit and tier of each threshold; a subscription's own share takes the place of the product's."""
    own = subscription.notification_threshold
    if one.quota is not None:
        shares = {Fraction(share) for share in (one.quota.notify_at if own is None else (own,))}
        return [(share, Fraction(one.quota.limit), None) for share in shares | {Fraction(1)}]
    share = product.notification_threshold if own is None else own
    zones = zones_of(innermost(one.charge.price), free_usage(one.charge.price))
    tiers = [zone for zone in zones if zone.tier and zone.upper is not None]
    return [(Fraction(share or 0), zone.upper, zone.tier) for zone in tiers]
