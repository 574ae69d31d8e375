"""Ledger rows: events with their verdicts, and priced lines with everything that names them (contracts 4).

Owns the columns and their order; the arithmetic is `slices`. Rows of many shares are built at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.fold import Folded
from rating.lines import lines_of
from rating.measures import Batch, Pairs
from rating.periods import ENDLESS, Times
from rating.prices import Index, Mask
from rating.slices import LineKind, Usage
from rating.wide import Wide, picked
from schemas.decimals import AMOUNT_SCALE, PRICE_SCALE, QUANTITY_SCALE
from schemas.ledger import EVENTS, LINE_ITEMS, polars_schema
from schemas.verdicts import Reason, Verdict

_EVENT_ROWS = polars_schema(EVENTS)
_LINE_ROWS = polars_schema(LINE_ITEMS)
_VERDICTS = pl.Series([None, *(verdict.label for verdict in Verdict)], dtype=pl.String)
_KINDS = pl.Series([kind.label for kind in LineKind], dtype=pl.String)
_TIME = pl.Datetime("us", "UTC")
_OF_EVENT = (
    *("partition", "offset", "source", "event_id", "event_time", "subscription_id"),
    *("credential_id", "subscriber", "organization_id", "synthetic"),
)
_LATE_DETAIL = "its input lies further behind the others than the lateness; see `ratemill backfill`"
_OVERFLOW_DETAIL = "its usage would pass what 38 digits can price"


Words = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Rated:
    """A share after rating: rows of a batch with their verdicts (int8), and their pairs with running usage.

    `words` are reason and detail of the rows that rating itself decided, by their number in `rows`. Without any pair
    `folded` is None. `outcome` makes ledger rows of it.
    """

    batch: Batch
    rows: Index
    verdict: npt.NDArray[np.int8]
    words: dict[int, Words]
    pairs: Pairs
    folded: Folded | None

    def __reduce__(self) -> tuple[object, ...]:
        # To another process go the share's own events only.
        own = self.batch.take(self.rows), np.arange(len(self.rows))
        return Rated, (*own, self.verdict, self.words, self.pairs, self.folded)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows of the ledger tables `events` and `line_items`, columns and types as in `schemas.ledger`."""

    events: pl.DataFrame
    line_items: pl.DataFrame


def verdicts_after(
    verdict: npt.NDArray[np.int8], repeated: Mask, late: Mask, refused: Mask
) -> tuple[npt.NDArray[np.int8], dict[int, Words]]:
    """The verdicts, where repeats are duplicates, late ones late, and refused ones rejected for overflow."""
    words: dict[int, Words] = {}
    for rows, outcome, reason, detail in (
        (repeated, Verdict.DUPLICATE, None, None),
        (late, Verdict.LATE, Reason.LATENESS.value, _LATE_DETAIL),
        (refused, Verdict.REJECTED, Reason.OVERFLOW.value, _OVERFLOW_DETAIL),
    ):
        if rows.any():
            verdict = np.where(rows, np.int8(outcome), verdict)
            words |= dict.fromkeys(np.flatnonzero(rows).tolist(), (reason, detail))
    return verdict, words


def settled_rows(batch: Batch, catalog: CompiledCatalog) -> pl.DataFrame:
    """Rows of the ledger's `events` for events that need no rating."""
    return _event_rows(batch, catalog) if len(batch.events) else pl.DataFrame(schema=_EVENT_ROWS)


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
    """The ledger rows of these shares: batch by batch, in the order of the log."""
    by_batch: dict[int, list[Rated]] = {}
    for share in rated:
        if len(share.rows):
            by_batch.setdefault(id(share.batch), []).append(share)
    outcomes = [_outcome_of_batch(shares, catalog) for shares in by_batch.values()]
    if len(outcomes) == 1:
        return outcomes[0]
    events, lines = pl.DataFrame(schema=_EVENT_ROWS), pl.DataFrame(schema=_LINE_ROWS)
    return Outcome(
        pl.concat([events, *(one.events for one in outcomes)]),
        pl.concat([lines, *(one.line_items for one in outcomes)]),
    )


def _outcome_of_batch(shares: Sequence[Rated], catalog: CompiledCatalog) -> Outcome:
    """The wide columns of a batch are taken once for all shares, and nearly in the order in which they were read."""
    rows = np.concatenate([share.rows for share in shares])
    order = np.argsort(rows)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    batch = _with_verdicts(shares[0].batch.take(rows[order]), shares, order, place)
    events = _event_rows(batch, catalog)
    starts = np.cumsum([0, *(len(share.rows) for share in shares)]).tolist()
    paired = [(share, start) for share, start in zip(shares, starts, strict=False) if len(share.pairs.event)]
    if not paired:
        return Outcome(events, pl.DataFrame(schema=_LINE_ROWS))
    event = place[np.concatenate([share.pairs.event + start for share, start in paired])]
    return Outcome(events, _line_rows([share for share, _ in paired], event, events, catalog))


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


