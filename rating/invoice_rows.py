"""Rows of the ledger's `invoices`, `invoice_lines` and `settled_periods`.

Owns the columns, the ids and which invoices there are. Does not own amounts. The rule: an id is made of subscription,
period and revision, so settling twice cannot make two invoices of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from rating import wide
from rating.codes import packed, ranks, rows_of
from rating.due import VOIDS_NONE, Due, paid_from, whole_periods
from rating.fees import Seller
from rating.invoice_order import PLACE, in_order
from rating.invoice_recipients import recipients
from rating.invoice_texts import credentials
from rating.invoice_wording import wording
from rating.notices import ids_of
from rating.periods import Times, ends_of
from rating.prices import Index
from rating.settlement_checks import Wait
from rating.terms import NO_CHARGE
from schemas.catalog import Catalog
from schemas.decimals import AMOUNT_SCALE, LEDGER_PRECISION, PRICE_SCALE, QUANTITY_SCALE
from schemas.invoices import INVOICE_LINES, INVOICES, SETTLED_PERIODS, LineKind, Outcome
from schemas.ledger import polars_schema

_INVOICES, _LINES, _SETTLED = (polars_schema(table) for table in (INVOICES, INVOICE_LINES, SETTLED_PERIODS))
_TIME = pl.Datetime("us", "UTC")
_NOTHING = -1
_ID = ["subscription_id", "period", "revision"]
_KIND_NAMES = pl.Series([*(kind.label for kind in LineKind), None], dtype=pl.String)


@dataclass(frozen=True, slots=True)
class Bills:
    """Invoices and their lines; `place` has each invoice's `subscription`, `on` (the due number) and `invoice_id`."""

    invoices: pl.DataFrame
    lines: pl.DataFrame
    place: pl.DataFrame


def bills(
    catalog: Catalog, seller: Seller, due: Due, lines: pl.DataFrame, usage: pl.DataFrame, certificate: str
) -> Bills:
    """The invoices of due periods with anything to bill, and of every period of a test mode.

    `lines` are those of `rating.owed`, `usage` the line items summed per credential.
    """
    place = _invoiced(seller, due, lines)
    kept = in_order(lines, place)
    kept = kept.with_columns(
        wide.picked(place["invoice_id"], kept["invoice"].to_numpy()),
        refunded_invoice_id=_refunded(catalog, kept["refund_id"]),
    )
    rows = _line_rows(seller, kept, usage)
    return Bills(_invoice_rows(catalog, seller, place, kept, usage, certificate), rows, place)


def settled_rows(seller: Seller, settled: Due, made: Bills, due: Due, waits: Mapping[int, Wait]) -> pl.DataFrame:
    """What became of each period that was settled, and, of a subscription that waits, of its first that is due."""
    invoice = rows_of([made.place[name].to_numpy() for name in PLACE], [settled.subscription, settled.number])
    ids = pl.concat([made.place["invoice_id"], pl.Series([None], dtype=pl.String)])
    own = np.where(invoice < 0, len(ids) - 1, invoice)
    done = _periods(seller, settled).with_columns(invoice_id=wide.picked(ids, own))
    invoiced = pl.col("invoice_id").is_not_null()
    done = done.filter(invoiced | ~pl.Series(settled.supplements, dtype=pl.Boolean)).with_columns(
        outcome=pl.when(invoiced).then(pl.lit(Outcome.INVOICED.label)).otherwise(pl.lit(Outcome.NOTHING_DUE.label)),
        reason=pl.lit(None, pl.String),
        reason_detail=pl.lit(None, pl.String),
    )
    first = np.flatnonzero(np.isin(due.subscription, list(waits)))
    _, once = np.unique(due.subscription[first], return_index=True)
    held = due.take(first[once])
    why = [waits[row] for row in held.subscription.tolist()]
    waiting = _periods(seller, held).with_columns(
        invoice_id=pl.lit(None, pl.String),
        outcome=pl.lit(Outcome.WAITING.label),
        reason=pl.Series([wait.reason.label for wait in why], dtype=pl.String),
        reason_detail=pl.Series([wait.detail for wait in why], dtype=pl.String),
    )
    digest = seller.catalog.digest
    rows = pl.concat([done, waiting]).with_columns(catalog_digest=pl.lit(digest))
    return rows.select(_SETTLED.names()).cast(_SETTLED)


def _periods(seller: Seller, due: Due) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subscription": due.subscription,
            "number": due.number,
            "subscription_id": wide.picked(seller.catalog.subscriptions.ids, due.subscription),
            "period": due.number + 1,
            "period_start": pl.Series(due.start).cast(_TIME),
            "period_end": pl.Series(due.end).cast(_TIME),
        }
    )


