"""Notices that no usage causes: a subscription begins, a trial is about to end, a credential or a stranger shows up.

Owns when the calendar of a catalog has something to say, and the rows. The rule: an occasion of the calendar is told
once, when progress passes its moment; what records bring to light is told by the lane that meets it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl

from rating.catalog import CompiledCatalog
from rating.hashing import stable_hashes
from rating.notices import ids_of
from rating.periods import ENDLESS, Times, moment_of
from rating.prices import Index, Mask
from rating.resolve import LaneState
from schemas.ledger import NOTIFICATIONS, polars_schema
from schemas.verdicts import Verdict

_ROWS = polars_schema(NOTIFICATIONS)
_NOTHING = pl.DataFrame(schema=_ROWS)
_DAY = 86_400_000_000
_ID = ("kind", "subscription_id", "product_id", "product_version", "credential_id", "source", "details", "occurred_at")
_CREATED, _ENDING, _CONVERTED, _CANCELLED = range(4)
_OF_TRIALS = {_ENDING: "trial_ending", _CONVERTED: "trial_converted"}
# What a lane remembers of strangers; after so many it begins anew, and tells of some again, under the same ids.
_STRANGERS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Calendar:
    """The occasions of some subscriptions of a catalog, by ascending moment (microseconds UTC)."""

    catalog: CompiledCatalog
    moment: Times
    kind: Index
    subscription: Index

    @classmethod
    def of(cls, catalog: CompiledCatalog, own: Mask) -> "Calendar":
        """Those of the subscriptions marked `own`: each start and cancellation, the end of each trial that converts,
        and 24 hours before the end of a trial that says so.
        """
        columns = catalog.subscriptions
        start, end, trial_end, _ = columns.life.T
        warned = trial_end - _DAY
        ending = own & catalog.products.notifies_trial[columns.product] & (warned >= start)
        ending &= (end > warned) & (columns.cancelled_at > warned)
        converted = own & (trial_end > start) & (end > trial_end)
        cancelled = own & (columns.cancelled_at != ENDLESS)
        moments = {_CREATED: (own, start), _ENDING: (ending, warned)}
        moments |= {_CONVERTED: (converted, trial_end), _CANCELLED: (cancelled, columns.cancelled_at)}
        rows = {number: np.flatnonzero(whose) for number, (whose, _) in moments.items()}
        moment = np.concatenate([moments[number][1][found] for number, found in rows.items()])
        kind = np.repeat(list(rows), [len(found) for found in rows.values()])
        order = np.argsort(moment, kind="stable")
        return cls(catalog, moment[order], kind[order], np.concatenate(list(rows.values()))[order])

    def between(self, after: int, until: int) -> pl.DataFrame:
        """The notices of the occasions later than one moment and not later than another."""
        first, behind = np.searchsorted(self.moment, [after, until], side="right").tolist()
        if first >= behind:
            return _NOTHING
        return self._rows(np.arange(first, behind))

    def of_newcomers(self, before: CompiledCatalog, until: int) -> pl.DataFrame:
        """The notices that are overdue at a moment, of subscriptions and cancellations that the catalog before did not
        have.
        """
        places = np.arange(np.searchsorted(self.moment, until, side="right"))
        own = self.subscription[places]
        known = before.subscriptions.rows_of_hashes(self.catalog.subscriptions.hashes[own])
        is_news = known < 0
        if len(before.subscriptions.cancelled_at):
            stated = before.subscriptions.cancelled_at[np.maximum(known, 0)]
            is_news |= (self.kind[places] == _CANCELLED) & (stated != self.catalog.subscriptions.cancelled_at[own])
        return self._rows(places[is_news])

    def _rows(self, places: Index) -> pl.DataFrame:
        return _frame([self._row(place) for place in places.tolist()], self.catalog)

    def _row(self, place: int) -> dict[str, Any]:
        catalog, row = self.catalog, int(self.subscription[place])
        columns = catalog.subscriptions
        start, end, trial_end, _ = columns.life[row].tolist()
        on_trial = _text(trial_end) if trial_end > start else None
        whole = _of_subscription(row, catalog) | {"occurred_at": moment_of(int(self.moment[place]))}
        owner = columns.subscriber[row]
        kind = int(self.kind[place])
        if kind in _OF_TRIALS:
            return whole | {"kind": _OF_TRIALS[kind], "details": {"trial_end": on_trial}, "recipients": [owner]}
        if kind == _CANCELLED:
            cancelled = {"cancelled_at": _text(int(columns.cancelled_at[row])), "end": _text(end)}
            told = list(dict.fromkeys((*whole["recipients"], owner)))
            return whole | {"kind": "subscription_cancelled", "details": cancelled, "recipients": told}
        details = {"start": _text(start), "end": None if end == ENDLESS else _text(end), "trial_end": on_trial}
        return whole | {"kind": "subscription_created", "details": details}


def brought_to_light(
    lane: LaneState,
    events: pl.DataFrame,
    credentials: Mapping[str, tuple[int, str]],
    partition: int,
    catalog: CompiledCatalog,
) -> pl.DataFrame:
    """The notices of what a lane meets first in these events.

    `credentials` are those that the catalog does not know: by name the row in `events` and the subscription that each
    is given. Of parked events one is told of for each source, reason and name; `lane` remembers them.
    """
    parked = np.flatnonzero((events["verdict"] == Verdict.PARKED).to_numpy())
    if not credentials and not len(parked):
        return _NOTHING
    rows = [_discovered(events, row, name, owner, catalog) for name, (row, owner) in credentials.items()]
    rows += [_parked(events, row) for row in _strangers(lane, events, parked)]
    return _frame([row | {"partition": partition} for row in rows], catalog, told_when=False)


def _discovered(events: pl.DataFrame, row: int, name: str, owner: str, catalog: CompiledCatalog) -> dict[str, Any]:
    whole = _of_subscription(catalog.subscription_rows[owner], catalog)
    return whole | _of_event(events, row) | {"kind": "credential_discovered", "credential_id": name}


def _parked(events: pl.DataFrame, row: int) -> dict[str, Any]:
    event = events.row(row, named=True)
    named = {name: event[name] for name in ("subscription_id", "credential_id", "subscriber", "organization_id")}
    details = {"reason": event["reason"], "reason_detail": event["reason_detail"]}
    return named | _of_event(events, row) | {"kind": "event_parked", "details": details, "recipients": []}


def _strangers(lane: LaneState, events: pl.DataFrame, rows: Index) -> list[int]:
    """The first of these events of each source, reason and name that the lane has not met yet; it has then."""
    names = ("source", "reason", "subscription_id", "credential_id", "subscriber", "organization_id")
    said = events[pl.Series(rows.astype(np.uint32))].select(
        pl.concat_str([pl.col(name).fill_null("") for name in names], separator="\n")
    )
    hashes = stable_hashes(said.to_series())[:, 0]
    _, first = np.unique(hashes, return_index=True)
    fresh = [place for place in np.sort(first).tolist() if int(hashes[place]) not in lane.strangers]
    if len(lane.strangers) + len(fresh) > _STRANGERS_KEPT:
        lane.strangers.clear()
    lane.strangers.update(int(hashes[place]) for place in fresh)
    return [int(rows[place]) for place in fresh]


def _of_event(events: pl.DataFrame, row: int) -> dict[str, Any]:
    event = events.row(row, named=True)
    kept = {name: event[name] for name in ("offset", "source", "event_id", "synthetic")}
    return kept | {"occurred_at": moment_of(event["event_time"])}


def _of_subscription(row: int, catalog: CompiledCatalog) -> dict[str, Any]:
    columns, product = catalog.subscriptions, int(catalog.subscriptions.product[row])
    return {
        "subscription_id": columns.ids[row],
        "subscriber": columns.subscriber[row],
        "organization_id": columns.organization[row],
        "product_id": catalog.products.ids[product],
        "product_version": catalog.products.versions[product],
        "recipients": list(catalog.addresses.of_products[product]),
        "synthetic": False,
    }


def _text(moment: int) -> str:
    return moment_of(moment).isoformat().replace("+00:00", "Z")


def _frame(rows: Sequence[dict[str, Any]], catalog: CompiledCatalog, *, told_when: bool = True) -> pl.DataFrame:
    """Rows of `notifications`; the id says when only where the same may happen again."""
    whole = [
        dict.fromkeys(_ROWS) | row | {"details": _json(row.get("details")), "catalog_digest": catalog.digest}
        for row in rows
    ]
    frame = pl.DataFrame(whole, schema=_ROWS)
    return frame.with_columns(notification_id=ids_of(frame, _ID if told_when else _ID[:-1]))


def _json(details: Mapping[str, Any] | None) -> str | None:
    return None if details is None else orjson.dumps(details).decode()
