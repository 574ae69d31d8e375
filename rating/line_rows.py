"""Rows of the ledger's `line_items`: priced lines with everything that names them (contracts 4).

Owns the columns and their order; the arithmetic is `lines` and `slices`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.lines import lines_of
from rating.periods import Times, ends_of
from rating.prices import Index, Mask
from rating.rated import Rated
from rating.slices import Blocked, LineKind, Usage
from rating.wide import Wide, picked
from schemas.decimals import AMOUNT_SCALE, PRICE_SCALE, QUANTITY_SCALE
from schemas.ledger import LINE_ITEMS, polars_schema
from schemas.verdicts import Verdict

_LINE_ROWS = polars_schema(LINE_ITEMS)
_KINDS = pl.Series([kind.label for kind in LineKind], dtype=pl.String)
_TIME = pl.Datetime("us", "UTC")
_OF_EVENT = (
    *("partition", "offset", "source", "event_id", "event_time", "subscription_id"),
    *("credential_id", "subscriber", "organization_id", "synthetic"),
)


def line_rows(shares: Sequence[Rated], event: Index, events: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
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
    usage = Usage(
        charge, wide.to_series(before), wide.to_series(after), (before, after), trial, _blocked(shares, order)
    )
    if not multipliers:
        return usage
    assert len(multipliers) == len(weighted) == len(shares), "either all shares have multipliers or none"
    return replace(usage, multiplier=_joined(multipliers, order), weighted_before=_joined(weighted, order))


def _blocked(shares: Sequence[Rated], order: Index) -> Blocked | None:
    """What quotas take away, of the pairs in this order."""
    if all(share.pairs.blocked is None for share in shares):
        return None
    none = [np.zeros(len(share.pairs.event), np.bool_) for share in shares]
    marks = [
        own if share.pairs.blocked is None else share.pairs.blocked for share, own in zip(shares, none, strict=True)
    ]
    pair = np.flatnonzero(np.concatenate(marks)[order])
    quantity = np.concatenate([share.pairs.quantity for share in shares])
    return Blocked(pair, wide.to_series(np.take(quantity, order[pair], axis=0)))


def _joined(parts: Sequence[Wide], order: Index) -> pl.Series:
    return wide.to_series(np.take(np.concatenate(parts), order, axis=0))


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
            ends_of(period_end).alias("period_end"),
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
    return (_beginnings(lines["partition"]) + pl.col("offset").cast(pl.String) + picked(endings, numbers)).alias(
        "line_id"
    )


def _beginnings(partition: pl.Series) -> pl.Expr:
    numbers = partition.to_numpy()
    begins = np.ones(len(numbers), np.bool_)
    begins[1:] = numbers[1:] != numbers[:-1]
    written = [f"{number}-" for number in numbers[begins].tolist()]
    return pl.lit(written[0]) if len(written) == 1 else pl.lit(picked(pl.Series(written), np.cumsum(begins) - 1))


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
