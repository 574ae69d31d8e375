"""The oracle: rates one event at a time with plain dictionaries and exact fractions, and nothing of the rating core.

It follows the documents sentence by sentence and is slow; the columnar core must equal it row for row.
It knows the catalog only through its models (`schemas.catalog`) and its charges as the catalog expands them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from schemas.prices import COUNT
from tests.oracle import sql
from tests.oracle.calendar import TEST_MODE_PERIODS, period_of
from tests.oracle.metering import BAD_QUANTITY, Counter, lets_through, measure_of, multiplier_of
from tests.oracle.pricing import Line, free_usage, largest_usage, lines_of, priced, round_half_away
from tests.oracle.quotas import LARGEST_USAGE, Meter, meters_of, notices_of, passes, standings_of, window_of
from tests.oracle.rated import Notice, Rated, RatedLine, Standing
from tests.oracle.reading import Event, read

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Lane:
    """One input partition read in order: its clock, which never goes back, and the credentials it brought to light.

    The clock shows the greatest record timestamp; in files, which have none, the greatest event time.
    """

    clock: datetime | None = None
    credentials: dict[str, str] = field(default_factory=dict)

    def reach(self, time: datetime | None) -> None:
        if time is not None:
            self.clock = max(time, self.clock or time)


class Oracle:
    """Feed it records in the order they are rated; lanes are told apart by their partition."""

    def __init__(
        self,
        catalog: Any,
        expand: Callable[[Any, Any], Any],
        lateness: timedelta | None = None,
        skew: timedelta | None = timedelta(minutes=5),
        scope: Callable[[str], int] = lambda subscription: 0,
    ) -> None:
        """`scope` is the part of the duplicate index that a subscription's events are looked up in."""
        rules = {rule.id: rule for rule in catalog.pricing_rules}
        self.products = {(product.id, product.version): product for product in catalog.products}
        self.meters = {
            key: meters_of(product, expand(product, rules).charges, COUNT) for key, product in self.products.items()
        }
        self.subscriptions = {subscription.id: subscription for subscription in catalog.subscriptions}
        self.credentials = {credential.id: credential.subscription for credential in catalog.credentials}
        self.subscribers = {subscriber.email for subscriber in catalog.subscribers}
        self.zones = {organization.id: organization.timezone for organization in catalog.organizations}
        self.lateness, self.skew, self.scope = lateness, skew, scope
        self.lanes: dict[int, Lane] = {}
        self.seen: dict[tuple[int, str, str], datetime] = {}
        self.blocked: dict[tuple[str, str], Standing] = {}
        self.counters: dict[tuple[str, str, str, datetime], Counter] = {}

    def rate_all(self, records: Sequence[tuple[int, bytes, datetime | None]]) -> list[Rated]:
        return [self.rate(*record) for record in records]

    def rate(self, partition: int, raw: bytes, record_time: datetime | None = None) -> Rated:
        """The verdict and the lines of the next record of a partition."""
        lane = self.lanes.setdefault(partition, Lane())
        lane.reach(record_time)
        event = read(raw)
        if isinstance(event, str):
            return Rated("rejected", event)
        time = event.time or record_time or lane.clock
        if time is None:
            return Rated("rejected", "bad_time")
        if record_time is not None and self.skew is not None and time > record_time + self.skew:
            return Rated("rejected", "skew")
        lane.reach(time if record_time is None else None)
        found = self._resolve(event, lane, time)
        is_late = self.lateness is not None and time < lane.clock - self.lateness
        if found in self.subscriptions:
            measures = self._measures(event, self.subscriptions[found])
            if event.subscription == found and event.credential is not None and not is_late:
                self._discover(event.credential, found, lane)
            if measures == BAD_QUANTITY:
                return Rated("rejected", BAD_QUANTITY, found)
        if is_late:
            return Rated("late", "lateness", found if found in self.subscriptions else None)
        if found not in self.subscriptions:
            return Rated("parked", found)
        return self._settle(event, time, lane.clock, self.subscriptions[found], measures)

    def _resolve(self, event: Event, lane: Lane, time: datetime) -> str:
        """The subscription's id, or the reason for parking the event: the first name present decides."""
        if event.subscription is not None:
            return event.subscription if event.subscription in self.subscriptions else "unknown_subscription"
        if event.credential is not None:
            return self.credentials.get(event.credential) or lane.credentials.get(
                event.credential, "unknown_credential"
            )
        kind, name = ("subscriber", event.subscriber) if event.subscriber else ("organization", event.organization)
        if name not in (self.subscribers if kind == "subscriber" else self.zones):
            return f"unknown_{kind}"
        active = [
            subscription.id
            for subscription in self.subscriptions.values()
            if getattr(subscription, kind) == name
            and subscription.start <= time
            and (subscription.end is None or time < subscription.end)
            and self._lists(subscription, event.source)
        ]
        return active[0] if len(active) == 1 else f"ambiguous_{kind}"

    def _discover(self, credential: str, subscription: str, lane: Lane) -> None:
        if credential not in self.credentials:
            lane.credentials.setdefault(credential, subscription)

    def _product(self, subscription: Any) -> Any:
        return self.products[(subscription.product_id, subscription.product_version)]

    def _meters(self, subscription: Any) -> list[Meter]:
        return self.meters[(subscription.product_id, subscription.product_version)]

    def _lists(self, subscription: Any, source: str) -> bool:
        sources = self._product(subscription).sources
        return not sources or source in sources

    def _measures(self, event: Event, subscription: Any) -> dict[Any, tuple[Fraction | str, Fraction]] | str | None:
        """Per charge and quota that meters the event: what it measures, its multiplier; or that a quantity is bad."""
        measures = {}
        for charge in self._meters(subscription):
            filtered = charge.exempt_where is not None and sql.is_true(charge.exempt_where, event)
            if filtered or not self._lists(subscription, event.source) or not lets_through(charge, event):
                continue
            measure, multiplier = measure_of(charge, event), multiplier_of(charge, event)
            if measure is not None and BAD_QUANTITY in (measure, multiplier):
                return BAD_QUANTITY
            if measure is not None:
                measures[charge.key] = measure, multiplier
        return measures

    def _settle(self, event: Event, time: datetime, logged: datetime, subscription: Any, measures: Any) -> Rated:
        identity = (self.scope(subscription.id), event.source, event.id)
        if identity in self.seen and self._reaches_back(self.seen[identity], logged):
            return Rated("duplicate", None, subscription.id)
        rated = self._first_sight(event, time, logged, subscription, measures)
        if rated.verdict != "rejected":
            self.seen[identity] = logged
        return rated

    def _reaches_back(self, first: datetime, logged: datetime) -> bool:
        """Whether a first sight still counts: first sights are forgotten by the bucket, once all of it is too old."""
        if self.lateness is None:
            return True
        length = max(timedelta(hours=1), self.lateness // 8)
        bucket_end = ((first - EPOCH) // length + 1) * length + EPOCH
        return bucket_end > logged - self.lateness

    def _first_sight(self, event: Event, time: datetime, logged: datetime, subscription: Any, measures: Any) -> Rated:
        if not self._is_active(subscription, time):
            return Rated("blocked", "not_active", subscription.id)
        trial_end = self._trial_end(subscription)
        in_trial = trial_end is not None and time < trial_end
        metered = [one for one in self._meters(subscription) if one.key in measures or ()]
        period = (subscription.start, trial_end) if in_trial else self._period(subscription, time)
        windows = {
            one.key: window_of(one.quota, time, trial_end if in_trial else None)
            if one.quota and one.quota.window
            else period
            for one in metered
        }
        places = {key: (subscription.id, key, "trial" if in_trial else "paid", *windows[key]) for key in windows}
        used = {key: replace(self.counters.get(place, Counter())) for key, place in places.items()}
        quantities = {one.key: _quantity(one, measures[one.key][0]) for one in metered}
        passing = passes(metered, quantities, used)
        if passing is None:
            blocked = [_blocked(one, quantities[one.key], used[one.key], period) for one in metered if one.charge]
            return Rated("blocked", "quota", subscription.id, tuple(blocked))
        lines: list[RatedLine] = []
        notices: list[Notice] = []
        standings: list[Standing] = []
        for one in metered:
            taken = self._take(one, measures[one.key], passing[one.key], time, used[one.key], in_trial)
            if taken is None:
                return Rated("rejected", "overflow", subscription.id)
            low, usage, new = taken
            lines += [RatedLine(one.id, line, *period) for line in new]
            if one.charge and passing[one.key] != quantities[one.key]:
                lines.append(_blocked(one, quantities[one.key] - passing[one.key], used[one.key], period))
            if one.quota or not in_trial:
                notices += notices_of(one, self._product(subscription), subscription, low, usage, windows[one.key])
            if one.quota:
                new = standings_of(one, subscription, low, usage, windows[one.key], logged)
                standings += [standing for standing in new if self._stands(subscription.id, standing)]
        self.counters.update({places[key]: counter for key, counter in used.items()})
        if not any(one.charge for one in metered) and not in_trial:
            return replace(self._exempt(event, subscription), notices=tuple(notices), standings=tuple(standings))
        told = tuple(notices), tuple(standings)
        return Rated("trial" if in_trial else "rated", None, subscription.id, tuple(lines), *told)

    def _exempt(self, event: Event, subscription: Any) -> Rated:
        exempt_where = self._product(subscription).exempt_where
        reason = "no_charge"
        if not self._lists(subscription, event.source):
            reason = "source_not_in_product"
        elif exempt_where is not None and sql.is_true(exempt_where, event):
            reason = "exempt_by_filter"
        return Rated("exempt", reason, subscription.id)

    def _take(
        self, one: Meter, measured: Any, passing: Fraction, time: datetime, counter: Counter, in_trial: bool
    ) -> Any:
        """What a meter takes of an event: the usage from which thresholds count, the usage before and after, the lines.

        None when an amount would have too many digits.
        """
        measure, multiplier = measured
        aggregation = one.meter.aggregation
        before = counter.usage(aggregation)
        counter.add(aggregation, passing if aggregation in ("count", "sum") else measure, time)
        after = counter.usage(aggregation)
        low, counter.peak = max(counter.peak, before), max(counter.peak, before, after)
        if one.quota:
            return None if abs(after) > LARGEST_USAGE else (low, (before, after), [])
        price = one.charge.price
        if abs(after) > largest_usage(price, any(rule.multiplier is not None for rule in one.rules)):
            return None
        if in_trial:
            return low, (before, after), [Line("trial", 0, after - before, before, after, Fraction(0))]
        new = lines_of(price, before, after, multiplier, counter.weighted)
        counter.weighted += round_half_away(multiplier * priced(free_usage(price), before, after), 6)
        return low, (before, after), new

    def _stands(self, subscription: str, standing: Standing) -> bool:
        """Whether a verdict holds: not while a later window is blocked."""
        key = subscription, standing.quota
        if key in self.blocked and standing.window[0] < self.blocked[key].window[0]:
            return False
        self.blocked.pop(key, None)
        if standing.verdict == "blocked":
            self.blocked[key] = standing
        return True

    def _is_active(self, subscription: Any, time: datetime) -> bool:
        if time < subscription.start or (subscription.end is not None and time >= subscription.end):
            return False
        period = self._product(subscription).settlement_period
        if period.test_mode and time >= subscription.start + timedelta(minutes=5 * TEST_MODE_PERIODS):
            return False
        cancelled = subscription.cancelled_at
        if cancelled is not None and not self._product(subscription).immediate_cancellation:
            trial_end = self._trial_end(subscription)
            over = self._period(subscription, cancelled)[1] or cancelled
            cancelled = min(over, trial_end) if trial_end is not None and cancelled < trial_end else over
        return cancelled is None or time < cancelled

    def _trial_end(self, subscription: Any) -> datetime | None:
        trial = self._product(subscription).free_trial
        return None if trial is None else subscription.start + timedelta(days=trial.days)

    def _period(self, subscription: Any, time: datetime) -> tuple[datetime, datetime | None]:
        settlement = self._product(subscription).settlement_period
        zone = self.zones.get(subscription.organization) or "UTC"
        return period_of(subscription.start, settlement.unit, settlement.count, zone, time)


def _quantity(one: Meter, measure: Fraction | str) -> Fraction:
    """What an event brings to a meter, as a line shows it; a value to be told apart counts as one."""
    return Fraction(1) if one.meter.aggregation == "unique" else measure


def _blocked(one: Meter, quantity: Fraction, counter: Counter, period: Any) -> RatedLine:
    usage = counter.usage(one.meter.aggregation)
    return RatedLine(one.id, Line("blocked", 0, quantity, usage, usage, Fraction(0)), *period)
