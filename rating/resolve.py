"""Whose usage is it, and when: subscription, times, lateness, for the records of one lane in the order of the log.

A lane is one input partition. Its state is the greatest event time read so far, which stands for the record time of
files, and the credentials that its events have named under a subscription before the catalog knew them (semantics 7).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from rating.batch import DecodedBatch
from rating.catalog import CompiledCatalog
from rating.periods import Times
from rating.prices import Index, Mask
from schemas.verdicts import Reason, Verdict

NONE_YET = np.iinfo(np.int64).min
_SNAPSHOT_VERSION = 1
_NOBODY = -1


class _LaneSnapshot(msgspec.Struct, array_like=True):
    version: int
    latest_time: int
    credentials: dict[str, str]


@dataclass(slots=True)
class LaneState:
    """`latest_time` in microseconds UTC (NONE_YET before the first event); `credentials`: credential to subscription."""

    latest_time: int = NONE_YET
    credentials: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls) -> "LaneState":
        """The state before the first record."""
        return cls()

    def snapshot(self) -> bytes:
        """The state as versioned plain bytes."""
        return msgspec.msgpack.encode(_LaneSnapshot(_SNAPSHOT_VERSION, self.latest_time, self.credentials))

    @classmethod
    def load(cls, snapshot: bytes) -> "LaneState":
        """The state that `snapshot` gave."""
        stored = msgspec.msgpack.decode(snapshot, type=_LaneSnapshot)
        assert stored.version == _SNAPSHOT_VERSION, f"lane state of version {stored.version} is not known"
        return cls(stored.latest_time, stored.credentials)


@dataclass(slots=True)
class Resolved:
    """One row per record: times (int64 microseconds), the row of its subscription (-1: none), and what is decided.

    `verdict` (int8) is 0 while nothing is decided; `reason` and `detail` belong to the decided ones.
    """

    event_time: Times
    record_time: Times
    subscription: Index
    verdict: npt.NDArray[np.int8]
    reason: dict[int, Reason]
    detail: dict[int, str]

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
        ahead = resolved.event_time > resolved.record_time + skew
        resolved.decide(ahead, Verdict.REJECTED, Reason.SKEW, "its time lies further ahead of its record than the skew allows")
    if lateness is not None:
        late = resolved.record_time - resolved.event_time > lateness
        resolved.decide(late, Verdict.LATE, Reason.LATENESS, "its time lies further back than the lateness; see `ratemill backfill`")
    _find_subscriptions(lane, batch.events, resolved, catalog)
    return lane, resolved


def _with_times(lane: LaneState, batch: DecodedBatch) -> Resolved:
    events = batch.events
    height = len(events)
    verdict = np.zeros(height, np.int8)
    stated = events["event_time"].is_not_null().to_numpy()
    times = events["event_time"].fill_null(NONE_YET).to_numpy()
    if batch.record_times is None:
        latest = np.concatenate([[lane.latest_time], times])
        record_time = np.maximum.accumulate(latest)[1:]
    else:
        record_time = batch.record_times
    resolved = Resolved(
        np.where(stated, times, record_time), record_time, np.full(height, _NOBODY), verdict, {}, {}
    )
    _take_over_refusals(events, resolved)
    timeless = resolved.event_time == NONE_YET
    resolved.decide(timeless, Verdict.REJECTED, Reason.BAD_TIME, "it has no `time`, and no record before it has one to stand in")
    if height:
        lane.latest_time = max(lane.latest_time, int(record_time[-1]))
    return resolved


def _take_over_refusals(events: pl.DataFrame, resolved: Resolved) -> None:
    if events["reason"].null_count() == len(events):
        return
    for row in events["reason"].is_not_null().arg_true().to_list():
        resolved.verdict[row] = Verdict.REJECTED
        resolved.reason[row] = Reason(events["reason"][row])
        resolved.detail[row] = events["reason_detail"][row]


def _find_subscriptions(lane: LaneState, events: pl.DataFrame, resolved: Resolved, catalog: CompiledCatalog) -> None:
    known = catalog.subscription_rows.get
    names = events["subscription_id"]
    found = np.fromiter(map(known, names.to_list(), repeat(_NOBODY)), np.int64, len(names))
    resolved.subscription[:] = found
    stated = names.is_not_null().to_numpy()
    open_rows = resolved.verdict != Verdict.REJECTED
    resolved.decide(
        stated & (found < 0) & open_rows, Verdict.PARKED, Reason.UNKNOWN_SUBSCRIPTION, "no such subscription in the catalog"
    )
    if events["credential_id"].null_count() < len(events):
        _by_credential(lane, events, resolved, catalog, stated)
    others = np.flatnonzero(~stated & events["credential_id"].is_null().to_numpy() & open_rows)
    for row in others.tolist():
        _by_owner(row, events, resolved, catalog)


def _by_credential(
    lane: LaneState, events: pl.DataFrame, resolved: Resolved, catalog: CompiledCatalog, stated: Mask
) -> None:
    """Charges events that name only a credential; a credential new to the catalog is known from its first event on."""
    names = events["credential_id"].to_list()
    found = np.fromiter(map(catalog.credential_rows.get, names, repeat(_NOBODY)), np.int64, len(names))
    charged = ~stated & (found >= 0)
    resolved.subscription[charged] = found[charged]
    unknown = (found < 0) & events["credential_id"].is_not_null().to_numpy()
    discovering = unknown & stated & (resolved.subscription >= 0) & (resolved.verdict == 0)
    asking = np.flatnonzero(unknown & ~stated & (resolved.verdict != Verdict.REJECTED))
    if not len(asking):
        _discover(lane, events, discovering)
        return
    begin = 0
    homeless = np.zeros(len(names), np.bool_)
    for row in asking.tolist():
        _discover(lane, events, discovering, begin, row)
        begin = row
        home = lane.credentials.get(names[row])
        resolved.subscription[row] = _NOBODY if home is None else catalog.subscription_rows.get(home, _NOBODY)
        homeless[row] = resolved.subscription[row] < 0
    _discover(lane, events, discovering, begin)
    resolved.decide(homeless, Verdict.PARKED, Reason.UNKNOWN_CREDENTIAL, "no such credential in the catalog")


def _discover(lane: LaneState, events: pl.DataFrame, discovering: Mask, start: int = 0, stop: int | None = None) -> None:
    """Notes the credentials that these rows name for the first time; the first subscription named keeps them."""
    rows = np.flatnonzero(discovering[start:stop]) + start
    if not len(rows):
        return
    named = events.select("credential_id", "subscription_id")[rows].reverse()
    first = dict(zip(named["credential_id"].to_list(), named["subscription_id"].to_list(), strict=True))
    lane.credentials.update({name: home for name, home in reversed(first.items()) if name not in lane.credentials})


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
    if not columns.start[subscription] <= moment < columns.stated_end[subscription]:
        return False
    sources = catalog.products.sources[columns.product[subscription]]
    return sources is None or source in sources
