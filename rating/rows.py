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
    return _event_rows(batch, catalog) if len(batch.events) else pl.DataFrame(schema=_ROWS["events"])


def _event_rows(batch: Batch, catalog: CompiledCatalog) -> pl.DataFrame:
    """The owner is that of the subscription charged."""
    events = batch.events
    columns = catalog.subscriptions
    owner = batch.column("subscription")
    height = len(events)
    verdict = batch.column("verdict")
    return pl.DataFrame(
        [
            pl.Series("partition", [batch.partition], pl.Int32).new_from_index(0, height),
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
            picked(_VERDICTS, verdict).alias("verdict"),
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
    by_batch: dict[int, list[tuple[int, Rated]]] = {}
    for number, share in enumerate(rated):
        if len(share.rows):
            by_batch.setdefault(id(share.batch), []).append((number, share))
    parts = [_of_batch(shares, catalog) for shares in by_batch.values()]
    return Outcome(*(_joined(table, [part[place] for part in parts]) for place, table in enumerate(_ROWS)))


def _joined(table: str, parts: Sequence[tuple[pl.DataFrame, Index]]) -> pl.DataFrame:
    """Rows of several batches; those that come with the numbers of their shares, in the order of these."""
    if len(parts) == 1:
        return parts[0][0]
    rows = pl.concat([pl.DataFrame(schema=_ROWS[table]), *(rows for rows, _ in parts)])
    numbers = np.concatenate([np.zeros(0, np.int64), *(numbers for _, numbers in parts)])
    return rows[np.argsort(numbers, kind="stable")] if len(numbers) else rows


def _of_batch(shares: Sequence[tuple[int, Rated]], catalog: CompiledCatalog) -> list[tuple[pl.DataFrame, Index]]:
    """Rows of each table. The wide columns of a batch are taken once for all shares, nearly in the order of reading."""
    numbered = [share for _, share in shares]
    rows = np.concatenate([share.rows for share in numbered])
    order = np.argsort(rows)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    batch = _with_verdicts(numbered[0].batch.take(rows[order]), numbered, order, place)
    events = _event_rows(batch, catalog)
    starts = np.cumsum([0, *(len(share.rows) for share in numbered)]).tolist()
    crossed = [(number, share.crossings, place[start:]) for (number, share), start in zip(shares, starts, strict=False)]
    stood = [(number, share.standings, place[start:]) for (number, share), start in zip(shares, starts, strict=False)]
    unordered = np.zeros(0, np.int64)
    return [
        (events, unordered),
        (_lines(list(zip(numbered, starts, strict=False)), place, events, catalog), unordered),
        _told("notifications", crossed, notification_rows, events, catalog),
        _told("quota_verdicts", stood, verdict_rows, events, catalog),
    ]


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
    parts: Sequence[tuple[int, Any, Index]],
    rows_of: Callable[[Sequence[Any], Index, pl.DataFrame, CompiledCatalog], pl.DataFrame],
    events: pl.DataFrame,
    catalog: CompiledCatalog,
) -> tuple[pl.DataFrame, Index]:
    """Rows of what shares have to tell, and the number of the share of each; with the places of the shares' events."""
    told = [(number, part, place) for number, part, place in parts if part is not None]
    if not told:
        return pl.DataFrame(schema=_ROWS[table]), np.zeros(0, np.int64)
    event = np.concatenate([place[part.event] for _, part, place in told])
    numbers = np.repeat([number for number, _, _ in told], [len(part.event) for _, part, _ in told])
    return rows_of([part for _, part, _ in told], event, events, catalog), numbers


def _with_verdicts(batch: Batch, shares: Sequence[Rated], order: Index, place: Index) -> Batch:
    verdict = pl.Series("verdict", np.concatenate([share.verdict for share in shares])[order])
    words: dict[int, Words] = {}
    start = 0
    for share in shares:
        words |= {int(place[start + row]): said for row, said in share.words.items()}
        start += len(share.rows)
    columns = [verdict]
    for column, name in enumerate(("reason", "reason_detail") if words else ()):
        said = pl.Series([pair[column] for pair in words.values()], dtype=pl.String)
        columns.append(batch.events[name].clone().scatter(list(words), said))
    return Batch(batch.partition, batch.catalog, batch.events.with_columns(columns))
