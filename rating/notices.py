"""Rows of the ledger's `notifications`: what is said when usage crosses a threshold, and to whom (semantics 5).

Owns the columns and the recipients. The rule: an id is made of what the notification says, and of nothing else.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from rating import wide
from rating.catalog import CompiledCatalog
from rating.hashing import stable_hashes
from rating.pairs import periods_of, subscriptions_of
from rating.periods import ends_of
from rating.prices import Index
from rating.rated import Crossings
from rating.thresholds import Threshold
from schemas.decimals import QUANTITY_SCALE
from schemas.ledger import NOTIFICATIONS, polars_schema

_ROWS = polars_schema(NOTIFICATIONS)
_TIME = pl.Datetime("us", "UTC")
_ALL = 10**QUANTITY_SCALE
_OF_EVENT = ("partition", "offset", "source", "event_id", "credential_id", "synthetic")
_ID = "kind subscription_id product_id product_version quota charge_id tier share threshold period".split()
_ID_LENGTH = 32


def notification_rows(
    crossed: Sequence[Crossings], event: Index, events: pl.DataFrame, catalog: CompiledCatalog
) -> pl.DataFrame:
    """The notifications of these crossings, in their order; `event` is the row in `events` of each."""
    charge, key, start, end, threshold = (
        np.concatenate(columns)
        for columns in zip(
            *(
                (part.pairs.charge, part.pairs.key, part.pairs.period_start, part.pairs.period_end, part.threshold)
                for part in crossed
            ),
            strict=True,
        )
    )
    before, after = (
        wide.to_series(np.concatenate(parts), QUANTITY_SCALE)
        for parts in ([part.folded.before for part in crossed], [part.folded.after for part in crossed])
    )
    subscription = subscriptions_of(catalog, key)
    own = events.select(*_OF_EVENT, "event_time")[pl.Series(event.astype(np.uint32))]
    rows = own.rename({"event_time": "occurred_at"}).with_columns(
        *_named(subscription, charge, catalog),
        *_thresholds(threshold, catalog),
        before.alias("usage_before"),
        after.alias("usage_after"),
        pl.Series("window_start", start).cast(_TIME),
        ends_of(end).alias("window_end"),
        pl.Series("period", periods_of(key)),
        recipients=_recipients(subscription, catalog),
        details=pl.lit(None, pl.String),
        catalog_digest=pl.lit(catalog.digest),
    )
    return rows.with_columns(notification_id=ids_of(rows, _ID)).select(_ROWS.names()).cast(_ROWS)


def _named(subscription: Index, charge: Index, catalog: CompiledCatalog) -> list[pl.Series]:
    """Whose it is, and of which quota or charge; what charges are called is written once for each of them."""
    columns, products, charges = catalog.subscriptions, catalog.products, catalog.charges
    met, row = np.unique(charge, return_inverse=True)
    product = [int(charges.product[one]) for one in met]
    quotas = [charges.quotas[one] for one in met]
    texts: dict[str, list[str | None]] = {
        "product_id": [products.ids[one] for one in product],
        "product_version": [products.versions[one] for one in product],
        "quota": [None if quota is None else quota.name for quota in quotas],
        "charge_id": [charges.ids[one] if quota is None else None for one, quota in zip(met, quotas, strict=True)],
        "on_exceed": [None if quota is None else quota.on_exceed for quota in quotas],
    }
    return [
        *(wide.picked(pl.Series(name, values, pl.String), row) for name, values in texts.items()),
        wide.picked(columns.ids, subscription).alias("subscription_id"),
        wide.picked(columns.subscriber, subscription).alias("subscriber"),
        wide.picked(columns.organization, subscription).alias("organization_id"),
    ]


def _thresholds(threshold: Index, catalog: CompiledCatalog) -> list[pl.Series]:
    met, row = np.unique(threshold, return_inverse=True)
    entries = [catalog.thresholds.entries[one] for one in met]
    quantities = {
        "share": [entry.share for entry in entries],
        "threshold": [entry.usage for entry in entries],
        "limit": [entry.limit for entry in entries],
    }
    columns = [
        pl.Series("kind", [_kind(entry) for entry in entries], pl.String),
        pl.Series("tier", [entry.tier for entry in entries], pl.Int32),
        *(
            wide.to_series(wide.from_integers(values), QUANTITY_SCALE).alias(name)
            for name, values in quantities.items()
        ),
    ]
    return [wide.picked(column, row) for column in columns]


def _kind(entry: Threshold) -> str:
    if entry.tier is not None:
        return "tier_threshold"
    return "quota_reached" if entry.share == _ALL else "quota_threshold"


def _recipients(subscription: Index, catalog: CompiledCatalog) -> pl.Series:
    """The provider's addresses for the product, then the subscription's own; nobody is told twice."""
    addresses, product = catalog.addresses, catalog.subscriptions.product[subscription].tolist()
    own = map(addresses.of_subscriptions.get, subscription.tolist())
    met: dict[tuple[int, tuple[str, ...] | None], int] = {}
    row = np.array([met.setdefault(pair, len(met)) for pair in zip(product, own, strict=True)], np.int64)
    told = [list(dict.fromkeys((*addresses.of_products[one], *(more or ())))) for one, more in met]
    return wide.picked(pl.Series(told, dtype=pl.List(pl.String)), row)


def ids_of(rows: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Made of what these columns say: 128 bits in hexadecimal. What is absent is empty, which no name is."""
    said = rows.select(pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator="\n"))
    digits = pa.py_buffer(stable_hashes(said.to_series()).tobytes().hex().encode())
    starts = pa.py_buffer(np.arange(0, _ID_LENGTH * (len(rows) + 1), _ID_LENGTH))
    return pl.Series(pl.from_arrow(pa.LargeStringArray.from_buffers(len(rows), starts, digits)))
