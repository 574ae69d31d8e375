"""How quotas stand: rows of the ledger's `quota_verdicts`, for gateways that let requests through or stop them.

A verdict is told anew whenever a threshold or a mark of the quota is crossed, and when usage falls back below a limit.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.charges import Charges
from rating.codes import distinct
from rating.fold import Folded
from rating.pairs import Pairs, subscriptions_of
from rating.periods import Times, ends_of
from rating.prices import Index, Mask
from rating.rated import Standings
from rating.thresholds import Crossed
from schemas.decimals import QUANTITY_SCALE
from schemas.ledger import QUOTA_VERDICTS, polars_schema

_ROWS = polars_schema(QUOTA_VERDICTS)
_TIME = pl.Datetime("us", "UTC")
_VERDICTS = pl.Series(["allowed", "blocked"], dtype=pl.String)
_OF_EVENT = ("partition", "offset", "source", "event_id", "synthetic")


def standings_of(
    pairs: Pairs, folded: Folded, crossed: Crossed | None, record_time: Times, catalog: CompiledCatalog
) -> Standings | None:
    """The pairs that tell a quota's verdict anew: not those of windows that were over at their record's time.

    `record_time` has one row per event of the share.
    """
    pair, quota = _passed(crossed, catalog)
    may_fall = catalog.charges.may_fall & _is_watched(catalog.charges)
    falling = np.flatnonzero(may_fall[pairs.charge]) if may_fall.any() else np.zeros(0, np.int64)
    falling = falling if pairs.apart is None else falling[~pairs.apart[falling]]
    if len(falling):
        pair, quota = _joined((pair, quota), _changed(falling, pairs, folded, catalog.charges), pairs.event)
    current = np.flatnonzero(pairs.period_end[pair] > record_time[pairs.event[pair]])
    return Standings.of(pairs, folded, pair[current], quota[current]) if len(current) else None


def _passed(crossed: Crossed | None, catalog: CompiledCatalog) -> tuple[Index, Index]:
    """The pairs that cross a threshold or mark of a quota, and the quota, each once."""
    if crossed is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    owner = catalog.thresholds.owner[crossed.threshold]
    begins = catalog.charges.is_quota[owner]
    begins[1:] &= (crossed.pair[1:] != crossed.pair[:-1]) | (owner[1:] != owner[:-1])
    return crossed.pair[begins], owner[begins]


def _is_watched(charges: Charges) -> Mask:
    """Of each row whether its counter has quotas."""
    watched: Mask = np.diff(charges.first_watching) > 0
    return watched


def _changed(falling: Index, pairs: Pairs, folded: Folded, charges: Charges) -> tuple[Index, Index]:
    """Of these pairs, and each quota of their counters, those whose usage falls below its limit or reaches it."""
    first, behind = (charges.first_watching[pairs.charge[falling] + step] for step in (0, 1))
    counts = behind - first
    pair = np.repeat(falling, counts)
    quota = charges.watching[np.arange(len(pair)) + np.repeat(first - np.cumsum(counts) + counts, counts)]
    limit = charges.limit[quota]
    changed = wide.less(folded.before[pair], limit) != wide.less(folded.after[pair], limit)
    return pair[changed], quota[changed]


def _joined(some: tuple[Index, Index], others: tuple[Index, Index], event: Index) -> tuple[Index, Index]:
    """Pairs and their quotas, each once, in the order of the events and, within one, of the quotas."""
    pair, quota = (np.concatenate(both) for both in zip(some, others, strict=True))
    order = np.lexsort((quota, event[pair]))
    pair, quota = pair[order], quota[order]
    begins = np.ones(len(pair), np.bool_)
    begins[1:] = (pair[1:] != pair[:-1]) | (quota[1:] != quota[:-1])
    return pair[begins], quota[begins]


def verdict_rows(
    standings: Sequence[Standings], event: Index, events: pl.DataFrame, catalog: CompiledCatalog
) -> pl.DataFrame:
    """Rows of `quota_verdicts` in the order of the standings; `event` is the row in `events` of each."""
    quota, key, start, end, usage = (
        np.concatenate(columns)
        for columns in zip(
            *((part.quota, part.key, part.period_start, part.period_end, part.usage) for part in standings), strict=True
        )
    )
    limit = catalog.charges.limit[quota]
    is_used_up, left = ~wide.less(usage, limit), wide.subtract(limit, usage)
    left[is_used_up] = 0
    blocked = catalog.charges.blocks[quota] & is_used_up
    row, height = pl.Series(event.astype(np.uint32)), len(event)
    columns = {
        **{name: events[name][row] for name in _OF_EVENT},
        **_named(quota, catalog),
        "occurred_at": events["event_time"][row],
        "told_at": events["record_time"][row],
        "subscription_id": wide.picked(catalog.subscriptions.ids, subscriptions_of(catalog, key)),
        "verdict": wide.picked(_VERDICTS, blocked),
        "limit": wide.to_series(limit, QUANTITY_SCALE),
        "usage": wide.to_series(usage, QUANTITY_SCALE),
        "remaining": wide.to_series(left, QUANTITY_SCALE),
        "window_start": pl.Series(start).cast(_TIME),
        "window_end": ends_of(end),
        "cause": pl.Series(["usage"]).new_from_index(0, height),
        "catalog_digest": pl.Series([catalog.digest]).new_from_index(0, height),
    }
    return pl.DataFrame([columns[name].alias(name) for name in _ROWS])


def _named(quota: Index, catalog: CompiledCatalog) -> dict[str, pl.Series]:
    """What quotas are called, written once for each of them."""
    products, charges = catalog.products, catalog.charges
    met, row = distinct(quota, len(charges.ids))
    product = charges.product[met].tolist()
    texts = {
        "quota": [charges.ids[one] for one in met],
        "on_exceed": ["block" if charges.blocks[one] else "overage" for one in met],
        "product_id": [products.ids[one] for one in product],
        "product_version": [products.versions[one] for one in product],
    }
    return {name: wide.picked(pl.Series(values, dtype=pl.String), row) for name, values in texts.items()}
