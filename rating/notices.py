"""Rows of the ledger's `notifications`: what is said when usage crosses a threshold, and to whom (semantics 5).

Owns the columns and the recipients. The rule: an id is made of what the notification says, and of nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from rating import wide
from rating.catalog import CompiledCatalog
from rating.codes import distinct
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
# What an id says, in this order: the kind, whose it is, what is the same for all who cross a threshold, the period.
_OF_THRESHOLD = ("product_id", "product_version", "quota", "charge_id", "tier", "share", "threshold")
_ID_LENGTH = 32


def notification_rows(
    crossed: Sequence[Crossings], event: Index, events: pl.DataFrame, catalog: CompiledCatalog
) -> pl.DataFrame:
    """The notifications of these crossings, in their order; `event` is the row in `events` of each."""
    key, start, end, before, after, threshold = (
        np.concatenate(columns)
        for columns in zip(
            *(
                (part.key, part.period_start, part.period_end, part.before, part.after, part.threshold)
                for part in crossed
            ),
            strict=True,
        )
    )
    subscription, row = subscriptions_of(catalog, key), pl.Series(event.astype(np.uint32))
    met, place = distinct(threshold, len(catalog.thresholds.entries))
    said = _of_thresholds(met, catalog)[pl.Series(place.astype(np.uint32))]
    owners = catalog.subscriptions
    columns = {
        **{name: events[name][row] for name in _OF_EVENT},
        **{name: said[name] for name in said.columns},
        "usage_before": wide.to_series(before, QUANTITY_SCALE),
        "usage_after": wide.to_series(after, QUANTITY_SCALE),
        "occurred_at": events["event_time"][row],
        "subscription_id": wide.picked(owners.ids, subscription).alias("subscription_id"),
        "subscriber": wide.picked(owners.subscriber, subscription),
        "organization_id": wide.picked(owners.organization, subscription),
        "window_start": pl.Series(start).cast(_TIME),
        "window_end": ends_of(end),
        "recipients": wide.picked(catalog.addresses.told, catalog.addresses.of_subscriptions[subscription]),
        "details": pl.Series([None], dtype=pl.String).new_from_index(0, len(key)),
        "catalog_digest": pl.Series([catalog.digest]).new_from_index(0, len(key)),
    }
    columns["notification_id"] = _ids(columns, periods_of(key))
    return pl.DataFrame([columns[name].alias(name) for name in _ROWS])


def _ids(columns: Mapping[str, pl.Series], period: Index) -> pl.Series:
    """Periods are few, so they are written once and looked up."""
    met, place = np.unique(period, return_inverse=True)
    periods = wide.picked(pl.Series(met).cast(pl.String), place)
    said = pl.DataFrame([columns["kind"], columns["subscription_id"], columns["words"], periods.alias("period")])
    return ids_of(said, said.columns)


def _of_thresholds(rows: Sequence[int], catalog: CompiledCatalog) -> pl.DataFrame:
    """What is said of each of these thresholds, and in `words` what ids say of it."""
    products, charges = catalog.products, catalog.charges
    entries = [catalog.thresholds.entries[row] for row in rows]
    product = [int(charges.product[entry.owner]) for entry in entries]
    quotas = [charges.quotas[entry.owner] for entry in entries]
    texts: dict[str, list[str | None]] = {
        "kind": [_kind(entry) for entry in entries],
        "product_id": [products.ids[one] for one in product],
        "product_version": [products.versions[one] for one in product],
        "quota": [None if quota is None else quota.name for quota in quotas],
        "charge_id": [
            charges.ids[entry.owner] if quota is None else None for entry, quota in zip(entries, quotas, strict=True)
        ],
        "on_exceed": [None if quota is None else quota.on_exceed for quota in quotas],
    }
    quantities = {
        "share": [entry.share for entry in entries],
        "threshold": [entry.usage for entry in entries],
        "limit": [entry.limit for entry in entries],
    }
    said = pl.DataFrame(
        [
            *(pl.Series(name, values, pl.String) for name, values in texts.items()),
            pl.Series("tier", [entry.tier for entry in entries], pl.Int32),
            *(
                wide.to_series(wide.from_integers(values), QUANTITY_SCALE).alias(name)
                for name, values in quantities.items()
            ),
        ]
    )
    return said.with_columns(words=_joined(_OF_THRESHOLD))


def _kind(entry: Threshold) -> str:
    if entry.tier is not None:
        return "tier_threshold"
    return "quota_reached" if entry.share == _ALL else "quota_threshold"


def ids_of(rows: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Made of what these columns say: 128 bits in hexadecimal. What is absent is empty, which no name is."""
    said = rows.select(_joined(columns)).to_series()
    digits = pa.py_buffer(stable_hashes(said).tobytes().hex().encode())
    starts = pa.py_buffer(np.arange(0, _ID_LENGTH * (len(rows) + 1), _ID_LENGTH))
    return pl.Series(pl.from_arrow(pa.LargeStringArray.from_buffers(len(rows), starts, digits)))


def _joined(columns: Sequence[str]) -> pl.Expr:
    return pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator="\n")
