"""Rows of the ledger's `notifications` that settlement causes: an invoice was issued, a test mode is over.

Owns their recipients and details. The rule: an id is made of what the notice says, so settling again says the same.
"""

from typing import Any

import numpy as np
import orjson
import polars as pl

from rating import wide
from rating.due import Due
from rating.fees import Seller
from rating.invoice_rows import Bills
from rating.invoice_texts import decimals_as_text, listed
from rating.notices import ids_of
from rating.prices import Index
from schemas.ledger import NOTIFICATIONS, polars_schema

_ROWS = polars_schema(NOTIFICATIONS)
_ID = ("kind", "subscription_id", "product_id", "product_version", "details", "occurred_at")
_LINES_TOLD = 100
_TOLD = ("description", "quantity", "unit_price", "amount")


def notices_of(seller: Seller, settled: Due, made: Bills) -> pl.DataFrame:
    """The notices of these invoices, then of the test modes that ended with them."""
    issued, ended = _issued(seller, made), _ended(seller, settled)
    rows = pl.concat([issued, ended])
    rows = rows.with_columns(
        *(pl.lit(None, kind).alias(name) for name, kind in _ROWS.items() if name not in rows.columns)
    ).with_columns(catalog_digest=pl.lit(seller.catalog.digest))
    return rows.with_columns(notification_id=ids_of(rows, _ID)).select(_ROWS.names()).cast(_ROWS)


def _issued(seller: Seller, made: Bills) -> pl.DataFrame:
    invoices = made.invoices
    subscription = made.place["subscription"].to_numpy()
    told = made.lines.filter(pl.col("line_number") <= _LINES_TOLD)
    lines = decimals_as_text(told.select(_TOLD)).to_struct().struct.json_encode()
    head = invoices.select(
        "invoice_id", "number", "total", "currency", "period_start", "period_end", due_at=pl.lit(None, pl.String)
    )
    texts = decimals_as_text(head).with_columns(_time_texts(head[name]) for name in ("period_start", "period_end"))
    counts = np.minimum(invoices["lines"].to_numpy(), _LINES_TOLD)
    named = wide.picked(invoices["invoice_id"], np.repeat(np.arange(len(invoices)), counts))
    assert (told["invoice_id"] == named).all(), "lines in another order than their invoices"
    details = pl.DataFrame({"head": texts.to_struct().struct.json_encode(), "lines": listed(lines, counts)})
    return _of_subscriptions(seller, subscription).with_columns(
        kind=pl.lit("invoice_issued"),
        occurred_at=invoices["issued_at"],
        details=details.select(pl.format('{},"lines":[{}]}}', pl.col("head").str.head(-1), "lines")).to_series(),
        synthetic=invoices["synthetic"],
    )


def _time_texts(moments: pl.Series) -> pl.Series:
    met, row = np.unique(moments.to_physical().to_numpy(), return_inverse=True)
    texts = pl.Series(moments.name, met).cast(moments.dtype).dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")
    return wide.picked(texts, row)


def _ended(seller: Seller, settled: Due) -> pl.DataFrame:
    """Of each test mode whose last period was settled; it has had as many as were over by then."""
    product = seller.product_of(settled.subscription)
    rows = np.flatnonzero(settled.is_last & seller.terms.is_test[product])
    subscription = settled.subscription[rows]
    modes = [str(seller.terms.test_mode[one]) for one in product[rows].tolist()]
    details = [
        orjson.dumps({"test_mode": mode, "periods": number + 1}).decode()
        for mode, number in zip(modes, settled.number[rows].tolist(), strict=True)
    ]
    return _of_subscriptions(seller, subscription).with_columns(
        kind=pl.lit("test_mode_ended"),
        occurred_at=pl.Series(settled.end[rows]).cast(pl.Datetime("us", "UTC")),
        details=pl.Series(details, dtype=pl.String),
        synthetic=pl.Series([mode == "5min_synthetic" for mode in modes], dtype=pl.Boolean),
    )


def _of_subscriptions(seller: Seller, subscription: Index) -> pl.DataFrame:
    """Whose notices they are, and to whom: the provider's addresses, and the owner unless invoices are not sent."""
    columns, products = seller.catalog.subscriptions, seller.catalog.products
    product = seller.product_of(subscription)
    owner = wide.picked(columns.subscriber, subscription)
    addresses = [list(dict.fromkeys(one)) for one in seller.catalog.addresses.of_products]
    provider = wide.picked(pl.Series(addresses, dtype=pl.List(pl.String)), product)
    names: dict[str, Any] = {
        "subscription_id": wide.picked(columns.ids, subscription),
        "subscriber": owner,
        "organization_id": wide.picked(columns.organization, subscription),
        "product_id": wide.picked(pl.Series(products.ids, dtype=pl.String), product),
        "product_version": wide.picked(pl.Series(products.versions, dtype=pl.String), product),
        "provider": provider,
        "sends": seller.terms.sends_invoices[product],
    }
    told = pl.col("sends") & ~pl.col("provider").list.contains(pl.col("subscriber"))
    every = pl.when(told).then(pl.concat_list("provider", "subscriber")).otherwise("provider")
    return pl.DataFrame(names).with_columns(recipients=every).drop("provider", "sends")