def _invoiced(seller: Seller, due: Due, lines: pl.DataFrame) -> pl.DataFrame:
    """Which due periods have an invoice, and its id. One that takes another's place is there whatever it owes."""
    replaces = due.voids != VOIDS_NONE
    tested = due.closes & seller.terms.is_test[seller.product_of(due.subscription)]
    periods = _periods(seller, due).rename({"number": "on"})
    periods = periods.with_columns(
        issued_at=pl.Series(due.issued).cast(_TIME),
        revision=pl.Series(due.revision, dtype=pl.Int32),
    )
    owing = np.flatnonzero((lines["exact"] != 0) | (lines["rounded"] != 0))
    billed = tested | replaces
    row = rows_of([due.subscription, due.number], [lines[name].to_numpy()[owing] for name in PLACE])
    billed[row[row >= 0]] = True
    place, voided = periods.filter(billed), pl.Series(due.voids, dtype=pl.Int32).filter(billed)
    voids = pl.Series([None], dtype=pl.String).new_from_index(0, len(place))
    replacing = (voided != VOIDS_NONE).arg_true()
    if len(replacing):
        earlier = ids_of(place.with_columns(revision=voided)[replacing], _ID)
        voids = voids.scatter(replacing, earlier)
    return place.with_columns(invoice_id=ids_of(place, _ID), voids=voids)


def invoice_ids(seller: Seller, due: Due) -> list[str]:
    """The ids of the invoices of these periods, whether there are any or not."""
    return ids_of(_periods(seller, due).with_columns(revision=pl.Series(due.revision)), _ID).to_list()


def _synthetic(seller: Seller, usage: pl.DataFrame, subscription: Index) -> pl.Series:
    """Of each of these subscriptions, whether anything was simulated, which a test mode may do throughout."""
    by_mode = np.array([mode == "5min_synthetic" for mode in seller.terms.test_mode], np.bool_)
    simulated = np.unique(usage.filter(pl.col("synthetic"))["subscription"].to_numpy())
    return pl.Series(by_mode[seller.product_of(subscription)] | np.isin(subscription, simulated), dtype=pl.Boolean)