def _line_rows(shares: Sequence[Rated], event: Index, events: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    """The lines of all pairs of these shares; `event` is the row in `events` of each pair, share by share."""
    order = np.argsort(event, kind="stable")
    event = event[order]
    charge, start, end = (
        np.concatenate(columns)[order]
        for columns in zip(
            *((share.pairs.charge, share.pairs.period_start, share.pairs.period_end) for share in shares), strict=True
        )
    )
    trial = (events["verdict"] == Verdict.TRIAL.label).to_numpy()[event]
    lines = lines_of(_usage(shares, order, charge, trial), catalog.charges.prices)
    pair = lines["pair"].to_numpy()
    own = events.select(_OF_EVENT)
    if len(pair) != len(events) or (event[pair] != np.arange(len(events))).any():
        own = own[pl.Series(event[pair].astype(np.uint32))]
    return _named(lines, own, _numbers_within(event[pair]), charge[pair], start[pair], end[pair], catalog)


def _usage(shares: Sequence[Rated], order: Index, charge: Index, trial: Mask) -> Usage:
    folded = [share.folded for share in shares if share.folded is not None]
    multipliers = [share.pairs.multiplier for share in shares if share.pairs.multiplier is not None]
    weighted = [part.weighted_before for part in folded if part.weighted_before is not None]
    before, after = (
        np.take(np.concatenate(parts), order, axis=0)
        for parts in ([part.before for part in folded], [part.after for part in folded])
    )
    usage = Usage(charge, wide.to_series(before), wide.to_series(after), (before, after), trial)
    if not multipliers:
        return usage
    assert len(multipliers) == len(weighted) == len(shares), "either all shares have multipliers or none"
    return replace(usage, multiplier=_joined(multipliers, order), weighted_before=_joined(weighted, order))


def _joined(parts: Sequence[Wide], order: Index) -> pl.Series:
    return wide.to_series(np.take(np.concatenate(parts), order, axis=0))


def _period_end(moments: Times) -> pl.Series:
    end = pl.Series("period_end", moments).cast(_TIME)
    endless = moments == ENDLESS
    return end.set(pl.Series(endless), None) if endless.any() else end


def _numbers_within(event: Index) -> Index:
    """The number of each line within its event, from 0; an event's lines stand together."""
    begins = np.ones(len(event), np.bool_)
    begins[1:] = event[1:] != event[:-1]
    first = np.flatnonzero(begins)
    number: Index = np.arange(len(event)) - first[np.cumsum(begins) - 1]
    return number


def _named(
    lines: pl.DataFrame,
    events: pl.DataFrame,
    number: Index,
    charge: Index,
    period_start: Times,
    period_end: Times,
    catalog: CompiledCatalog,
) -> pl.DataFrame:
    """Lines with the columns that say what they belong to; all inputs have one row per line."""
    names = _charge_names(catalog)[pl.Series(charge.astype(np.uint32))]
    frame = pl.DataFrame(
        [
            picked(_KINDS, lines["kind"].to_numpy()).alias("line_kind"),
            *events.get_columns(),
            events["source"].alias("source_id"),
            *names.get_columns(),
            lines["tier"].cast(pl.Int32),
            pl.Series("period_start", period_start).cast(_TIME),
            _period_end(period_end),
            *(_decimal(lines[name], QUANTITY_SCALE) for name in ("quantity", "usage_before", "usage_after")),
            _decimal(lines["unit_price"], PRICE_SCALE),
            _decimal(lines["amount"], AMOUNT_SCALE),
            pl.Series("number", number),
            pl.Series("catalog_digest", [catalog.digest]).new_from_index(0, len(lines)),
        ]
    )
    return frame.with_columns(_line_ids(frame)).select(_LINE_ROWS.names())


def _line_ids(lines: pl.DataFrame) -> pl.Expr:
    """`<partition>-<offset>-<number>`; partition and number are few, so they are written once and looked up."""
    numbers = lines["number"].to_numpy()
    endings = pl.Series([f"-{number}" for number in range(int(numbers.max(initial=0)) + 1)])
    partition = lines["partition"]
    begin = pl.lit(f"{partition[0]}-") if partition.n_unique() == 1 else pl.col("partition").cast(pl.String) + "-"
    return (begin + pl.col("offset").cast(pl.String) + picked(endings, numbers)).alias("line_id")


def _charge_names(catalog: CompiledCatalog) -> pl.DataFrame:
    """One row per charge: the names that its lines bear."""
    products, charges = catalog.products, catalog.charges
    product = charges.product.tolist()
    return pl.DataFrame(
        {
            "product_id": pl.Series([products.ids[row] for row in product], dtype=pl.String),
            "product_version": pl.Series([products.versions[row] for row in product], dtype=pl.String),
            "charge_id": pl.Series(charges.ids, dtype=pl.String),
            "price_model": pl.Series(charges.price_models, dtype=pl.String),
            "currency": pl.Series([products.currencies[row] for row in product], dtype=pl.String),
        }
    )


def _decimal(units: pl.Series, scale: int) -> pl.Series:
    return wide.to_series(wide.from_series(units), scale).alias(units.name)
