"""How quotas stand: rows of the ledger's `quota_verdicts`, for gateways that let requests through or stop them.

A verdict is told anew whenever a threshold or a mark of the quota is crossed, and when usage falls back below a limit.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.fold import Folded
from rating.pairs import Pairs, subscriptions_of
from rating.periods import Times, ends_of
from rating.prices import Index
from rating.rated import Standings
from rating.thresholds import Crossed
from schemas.decimals import QUANTITY_SCALE
from schemas.ledger import QUOTA_VERDICTS, polars_schema

_ROWS = polars_schema(QUOTA_VERDICTS)
_TIME = pl.Datetime("us", "UTC")
_OF_EVENT = ("partition", "offset", "source", "event_id", "synthetic")


def standings_of(
    pairs: Pairs, folded: Folded, crossed: Crossed | None, record_time: Times, catalog: CompiledCatalog
) -> Standings | None:
    """The pairs that tell a quota's verdict anew: not those of windows that were over at their record's time.

    `record_time` has one row per event of the share.
    """
    charges = catalog.charges
    rows = np.zeros(0, np.int64) if crossed is None else np.unique(crossed.pair)
    rows = rows[charges.is_quota[pairs.charge[rows]]]
    falling = np.flatnonzero((charges.is_quota & charges.may_fall)[pairs.charge])
    if len(falling):
        limit = charges.limit[pairs.charge[falling]]
        changed = wide.less(folded.before[falling], limit) != wide.less(folded.after[falling], limit)
        rows = np.union1d(rows, falling[changed])
    rows = rows[pairs.period_end[rows] > record_time[pairs.event[rows]]]
    return Standings(pairs.take(rows), folded.take(rows)) if len(rows) else None


def verdict_rows(
    standings: Sequence[Standings], event: Index, events: pl.DataFrame, catalog: CompiledCatalog
) -> pl.DataFrame:
    """Rows of `quota_verdicts` in the order of the standings; `event` is the row in `events` of each."""
    charge, key, start, end = (
        np.concatenate(columns)
        for columns in zip(
            *(
                (part.pairs.charge, part.pairs.key, part.pairs.period_start, part.pairs.period_end)
                for part in standings
            ),
            strict=True,
        )
    )
    usage = wide.to_series(np.concatenate([part.folded.after for part in standings]))
    limit = wide.to_series(catalog.charges.limit[charge])
    left = (limit - usage).set(limit < usage, 0)
    quantities = {"limit": limit, "usage": usage, "remaining": left}
    products, product = catalog.products, catalog.charges.product[charge].tolist()
    blocks = catalog.charges.blocks[charge]
    own = events[pl.Series(event.astype(np.uint32))]
    subscription = subscriptions_of(catalog, key)
    moments = pl.col("event_time").alias("occurred_at"), pl.col("record_time").alias("told_at")
    rows = own.select(*_OF_EVENT, *moments).with_columns(
        wide.picked(catalog.subscriptions.ids, subscription).alias("subscription_id"),
        pl.Series("quota", [catalog.charges.ids[row] for row in charge.tolist()], pl.String),
        pl.Series("verdict", np.where(blocks & (left <= 0).to_numpy(), "blocked", "allowed").tolist(), pl.String),
        pl.lit("usage").alias("cause"),
        pl.Series("on_exceed", np.where(blocks, "block", "overage").tolist(), pl.String),
        *(wide.to_series(wide.from_series(values), QUANTITY_SCALE).alias(name) for name, values in quantities.items()),
        pl.Series("window_start", start).cast(_TIME),
        ends_of(end).alias("window_end"),
        pl.Series("product_id", [products.ids[row] for row in product], pl.String),
        pl.Series("product_version", [products.versions[row] for row in product], pl.String),
        pl.lit(catalog.digest).alias("catalog_digest"),
    )
    return rows.select(_ROWS.names()).cast(_ROWS)
