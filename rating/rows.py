"""Ledger rows of rated shares: events with their verdicts, their lines, and the notices of what they crossed.

Owns the columns of events; those of lines are `line_rows`, of notices `notices`. Rows of many shares are built at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rating.catalog import CompiledCatalog
from rating.line_rows import line_rows
from rating.notices import notification_rows
from rating.pairs import Batch
from rating.prices import Index
from rating.rated import Rated, Words
from rating.standings import verdict_rows
from rating.wide import picked
from schemas.ledger import RATED, TABLES, polars_schema
from schemas.verdicts import Verdict

_ROWS = {table: polars_schema(TABLES[table]) for table in RATED}
_VERDICTS = pl.Series([None, *(verdict.label for verdict in Verdict)], dtype=pl.String)
_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows of the ledger tables with these names, columns and types as in `schemas.ledger`."""

    events: pl.DataFrame
    line_items: pl.DataFrame
    notifications: pl.DataFrame
    quota_verdicts: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """The rows by the name of their table."""
        return {table: getattr(self, table) for table in RATED}


def settled_rows(batch: Batch, catalog: CompiledCatalog) -> pl.DataFrame:
    """Rows of the ledger's `events` for events that need no rating."""
    height = len(batch.events)
    if not height:
        return pl.DataFrame(schema=_ROWS["events"])
    partition = pl.Series("partition", [batch.partition], pl.Int32).new_from_index(0, height)
    return _event_rows(partition, batch.events, catalog)


def _event_rows(partition: pl.Series, events: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    """The owner is that of the subscription charged."""
    columns = catalog.subscriptions
    owner = events["subscription"].to_numpy()
    return pl.DataFrame(
        [
            partition,
            events["offset"],
            _time(events["record_time"]),
            events["source"],
            events["event_id"],
            _time(events["event_time"]),
            _or_of_subscription(events["subscription_id"], columns.ids, owner),
            events["credential_id"],
            _or_of_subscription(events["subscriber"], columns.subscriber, owner),
            _or_of_subscription(events["organization_id"], columns.organization, owner),
            events["synthetic"],
            picked(_VERDICTS, events["verdict"].to_numpy()).alias("verdict"),
            events["reason"],
            events["reason_detail"],
            events["content_digest"],
            events["data"],
        ]
    )


def _time(moments: pl.Series) -> pl.Series:
    """Microseconds as UTC times; those that are none yet, null."""
    none = moments == np.iinfo(np.int64).min
    return (moments.set(none, None) if none.any() else moments).cast(_TIME)


def _or_of_subscription(stated: pl.Series, of_subscription: pl.Series, owner: Index) -> pl.Series:
    """What the event states, or where it states nothing, what its subscription has."""
    unstated = stated.is_null().to_numpy() & (owner >= 0)
    if not unstated.any() or of_subscription.null_count() == len(of_subscription):
        return stated
    found = picked(of_subscription, np.where(unstated, owner, 0))
    return (
        found.alias(stated.name) if unstated.all() else found.zip_with(pl.Series(unstated), stated).alias(stated.name)
    )


def outcome(rated: Sequence[Rated], catalog: CompiledCatalog) -> Outcome:
    """The ledger rows of these shares: events and lines batch by batch, in the order of the log.

    What is told of them stands in the order of the shares: a key group may have rated batches in another order than
    its neighbours, and the last that is told of a subscription must be the last that was rated.
    """
    shares = [share for share in rated if len(share.rows)]
    if not shares:
        return Outcome(*(pl.DataFrame(schema=schema) for schema in _ROWS.values()))
    partition, events, place = _gathered(shares)
    rows = _event_rows(partition, events, catalog)
    starts = np.cumsum([0, *(len(share.rows) for share in shares)]).tolist()
    placed = list(zip(shares, starts, strict=False))
    crossed = [(share.crossings, place[start:]) for share, start in placed]
    stood = [(share.standings, place[start:]) for share, start in placed]
    return Outcome(
        rows,
        _lines(placed, place, rows, catalog),
        _told("notifications", crossed, notification_rows, rows, catalog),
        _told("quota_verdicts", stood, verdict_rows, rows, catalog),
    )


def _gathered(shares: Sequence[Rated]) -> tuple[pl.Series, pl.DataFrame, Index]:
    """The events of all shares, batch by batch in the order of reading, with the partition of each; and the place
    there of each row of the shares. The wide columns of a batch are taken once for all its shares, nearly in order.
    """
    batches = list({id(share.batch): share.batch for share in shares}.values())
    number_of = {id(batch): number for number, batch in enumerate(batches)}
    starts = np.cumsum([0, *(len(batch.events) for batch in batches)])
    rows = np.concatenate([share.rows + starts[number_of[id(share.batch)]] for share in shares])
    order = np.argsort(rows)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = rows[order]
    bounds = np.searchsorted(rows, starts)
    taken = [
        batch.take(rows[bounds[number] : bounds[number + 1]] - starts[number]).events
        for number, batch in enumerate(batches)
    ]
    events = pl.concat(taken, rechunk=True) if len(taken) > 1 else taken[0]
    partition = np.repeat(np.array([batch.partition for batch in batches], np.int32), np.diff(bounds))
    return pl.Series("partition", partition), _with_verdicts(events, shares, order, place), place


def _lines(
    shares: Sequence[tuple[Rated, int]], place: Index, events: pl.DataFrame, catalog: CompiledCatalog
) -> pl.DataFrame:
    paired = [(share, start) for share, start in shares if len(share.pairs.event)]
    if not paired:
        return pl.DataFrame(schema=_ROWS["line_items"])
    event = place[np.concatenate([share.pairs.event + start for share, start in paired])]
    return line_rows([share for share, _ in paired], event, events, catalog)


def _told(
    table: str,
    parts: Sequence[tuple[Any, Index]],
    rows_of: Callable[[Sequence[Any], Index, pl.DataFrame, CompiledCatalog], pl.DataFrame],
    events: pl.DataFrame,
    catalog: CompiledCatalog,
) -> pl.DataFrame:
    """Rows of what shares have to tell, each with the places of its events."""
    told = [(part, place) for part, place in parts if part is not None]
    if not told:
        return pl.DataFrame(schema=_ROWS[table])
    event = np.concatenate([place[part.event] for part, place in told])
    return rows_of([part for part, _ in told], event, events, catalog)


def _with_verdicts(events: pl.DataFrame, shares: Sequence[Rated], order: Index, place: Index) -> pl.DataFrame:
    verdict = pl.Series("verdict", np.concatenate([share.verdict for share in shares])[order])
    words: dict[int, Words] = {}
    start = 0
    for share in shares:
        words |= {int(place[start + row]): said for row, said in share.words.items()}
        start += len(share.rows)
    columns = [verdict]
    for column, name in enumerate(("reason", "reason_detail") if words else ()):
        said = pl.Series([pair[column] for pair in words.values()], dtype=pl.String)
        columns.append(events[name].clone().scatter(list(words), said))
    return events.with_columns(columns)