def _line_rows(seller: Seller, lines: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    subscription, number = lines["subscription"].to_numpy(), lines["number"].to_numpy()
    start, over = _times(seller, subscription, number)
    rows = lines.with_columns(
        *_of_subscription(seller, subscription, _sold(seller, subscription, lines["charge"].to_numpy())),
        *_of_charges(seller, lines),
        period=pl.col("number") + 1,
        period_start=pl.Series(start).cast(_TIME),
        period_end=ends_of(over),
        line_kind=_kind_names(lines["kind"]),
        adjusts=_kind_names(lines["adjusts"]),
        tier=pl.when(pl.col("charge") != NO_CHARGE).then(pl.col("tier")),
        quantity=_decimal(lines["quantity"], QUANTITY_SCALE),
        unit_price=_decimal(lines["unit_price"], PRICE_SCALE),
        exact_amount=_decimal(lines["exact"], AMOUNT_SCALE),
        amount=_decimal(lines["rounded"], AMOUNT_SCALE),
        synthetic=_synthetic(seller, usage, subscription),
        catalog_digest=pl.lit(seller.catalog.digest),
        invoice_line_id=pl.col("invoice_id") + "-" + pl.col("line_number").cast(pl.String),
    )
    return rows.select(_LINES.names()).cast(_LINES)


def _kind_names(kinds: pl.Series) -> pl.Series:
    """What kinds of line are called; null stays null."""
    return wide.picked(_KIND_NAMES, kinds.fill_null(len(LineKind)).to_numpy())


def _refunded(catalog: Catalog, refund: pl.Series) -> pl.Series:
    """The invoice that each refund names."""
    named = {one.id: one.invoice for one in catalog.refunds}
    return refund.replace_strict(list(named), list(named.values()), return_dtype=pl.String)


def _times(seller: Seller, subscription: Index, number: Index) -> tuple[Times, Times]:
    """From when to when a period runs for its subscription; an opening is one moment. Lines of one stand together."""
    begins = np.ones(len(number), np.bool_)
    begins[1:] = (subscription[1:] != subscription[:-1]) | (number[1:] != number[:-1])
    line = np.cumsum(begins) - 1
    subscription, number = subscription[begins], number[begins]
    begin = paid_from(seller.catalog, subscription)
    start, over = whole_periods(seller.catalog, subscription, np.maximum(number, 0))
    over = np.minimum(over, seller.catalog.subscriptions.life[subscription, 1])
    return np.where(number < 0, begin, start)[line], np.where(number < 0, begin, over)[line]


def _of_subscription(seller: Seller, subscription: Index, product: Index) -> list[pl.Series]:
    columns, products = seller.catalog.subscriptions, seller.catalog.products
    named = {"product_id": products.ids, "product_version": products.versions, "currency": products.currencies}
    return [
        *(wide.picked(pl.Series(name, values, pl.String), product) for name, values in named.items()),
        wide.picked(columns.ids, subscription).alias("subscription_id"),
        wide.picked(columns.organization, subscription).alias("organization_id"),
    ]


def _of_charges(seller: Seller, lines: pl.DataFrame) -> list[pl.Series]:
    """Descriptions, and of lines of charges the charge."""
    charges = seller.catalog.charges
    tiers = np.diff(charges.prices.first_bound)
    names = ["kind", "adjusts", "charge", "tier"]
    columns = [lines[name].fill_null(_NOTHING).to_numpy() for name in names]
    said = pl.DataFrame({"said": packed([*columns, ranks(lines["refund_id"])])})
    distinct = lines.select(*names, "refund_id", said["said"]).unique("said", maintain_order=True)
    texts = []
    for kind, adjusts, charge, tier, refund, _ in distinct.iter_rows():
        name = None if charge == NO_CHARGE else charges.ids[charge]
        of = None if adjusts is None else LineKind(adjusts)
        text = wording(LineKind(kind), of, name, tier, 1 if name is None else int(tiers[charge]))
        texts.append(text if refund is None else f"{text} {refund}")
    worded = distinct.select("said", description=pl.Series(texts, dtype=pl.String))
    described = said.join(worded, on="said", how="left", maintain_order="left")["description"]
    charge = lines["charge"].to_numpy()
    found = np.maximum(charge, 0)
    none = pl.Series(charge == NO_CHARGE, dtype=pl.Boolean)
    absent = pl.Series([None], dtype=pl.String).new_from_index(0, len(lines))
    of_charge = {"charge_id": charges.ids or ("",), "price_model": charges.price_models or ("",)}
    return [
        described,
        *(
            absent.zip_with(none, wide.picked(pl.Series(values, dtype=pl.String), found)).alias(name)
            for name, values in of_charge.items()
        ),
    ]


def _sold(seller: Seller, subscription: Index, charge: Index) -> Index:
    """The product version of each line: the one whose charge it is, else the subscription's."""
    own, of_charges = seller.product_of(subscription), seller.catalog.charges.product
    return np.where(charge == NO_CHARGE, own, of_charges[np.maximum(charge, 0)]) if len(of_charges) else own


def _decimal(units: pl.Series, scale: int) -> pl.Series:
    """Int128 units as decimals; null stays null."""
    whole = units.cast(pl.Decimal(38, 0)).rechunk().to_arrow()
    kind = pa.decimal128(LEDGER_PRECISION, scale)
    return pl.Series(pl.from_arrow(pa.Array.from_buffers(kind, len(whole), whole.buffers(), offset=whole.offset)))


def _invoice_rows(
    catalog: Catalog,
    seller: Seller,
    place: pl.DataFrame,
    lines: pl.DataFrame,
    usage: pl.DataFrame,
    certificate: str,
) -> pl.DataFrame:
    subscription = place["subscription"].to_numpy()
    sums = lines.group_by("invoice").agg(total=pl.col("rounded").sum(), lines=pl.len().cast(pl.Int64))
    rows = place.with_columns(invoice=pl.int_range(pl.len(), dtype=pl.Int64))
    rows = rows.join(sums, on="invoice", how="left", maintain_order="left")
    rows = rows.with_columns(
        *_of_subscription(seller, subscription, seller.product_of(subscription)),
        number=_numbers(place),
        subscriber=wide.picked(seller.catalog.subscriptions.subscriber, subscription),
        total=_decimal(rows["total"].fill_null(0), AMOUNT_SCALE),
        lines=pl.col("lines").fill_null(0),
        recipient=recipients(catalog, seller, subscription),
        # Of what came later, not of the whole period, is a supplement.
        credentials=pl.when((pl.col("revision") == 0) | pl.col("voids").is_not_null())
        .then(credentials(usage, place))
        .otherwise(pl.lit("[]")),
        certificate=pl.lit(certificate),
        synthetic=_synthetic(seller, usage, subscription),
        catalog_digest=pl.lit(seller.catalog.digest),
    )
    return rows.select(_INVOICES.names()).cast(_INVOICES)


def _numbers(place: pl.DataFrame) -> pl.Series:
    """What people call invoices. A full stop sets a revision off, for the name of a subscription may end in a dash and
    digits.
    """
    revision = pl.when(pl.col("revision") > 0).then(pl.format(".{}", "revision")).otherwise(pl.lit(""))
    return place.select(pl.format("{}-{}", "subscription_id", "period") + revision).to_series()
