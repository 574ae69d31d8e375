"""Whose usage is it, and when: subscription, times, lateness, for the records of one lane in the order of the log.

A lane is one input partition. It has one clock that never goes back: the greatest record time read so far, or, for
files, the greatest event time. Lateness is measured against it. The lane also knows the credentials that its events
have named under a subscription before the catalog did (semantics 7).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from rating.batch import DecodedBatch
from rating.catalog import CompiledCatalog
from rating.periods import FoundPeriods, Times
from rating.prices import Index, Mask
from schemas.verdicts import Reason, Verdict

NONE_YET = np.iinfo(np.int64).min
_SNAPSHOT_VERSION = 1
_NOBODY = -1
_AHEAD = "its time lies further ahead of its record than the skew allows"
_BEHIND = "its time lies further back than the lateness; see `ratemill backfill`"
_TIMELESS = "it has no `time`, and no record before it has one to stand in"


class _LaneSnapshot(msgspec.Struct, array_like=True):
    version: int
    latest_time: int
    credentials: dict[str, str]
    strangers: list[int] = []


@dataclass(slots=True)
class LaneState:
    """`latest_time` is the clock in microseconds UTC (NONE_YET at first); `credentials`: credential to subscription.

    `strangers` are hashes of what parked events have named. `found`, the periods and windows found last, only spares
    work and is no part of a snapshot; it belongs to the catalog with the digest `catalog`.
    """

    latest_time: int = NONE_YET
    credentials: dict[str, str] = field(default_factory=dict)
    found: tuple[FoundPeriods, FoundPeriods] | None = None
    catalog: str = ""
    strangers: set[int] = field(default_factory=set)

    @classmethod
    def new(cls) -> "LaneState":
        """The state before the first record."""
        return cls()

    def snapshot(self) -> bytes:
        """The state as versioned plain bytes."""
        return msgspec.msgpack.encode(
            _LaneSnapshot(_SNAPSHOT_VERSION, self.latest_time, self.credentials, sorted(self.strangers))
        )

    @classmethod
    def load(cls, snapshot: bytes) -> "LaneState":
        """The state that `snapshot` gave."""
        stored = msgspec.msgpack.decode(snapshot, type=_LaneSnapshot)
        assert stored.version == _SNAPSHOT_VERSION, f"lane state of version {stored.version} is not known"
        return cls(stored.latest_time, stored.credentials, strangers=set(stored.strangers))


@dataclass(slots=True)
class Resolved:
    """One row per record: times (int64 microseconds), the row of its subscription (-1: none), and what is decided.

    `record_time` is the lane's clock at the record. `discovered` credentials were met first here: by name, the row and
    the subscription that they are given. `verdict` (int8) is 0 while nothing is decided; `reason` and `detail` belong
    to the decided ones.
    """

    event_time: Times
    record_time: Times
    subscription: Index
    verdict: npt.NDArray[np.int8]
    reason: dict[int, Reason]
    detail: dict[int, str]
    discovered: dict[str, tuple[int, str]] = field(default_factory=dict)

    def decide(self, rows: Mask, verdict: Verdict, reason: Reason, detail: str | Callable[[int], str]) -> None:
        """Gives the rows a verdict, unless they have a greater one."""
        for row in np.flatnonzero(rows & (self.verdict < verdict)).tolist():
            self.verdict[row] = verdict
            self.reason[row] = reason
            self.detail[row] = detail if isinstance(detail, str) else detail(row)


def resolve(
    lane: LaneState, batch: DecodedBatch, catalog: CompiledCatalog, lateness: int | None, skew: int | None
) -> tuple[LaneState, Resolved]:
    """Finds each record's times and subscription, and decides what is rejected, late or parked by these alone.

    The given lane is consumed: it goes on as the one returned.
    """
    resolved = _with_times(lane, batch)
    if batch.record_times is not None and skew is not None:
        ahead = resolved.event_time > batch.record_times + skew
        resolved.decide(ahead, Verdict.REJECTED, Reason.SKEW, _AHEAD)
    if lateness is not None:
        late = resolved.record_time - resolved.event_time > lateness
        resolved.decide(late, Verdict.LATE, Reason.LATENESS, _BEHIND)
    _find_subscriptions(lane, batch, resolved, catalog)
    return lane, resolved


def _with_times(lane: LaneState, batch: DecodedBatch) -> Resolved:
    events = batch.events
    height = len(events)
    stated = events["event_time"].is_not_null().to_numpy()
    times = events["event_time"].fill_null(NONE_YET).to_numpy()
    read = times if batch.record_times is None else batch.record_times
    clock = np.maximum.accumulate(np.concatenate([[lane.latest_time], read]))[1:]
    own = clock if batch.record_times is None else batch.record_times
    resolved = Resolved(
        np.where(stated, times, own), clock, np.full(height, _NOBODY), np.zeros(height, np.int8), {}, {}
    )
    _take_over_refusals(events, resolved)
    timeless = resolved.event_time == NONE_YET
    resolved.decide(timeless, Verdict.REJECTED, Reason.BAD_TIME, _TIMELESS)
    if height:
        lane.latest_time = int(clock[-1])
    return resolved


def _take_over_refusals(events: pl.DataFrame, resolved: Resolved) -> None:
    if events["reason"].null_count() == len(events):
        return
    for row in events["reason"].is_not_null().arg_true().to_list():
        resolved.verdict[row] = Verdict.REJECTED
        resolved.reason[row] = Reason(events["reason"][row])
        resolved.detail[row] = events["reason_detail"][row]


def _find_subscriptions(lane: LaneState, batch: DecodedBatch, resolved: Resolved, catalog: CompiledCatalog) -> None:
    events = batch.events
    found = catalog.subscription_lookup.rows_of(events["subscription_id"])
    resolved.subscription[:] = found
    stated = events["subscription_id"].is_not_null().to_numpy()
    open_rows = resolved.verdict != Verdict.REJECTED
    resolved.decide(
        stated & (found < 0) & open_rows,
        Verdict.PARKED,
        Reason.UNKNOWN_SUBSCRIPTION,
        "no such subscription in the catalog",
    )
    credentialed = events["credential_id"].is_not_null().to_numpy()
    if credentialed.any():
        _by_credential(lane, batch, resolved, catalog, stated, credentialed)
    for row in np.flatnonzero(~stated & ~credentialed & open_rows).tolist():
        _by_owner(row, events, resolved, catalog)


def _by_credential(
    lane: LaneState,
    batch: DecodedBatch,
    resolved: Resolved,
    catalog: CompiledCatalog,
    stated: Mask,
    credentialed: Mask,
) -> None:
    """Charges events that name only a credential; a credential new to the catalog is known from its first event on."""
    asking = credentialed & ~stated & (resolved.verdict != Verdict.REJECTED)
    found = np.full(len(stated), _NOBODY)
    if asking.any():
        found[asking] = catalog.credential_lookup.rows_of(batch.events["credential_id"].filter(asking))
        found[found >= 0] = catalog.credential_owner[found[found >= 0]]
        resolved.subscription[asking] = found[asking]
    telling = credentialed & stated & (resolved.subscription >= 0) & (resolved.verdict == 0)
    discovered = _discovered(lane, batch, telling, catalog)
    homeless = np.zeros(len(stated), np.bool_)
    missing = np.flatnonzero(asking & (found < 0))
    for row, name in zip(missing.tolist(), batch.events["credential_id"].gather(missing), strict=True):
        first, home = discovered.get(name, (row, None))
        known = home if first < row else lane.credentials.get(name)
        resolved.subscription[row] = _NOBODY if known is None else catalog.subscription_rows.get(known, _NOBODY)
        homeless[row] = resolved.subscription[row] < 0
    resolved.discovered = discovered
    lane.credentials |= {name: home for name, (_, home) in discovered.items()}
    resolved.decide(homeless, Verdict.PARKED, Reason.UNKNOWN_CREDENTIAL, "no such credential in the catalog")


def _discovered(
    lane: LaneState, batch: DecodedBatch, telling: Mask, catalog: CompiledCatalog
) -> dict[str, tuple[int, str]]:
    """The credentials new to catalog and lane, each with the first of these rows that names it and a subscription."""
    if not telling.any():
        return {}
    known, found = catalog.credential_rows, lane.credentials
    rows = np.flatnonzero(telling)
    names = batch.events["credential_id"].gather(rows)
    new = [name for name in names.unique().to_list() if name not in known and name not in found]
    if not new:
        return {}
    rows = rows[names.is_in(new).to_numpy()]
    told = batch.events.select("credential_id", "subscription_id")[rows].iter_rows()
    first: dict[str, tuple[int, str]] = {}
    for row, (name, owner) in zip(rows.tolist(), told, strict=True):
        first.setdefault(name, (row, owner))
    return first


def _by_owner(row: int, events: pl.DataFrame, resolved: Resolved, catalog: CompiledCatalog) -> None:
    """Charges an event that names only a person or an organization, if that leaves exactly one active subscription."""
    email, organization = events["subscriber"][row], events["organization_id"][row]
    if email is not None:
        held, unknown, ambiguous = catalog.owners.get(email), Reason.UNKNOWN_SUBSCRIBER, Reason.AMBIGUOUS_SUBSCRIBER
    else:
        held = catalog.organizations.get(organization)
        unknown, ambiguous = Reason.UNKNOWN_ORGANIZATION, Reason.AMBIGUOUS_ORGANIZATION
    only = np.zeros(len(events), np.bool_)
    only[row] = True
    if held is None:
        resolved.decide(only, Verdict.PARKED, unknown, f"{email or organization} is not in the catalog")
        return
    moment, source = int(resolved.event_time[row]), events["source"][row]
    active = [subscription for subscription in held if _could_be_meant(subscription, moment, source, catalog)]
    if len(active) == 1:
        resolved.subscription[row] = active[0]
    else:
        sentence = f"{email or organization} has {len(active)} active subscriptions with this source, not exactly one"
        resolved.decide(only, Verdict.PARKED, ambiguous, sentence)


def _could_be_meant(subscription: int, moment: int, source: str, catalog: CompiledCatalog) -> bool:
    columns = catalog.subscriptions
    if not columns.life[subscription, 0] <= moment < columns.stated_end[subscription]:
        return False
    sources = catalog.products.sources[columns.product[subscription]]
    return sources is None or source in sources
