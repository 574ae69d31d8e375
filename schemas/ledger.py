"""The ledger's tables: one explicit Arrow schema each, with a version in its metadata (contracts 4).

Decimals are DECIMAL(38, s): quantities and usages s = 6, unit prices s = 12, amounts s = 18. Times are microseconds
in UTC.
"""

import polars as pl
import pyarrow as pa

from schemas.decimals import AMOUNT_SCALE, LEDGER_PRECISION, PRICE_SCALE, QUANTITY_SCALE
from schemas.invoices import INVOICE_LINES, INVOICES, SETTLED_PERIODS

SCHEMA_VERSION = "1"
_METADATA = {"ratemill.schema": SCHEMA_VERSION}
_TIME = pa.timestamp("us", tz="UTC")
_QUANTITY = pa.decimal128(LEDGER_PRECISION, QUANTITY_SCALE)
_PRICE = pa.decimal128(LEDGER_PRECISION, PRICE_SCALE)
_AMOUNT = pa.decimal128(LEDGER_PRECISION, AMOUNT_SCALE)
_TEXT = pa.large_string()

EVENTS = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("record_time", _TIME),
        pa.field("source", _TEXT),
        pa.field("event_id", _TEXT),
        pa.field("event_time", _TIME),
        pa.field("subscription_id", _TEXT),
        pa.field("credential_id", _TEXT),
        pa.field("subscriber", _TEXT),
        pa.field("organization_id", _TEXT),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("verdict", _TEXT, nullable=False),
        pa.field("reason", _TEXT),
        pa.field("reason_detail", _TEXT),
        pa.field("content_digest", pa.uint64()),
        pa.field("data", _TEXT),
    ],
    metadata=_METADATA,
)

LINE_ITEMS = pa.schema(
    [
        pa.field("line_id", _TEXT, nullable=False),
        pa.field("line_kind", _TEXT, nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("source", _TEXT),
        pa.field("event_id", _TEXT),
        pa.field("event_time", _TIME),
        pa.field("subscription_id", _TEXT, nullable=False),
        pa.field("credential_id", _TEXT),
        pa.field("subscriber", _TEXT),
        pa.field("organization_id", _TEXT),
        pa.field("source_id", _TEXT),
        pa.field("product_id", _TEXT, nullable=False),
        pa.field("product_version", _TEXT, nullable=False),
        pa.field("charge_id", _TEXT, nullable=False),
        pa.field("price_model", _TEXT, nullable=False),
        pa.field("tier", pa.int32()),
        pa.field("period_start", _TIME),
        pa.field("period_end", _TIME),
        pa.field("quantity", _QUANTITY, nullable=False),
        pa.field("usage_before", _QUANTITY, nullable=False),
        pa.field("usage_after", _QUANTITY, nullable=False),
        pa.field("unit_price", _PRICE, nullable=False),
        pa.field("amount", _AMOUNT, nullable=False),
        pa.field("currency", _TEXT, nullable=False),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("catalog_digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)

COMMITS = pa.schema(
    [
        pa.field("flow", _TEXT, nullable=False),
        pa.field("writer", pa.int32(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("progress", _TIME),
        pa.field("offsets", _TEXT, nullable=False),
        pa.field("received", pa.int64(), nullable=False),
        pa.field("events", pa.int64(), nullable=False),
        pa.field("line_items", pa.int64(), nullable=False),
        pa.field("notifications", pa.int64(), nullable=False),
        pa.field("quota_verdicts", pa.int64(), nullable=False),
        pa.field("invoices", pa.int64(), nullable=False),
        pa.field("invoice_lines", pa.int64(), nullable=False),
        pa.field("settled_periods", pa.int64(), nullable=False),
        *(
            pa.field(verdict, pa.int64(), nullable=False)
            for verdict in ("rated", "exempt", "trial", "blocked", "duplicate", "parked", "late", "rejected")
        ),
        pa.field("catalog_digest", _TEXT, nullable=False),
        pa.field("digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)

NOTIFICATIONS = pa.schema(
    [
        pa.field("notification_id", _TEXT, nullable=False),
        pa.field("kind", _TEXT, nullable=False),
        pa.field("occurred_at", _TIME, nullable=False),
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("source", _TEXT),
        pa.field("event_id", _TEXT),
        pa.field("subscription_id", _TEXT),
        pa.field("credential_id", _TEXT),
        pa.field("subscriber", _TEXT),
        pa.field("organization_id", _TEXT),
        pa.field("product_id", _TEXT),
        pa.field("product_version", _TEXT),
        pa.field("quota", _TEXT),
        pa.field("charge_id", _TEXT),
        pa.field("tier", pa.int32()),
        pa.field("share", _QUANTITY),
        pa.field("threshold", _QUANTITY),
        pa.field("limit", _QUANTITY),
        pa.field("usage_before", _QUANTITY),
        pa.field("usage_after", _QUANTITY),
        pa.field("window_start", _TIME),
        pa.field("window_end", _TIME),
        pa.field("on_exceed", _TEXT),
        pa.field("recipients", pa.large_list(_TEXT), nullable=False),
        pa.field("details", _TEXT),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("catalog_digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)

QUOTA_VERDICTS = pa.schema(
    [
        pa.field("subscription_id", _TEXT, nullable=False),
        pa.field("quota", _TEXT, nullable=False),
        pa.field("verdict", _TEXT, nullable=False),
        pa.field("cause", _TEXT, nullable=False),
        pa.field("on_exceed", _TEXT, nullable=False),
        pa.field("limit", _QUANTITY, nullable=False),
        pa.field("usage", _QUANTITY, nullable=False),
        pa.field("remaining", _QUANTITY, nullable=False),
        pa.field("window_start", _TIME, nullable=False),
        pa.field("window_end", _TIME),
        pa.field("occurred_at", _TIME, nullable=False),
        pa.field("told_at", _TIME, nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("source", _TEXT),
        pa.field("event_id", _TEXT),
        pa.field("product_id", _TEXT, nullable=False),
        pa.field("product_version", _TEXT, nullable=False),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("catalog_digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)

# The tables whose rows a commit counts, in columns of `commits` with their names; `RATED` are those that rating fills.
COUNTED: dict[str, pa.Schema] = {
    "events": EVENTS,
    "line_items": LINE_ITEMS,
    "notifications": NOTIFICATIONS,
    "quota_verdicts": QUOTA_VERDICTS,
    "invoices": INVOICES,
    "invoice_lines": INVOICE_LINES,
    "settled_periods": SETTLED_PERIODS,
}
RATED = ("events", "line_items", "notifications", "quota_verdicts")
TABLES: dict[str, pa.Schema] = {**COUNTED, "commits": COMMITS}


def polars_schema(table: pa.Schema) -> pl.Schema:
    """The Polars types of a ledger table, column by column in the same order."""
    return pl.Schema(pl.DataFrame(table.empty_table()).schema)
