"""Ledger rows: events with their verdicts, and priced lines with everything that names them (contracts 4).

Owns the columns and their order; the arithmetic is `slices`. Rows of many shares are built at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.fold import Folded
from rating.lines import lines_of
from rating.measures import Pairs
from rating.periods import ENDLESS, Times
from rating.prices import Index, Mask
from rating.slices import LineKind, Usage
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


@dataclass(frozen=True, slots=True)
class Rated:
    """A share after rating: its events with verdicts, and its pairs with running usage (None: there is no pair).

    Slim on purpose, for it may travel between processes; `outcome` makes ledger rows of it.
    """

    partition: int
    events: pl.DataFrame
    pairs: Pairs
    folded: Folded | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows of the ledger tables `events` and `line_items`, columns and types as in `schemas.ledger`."""

    events: pl.DataFrame
    line_items: pl.DataFrame


def with_verdicts(events: pl.DataFrame, repeated: Mask, late: Mask, refused: Mask) -> pl.DataFrame:
    """The events, where repeats are duplicates, late ones late, and refused ones rejected for overflow."""
    changed = repeated | late | refused
    if not changed.any():
        return events
    verdict = events["verdict"].to_numpy().copy()
    words = {name: events[name].to_list() for name in ("reason", "reason_detail")}
    for rows, outcome, reason, detail in (
        (repeated, Verdict.DUPLICATE, None, None),
        (late, Verdict.LATE, Reason.LATENESS.value, _LATE_DETAIL),
        (refused, Verdict.REJECTED, Reason.OVERFLOW.value, _OVERFLOW_DETAIL),
    ):
        verdict[rows] = outcome
        for row in np.flatnonzero(rows).tolist():
            words["reason"][row], words["reason_detail"][row] = reason, detail
    named = (pl.Series(name, values, dtype=pl.String) for name, values in words.items())
    return events.with_columns(pl.Series("verdict", verdict), *named)


def event_rows(events: pl.DataFrame, partition: int, catalog: CompiledCatalog) -> pl.DataFrame:
    """Rows of the ledger's `events` from `measures.event_columns`; the owner is that of the subscription charged."""
    if events.is_empty():
        return pl.DataFrame(schema=_EVENT_ROWS)
    return _event_rows(events.with_columns(pl.lit(partition, pl.Int32).alias("partition")), catalog)


