"""Invoices as the ledger keeps them: their tables, the kinds of their lines, and why a settlement waits (semantics 8).

An amount is kept twice: `exact_amount` with all its digits, and `amount`, which is what is owed, rounded once to the
minor units of the currency. A total is the sum of amounts. Decimals and times are those of `schemas.ledger`.

>>> LineKind.USAGE.label, Waiting.CATALOG_CHANGED.label
('usage', 'catalog_changed')
"""

from enum import IntEnum

import pyarrow as pa

from schemas.decimals import AMOUNT_SCALE, LEDGER_PRECISION, PRICE_SCALE, QUANTITY_SCALE

_METADATA = {"ratemill.schema": "1"}
_TIME = pa.timestamp("us", tz="UTC")
_QUANTITY = pa.decimal128(LEDGER_PRECISION, QUANTITY_SCALE)
_PRICE = pa.decimal128(LEDGER_PRECISION, PRICE_SCALE)
_AMOUNT = pa.decimal128(LEDGER_PRECISION, AMOUNT_SCALE)
_TEXT = pa.large_string()


class _Labelled(IntEnum):
    @property
    def label(self) -> str:
        """Its name in the ledger."""
        return self.name.lower()


class LineKind(_Labelled):
    """The kinds of line of an invoice, in the order in which they stand on it.

    From USAGE to MAXIMUM_AMOUNT they are the kinds of the line items that they sum.
    """

    ONE_TIME = 0
    SETUP_FEE = 1
    RECURRING_FEE = 2
    PRORATION = 3
    USAGE = 4
    REPRICE = 5
    TIER_FLAT = 6
    FIXED_AMOUNT = 7
    MINIMUM_AMOUNT = 8
    MAXIMUM_AMOUNT = 9
    MINIMUM_SPEND = 10
    MAXIMUM_SPEND = 11
    ADJUSTMENT = 12
    REFUND = 13


OF_LINE_ITEMS = tuple(kind for kind in LineKind if LineKind.USAGE <= kind <= LineKind.MAXIMUM_AMOUNT)


class Outcome(_Labelled):
    """What became of a settlement period that was due."""

    INVOICED = 0
    NOTHING_DUE = 1
    WAITING = 2


class Waiting(_Labelled):
    """Why a subscription's settlement waits for a person."""

    CATALOG_CHANGED = 0
    UNKNOWN_PRODUCT = 1
    UNKNOWN_ORGANIZATION = 2
    OTHER_CURRENCY = 3
    RATED_TWICE = 4
    USAGE_DIFFERS = 5
    REFUND_TOO_LARGE = 6
    TOO_LARGE = 7


class InvoiceState(_Labelled):
    """What an invoice is: a draft until its period is settled, then issued, then paid, or voided by a correction."""

    DRAFT = 0
    ISSUED = 1
    PAID = 2
    VOIDED = 3


INVOICES = pa.schema(
    [
        pa.field("invoice_id", _TEXT, nullable=False),
        pa.field("number", _TEXT, nullable=False),
        pa.field("subscription_id", _TEXT, nullable=False),
        pa.field("subscriber", _TEXT, nullable=False),
        pa.field("organization_id", _TEXT),
        pa.field("product_id", _TEXT, nullable=False),
        pa.field("product_version", _TEXT, nullable=False),
        pa.field("period", pa.int64(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("voids", _TEXT),
        pa.field("period_start", _TIME, nullable=False),
        pa.field("period_end", _TIME, nullable=False),
        pa.field("issued_at", _TIME, nullable=False),
        pa.field("currency", _TEXT, nullable=False),
        pa.field("total", _AMOUNT, nullable=False),
        pa.field("lines", pa.int64(), nullable=False),
        pa.field("recipient", _TEXT, nullable=False),
        pa.field("credentials", _TEXT, nullable=False),
        pa.field("certificate", _TEXT, nullable=False),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("catalog_digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)

INVOICE_LINES = pa.schema(
    [
        pa.field("invoice_line_id", _TEXT, nullable=False),
        pa.field("invoice_id", _TEXT, nullable=False),
        pa.field("line_number", pa.int32(), nullable=False),
        pa.field("line_kind", _TEXT, nullable=False),
        pa.field("adjusts", _TEXT),
        pa.field("subscription_id", _TEXT, nullable=False),
        pa.field("organization_id", _TEXT),
        pa.field("product_id", _TEXT, nullable=False),
        pa.field("product_version", _TEXT, nullable=False),
        pa.field("charge_id", _TEXT),
        pa.field("price_model", _TEXT),
        pa.field("tier", pa.int32()),
        pa.field("period", pa.int64(), nullable=False),
        pa.field("period_start", _TIME, nullable=False),
        pa.field("period_end", _TIME),
        pa.field("description", _TEXT, nullable=False),
        pa.field("quantity", _QUANTITY),
        pa.field("unit_price", _PRICE),
        pa.field("exact_amount", _AMOUNT, nullable=False),
        pa.field("amount", _AMOUNT, nullable=False),
        pa.field("currency", _TEXT, nullable=False),
        pa.field("refund_id", _TEXT),
        pa.field("refunded_invoice_id", _TEXT),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("catalog_digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)

SETTLED_PERIODS = pa.schema(
    [
        pa.field("subscription_id", _TEXT, nullable=False),
        pa.field("period", pa.int64(), nullable=False),
        pa.field("period_start", _TIME, nullable=False),
        pa.field("period_end", _TIME, nullable=False),
        pa.field("outcome", _TEXT, nullable=False),
        pa.field("invoice_id", _TEXT),
        pa.field("reason", _TEXT),
        pa.field("reason_detail", _TEXT),
        pa.field("catalog_digest", _TEXT, nullable=False),
    ],
    metadata=_METADATA,
)