def _event_rows(events: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    columns = catalog.subscriptions
    owner = events["subscription"]
    known = owner.set(owner < 0, None)
    subscription = columns.ids.gather(known)
    if known.has_nulls():
        subscription = subscription.zip_with(known.is_not_null(), events["subscription_id"])
    return events.select(
        "partition",
        "offset",
        _time(events["record_time"]),
        "source",
        "event_id",
        _time(events["event_time"]),
        subscription.alias("subscription_id"),
        "credential_id",
        _or_of_subscription(events["subscriber"], columns.subscriber, known),
        _or_of_subscription(events["organization_id"], columns.organization, known),
        "synthetic",
        _VERDICTS.gather(events["verdict"].cast(pl.UInt32)).alias("verdict"),
        "reason",
        "reason_detail",
        "content_digest",
        "data",
    )


def _time(moments: pl.Series) -> pl.Series:
    """Microseconds as UTC times; those that are none yet, null."""
    return moments.set(moments == np.iinfo(np.int64).min, None).cast(_TIME)


def _or_of_subscription(stated: pl.Series, of_subscription: pl.Series, known: pl.Series) -> pl.Series:
    if not stated.has_nulls():
        return stated
    return stated.zip_with(stated.is_not_null(), of_subscription.gather(known)).alias(stated.name)


def outcome(rated: Sequence[Rated], catalog: CompiledCatalog) -> Outcome:
    """The ledger rows of these shares, in their order."""
    filled = [share for share in rated if len(share.events)]
    if not filled:
        return Outcome(pl.DataFrame(schema=_EVENT_ROWS), pl.DataFrame(schema=_LINE_ROWS))
    events = _event_rows(
        pl.concat(
            [share.events.with_columns(pl.lit(share.partition, pl.Int32).alias("partition")) for share in filled]
        ),
        catalog,
    )
    starts = np.cumsum([0, *(len(share.events) for share in filled)])
    paired = [(share, int(start)) for share, start in zip(filled, starts[:-1], strict=True) if len(share.pairs.event)]
    if not paired:
        return Outcome(events, pl.DataFrame(schema=_LINE_ROWS))
    return Outcome(events, _line_rows(paired, events, catalog))


def _line_rows(paired: Sequence[tuple[Rated, int]], events: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    event = np.concatenate([share.pairs.event + start for share, start in paired])
    charge = np.concatenate([share.pairs.charge for share, _ in paired])
    lines = lines_of(_usage([share for share, _ in paired], charge, events, event), catalog.charges.prices)
    pair = lines["pair"].to_numpy()
    start = np.concatenate([share.pairs.period_start for share, _ in paired])
    end = np.concatenate([share.pairs.period_end for share, _ in paired])
    own = events.select(_OF_EVENT)
    if len(pair) != len(events) or (event[pair] != np.arange(len(events))).any():
        own = own[pl.Series(event[pair].astype(np.uint32))]
    return _named(lines, own, _numbers_within(event[pair]), charge[pair], start[pair], end[pair], catalog)


def _usage(shares: Sequence[Rated], charge: Index, events: pl.DataFrame, event: Index) -> Usage:
    folded = [share.folded for share in shares if share.folded is not None]
    before = wide.to_series(np.concatenate([part.before for part in folded]))
    after = wide.to_series(np.concatenate([part.after for part in folded]))
    trial = (events["verdict"] == Verdict.TRIAL.label).to_numpy()[event]
    multipliers = [share.pairs.multiplier for share in shares if share.pairs.multiplier is not None]
    weighted = [part.weighted_before for part in folded if part.weighted_before is not None]
    if not multipliers:
        return Usage(charge, before, after, trial)
    assert len(multipliers) == len(weighted) == len(shares), "either all shares have multipliers or none"
    return Usage(
        charge,
        before,
        after,
        trial,
        wide.to_series(np.concatenate(multipliers)),
        wide.to_series(np.concatenate(weighted)),
    )


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
    names = _charge_names(catalog).select(pl.all().gather(charge))
    amount = lines["quantity"] * lines["unit_price"]
    endless = pl.Series(period_end == ENDLESS)
    frame = pl.DataFrame(
        [
            lines["kind"].alias("line_kind"),
            *events.get_columns(),
            events["source"].alias("source_id"),
            *names.get_columns(),
            lines["tier"].cast(pl.Int32),
            pl.Series("period_start", period_start).cast(_TIME),
            pl.Series("period_end", period_end).set(endless, None).cast(_TIME),
            *(_decimal(lines[name], QUANTITY_SCALE) for name in ("quantity", "usage_before", "usage_after")),
            _decimal(lines["unit_price"], PRICE_SCALE),
            _decimal(amount.alias("amount"), AMOUNT_SCALE),
            pl.Series("number", number),
        ]
    )
    return frame.with_columns(
        _line_ids(frame).alias("line_id"),
        _KINDS.gather(lines["kind"]).alias("line_kind"),
        pl.lit(catalog.digest).alias("catalog_digest"),
    ).select(_LINE_ROWS.names())


def _line_ids(lines: pl.DataFrame) -> pl.Expr:
    """`<partition>-<offset>-<number>`; partition and number are few, so they are written once and looked up."""
    most = int(lines["number"].to_numpy().max(initial=0))
    numbers = pl.Series([f"-{number}" for number in range(most + 1)])
    partition = lines["partition"]
    begin = pl.lit(f"{partition[0]}-") if partition.n_unique() == 1 else pl.col("partition").cast(pl.String) + "-"
    return begin + pl.col("offset").cast(pl.String) + numbers.gather(lines["number"])


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
