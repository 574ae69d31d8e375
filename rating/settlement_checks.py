"""Why a subscription is not settled: what the ledger and the catalog say of it does not fit (semantics 8).

Owns the checks and their sentences. The rule: a subscription that fails waits for a person, with all its periods, and
nobody else does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from rating import wide
from rating.book import Book, Numbered, moved, number_invoiced
from rating.catalog import CompiledCatalog
from rating.codes import packed
from rating.fees import Seller
from rating.lines import lines_of
from rating.prices import Index
from rating.slices import Usage
from rating.terms import NO_CHARGE
from schemas.catalog import Refund, moment_text
from schemas.currencies import MINOR_UNITS
from schemas.decimals import AMOUNT_SCALE, LEDGER_PRECISION, divide_half_away, format_scaled, scaled, scaled_amount
from schemas.invoices import LineKind, Waiting

# Sums of so many units of a currency are refused; those of more digits than an amount has would not fit.
_TOO_LARGE = 10**19
_OF_CHARGE = ["subscription", "number", "charge"]


@dataclass(frozen=True, slots=True)
class Wait:
    """A subscription (its row) that waits, and why."""

    subscription: int
    reason: Waiting
    detail: str


def misfits(
    seller: Seller, book: Book, numbered: Numbered, due: Index, organizations: frozenset[str]
) -> Iterator[Wait]:
    """Subscriptions whose history, lines or organization do not fit the catalog; `due` are those with due periods."""
    catalog = seller.catalog
    for row in moved(book.settled, catalog).iter_rows(named=True):
        period = f"{moment_text(row['period_start'])} to {moment_text(row['period_end'])}"
        detail = f"period {row['period']} was settled as {period}, and the catalog now says otherwise"
        yield Wait(row["subscription"], Waiting.CATALOG_CHANGED, detail)
    for row in _first_of_each(numbered.misplaced):
        detail = f"it has lines of a period that begins at {moment_text(row['period_start'])}, and now has no such one"
        yield Wait(row["subscription"], Waiting.CATALOG_CHANGED, detail)
    for row in _first_of_each(numbered.unknown):
        name = f"{row['product_id']}@{row['product_version']}, charge {row['charge_id']}"
        yield Wait(row["subscription"], Waiting.UNKNOWN_PRODUCT, f"it has lines of {name}, which the catalog lacks")
    for row in _first_of_each(_in_other_currency(seller, numbered.lines)):
        detail = f"it has lines in {row['currency']}, and its product is sold in {row['sold_in']}"
        yield Wait(row["subscription"], Waiting.OTHER_CURRENCY, detail)
    for row in _first_of_each(pl.concat([_of_no_kind(numbered.lines), _of_no_kind(book.invoiced)])):
        detail = f"the ledger has a line of the kind {row['line_kind']}, which is none"
        yield Wait(row["subscription"], Waiting.USAGE_DIFFERS, detail)
    yield from _of_other_products(seller, book.invoiced)
    owners = wide.picked(catalog.subscriptions.organization, due)
    for place in (owners.is_not_null() & ~owners.is_in(list(organizations))).arg_true().to_list():
        detail = f"the catalog lacks its organization {owners[place]}"
        yield Wait(int(due[place]), Waiting.UNKNOWN_ORGANIZATION, detail)
    rows = catalog.subscription_rows
    for name, event in book.rated_twice().items():
        if name in rows:
            yield Wait(rows[name], Waiting.RATED_TWICE, f"event {event} was rated twice")


def _first_of_each(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """One row of each subscription, which does not depend on the order in which they were read."""
    return rows.sort(rows.columns).unique("subscription", keep="first", maintain_order=True).iter_rows(named=True)


def _of_no_kind(lines: pl.DataFrame) -> pl.DataFrame:
    rows = lines.select("subscription", "line_kind")
    return rows.filter(~pl.col("line_kind").is_in([kind.label for kind in LineKind]))


def _in_other_currency(seller: Seller, lines: pl.DataFrame) -> pl.DataFrame:
    currencies = pl.Series(seller.catalog.products.currencies, dtype=pl.String)
    sold_in = wide.picked(currencies, seller.product_of(lines["subscription"].to_numpy()))
    return lines.with_columns(sold_in=sold_in).filter(pl.col("currency") != pl.col("sold_in"))


def _of_other_products(seller: Seller, invoiced: pl.DataFrame) -> Iterator[Wait]:
    """Subscriptions that were invoiced for another product version or charge, or in another currency, than now: fees,
    bounds of spend and flat amounts of the one would be compared with those of the other.
    """
    products = seller.catalog.products
    own = seller.product_of(invoiced["subscription"].to_numpy())
    named = {"now_id": products.ids, "now_version": products.versions, "sold_in": products.currencies}
    rows = invoiced.with_columns(wide.picked(pl.Series(name, values, pl.String), own) for name, values in named.items())
    same = (pl.col("product_id") == pl.col("now_id")) & (pl.col("product_version") == pl.col("now_version"))
    for row in _first_of_each(rows.filter(~same)):
        before, after = f"{row['product_id']}@{row['product_version']}", f"{row['now_id']}@{row['now_version']}"
        detail = f"period {row['period']} was invoiced for {before}, and the catalog now has it on {after}"
        yield Wait(row["subscription"], Waiting.CATALOG_CHANGED, detail)
    for row in _first_of_each(rows.filter(pl.col("currency") != pl.col("sold_in"))):
        detail = f"it was invoiced in {row['currency']}, and its product is now sold in {row['sold_in']}"
        yield Wait(row["subscription"], Waiting.OTHER_CURRENCY, detail)
    charges = rows.filter(pl.col("charge_id").is_not_null() & same)
    known = number_invoiced(charges, seller.catalog)["charge"] != NO_CHARGE
    for row in _first_of_each(charges.filter(~known)):
        name = f"{row['product_id']}@{row['product_version']}, charge {row['charge_id']}"
        yield Wait(row["subscription"], Waiting.UNKNOWN_PRODUCT, f"it was invoiced for {name}, which the catalog lacks")


def unexplained(usage: pl.DataFrame, catalog: CompiledCatalog) -> Iterator[Wait]:
    """Periods of a charge whose lines are not F(total usage), computed afresh.

    Charges with multipliers, or with amounts per event, have no F of the total: `ratemill verify` rates them again.
    """
    table = catalog.charges.prices
    key = packed([usage[name].to_numpy() for name in _OF_CHARGE])
    sums = usage.group_by(pl.Series("key", key)).agg(pl.col(_OF_CHARGE).first(), pl.col("usage", "exact").sum())
    charge = sums["charge"].to_numpy()
    sums = sums.filter(pl.Series(~(table.multiplied | table.per_event)[charge], dtype=pl.Boolean))
    charge = sums["charge"].to_numpy()
    after = wide.from_series(sums["usage"])
    zero = wide.zeros(len(sums))
    none = np.zeros(len(sums), np.bool_)
    lines = lines_of(Usage(charge, wide.to_series(zero), wide.to_series(after), (zero, after), none), table)
    owed = lines.group_by("pair").agg(pl.col("amount").sum())
    whole = pl.DataFrame({"pair": np.arange(len(sums))}).join(owed, on="pair", how="left", maintain_order="left")
    differing = sums.with_columns(owed=whole["amount"].fill_null(0)).filter(pl.col("exact") != pl.col("owed"))
    for row in differing.sort(_OF_CHARGE).iter_rows(named=True):
        said, owes = (format_scaled(row[name], AMOUNT_SCALE) for name in ("exact", "owed"))
        name = catalog.charges.ids[row["charge"]]
        detail = f"the lines of charge {name} in period {row['number'] + 1} sum to {said}, and its usage costs {owes}"
        yield Wait(row["subscription"], Waiting.USAGE_DIFFERS, detail)


def vanished(usage: pl.DataFrame, invoiced: pl.DataFrame) -> Iterator[Wait]:
    """Periods of a charge that were invoiced for usage, and of which the ledger has no lines any more."""
    of_usage = invoiced.filter((pl.col("kind") == LineKind.USAGE) & (pl.col("charge") != NO_CHARGE))
    sums = of_usage.group_by(_OF_CHARGE).agg(pl.col("invoiced_exact").sum()).filter(pl.col("invoiced_exact") != 0)
    gone = sums.join(usage, on=_OF_CHARGE, how="anti") if sums.height else sums
    for row in gone.sort(_OF_CHARGE).iter_rows(named=True):
        detail = f"period {row['number'] + 1} was invoiced for usage, and the ledger has no lines of it any more"
        yield Wait(row["subscription"], Waiting.USAGE_DIFFERS, detail)


def refunds_at_fault(refunds: list[Refund], book: Book, catalog: CompiledCatalog) -> Iterator[Wait]:
    """Refunds of more than their invoice, in another currency, or that changed since they were given; one of an unknown
    invoice is nobody's.
    """
    yield from _changed_refunds(refunds, book, catalog)
    invoices = {row["invoice_id"]: row for row in book.refunded.iter_rows(named=True)}
    open_refunds = [refund for refund in refunds if refund.id not in book.refunds_done]
    asked: dict[str, int] = {}
    for refund in open_refunds:
        invoice = invoices.get(refund.invoice)
        if invoice is None or invoice["subscription_id"] not in catalog.subscription_rows:
            continue
        row = catalog.subscription_rows[invoice["subscription_id"]]
        # What its line will give back, which is rounded: several of half a cent are not half a cent each.
        minor = 10 ** (AMOUNT_SCALE - MINOR_UNITS[invoice["currency"]])
        units = divide_half_away(scaled_amount(refund.amount), minor) * minor
        asked[refund.invoice] = asked.get(refund.invoice, 0) + units
        sold_in = catalog.products.currencies[int(catalog.subscriptions.product[row])]
        if invoice["currency"] != sold_in:
            detail = f"refund {refund.id} is in {invoice['currency']}, and its product is now sold in {sold_in}"
            yield Wait(row, Waiting.OTHER_CURRENCY, detail)
        left = _units(invoice["total"]) - _units(invoice["refunded"])
        if asked[refund.invoice] > left:
            detail = (
                f"refund {refund.id} of {format_scaled(units, AMOUNT_SCALE)} is more than invoice {refund.invoice}"
                f" leaves to refund: {format_scaled(max(0, left), AMOUNT_SCALE)}"
            )
            yield Wait(row, Waiting.REFUND_TOO_LARGE, detail)


def _changed_refunds(refunds: list[Refund], book: Book, catalog: CompiledCatalog) -> Iterator[Wait]:
    """What was given stands on an invoice, whatever the catalog says now; a refund that is gone counts as it was."""
    for refund in refunds:
        done = book.refunds_done.get(refund.id)
        if done is None or done.subscription_id not in catalog.subscription_rows:
            continue
        given, now = _units(done.amount), scaled_amount(refund.amount)
        if (done.invoice, given) != (refund.invoice, now):
            detail = (
                f"refund {refund.id} gave back {format_scaled(given, AMOUNT_SCALE)} of invoice {done.invoice}, and the"
                f" catalog now has it as {format_scaled(now, AMOUNT_SCALE)} of {refund.invoice}"
            )
            yield Wait(catalog.subscription_rows[done.subscription_id], Waiting.CATALOG_CHANGED, detail)


def _units(amount: Decimal) -> int:
    units = scaled(amount, AMOUNT_SCALE, LEDGER_PRECISION - AMOUNT_SCALE)
    assert units is not None, f"an amount of the ledger has too many digits: {amount}"
    return units


def too_large(lines: pl.DataFrame) -> Iterator[Wait]:
    """Subscriptions whose amounts, signs aside, come near what 38 digits hold, so that sums might go beyond."""
    greatest = int(lines["exact"].abs().max() or 0)  # type: ignore[arg-type]
    if greatest * len(lines) < _TOO_LARGE * 10**AMOUNT_SCALE:
        return
    whole = pl.col("exact").abs() // pl.lit(10**AMOUNT_SCALE, pl.Int128)
    sums = lines.group_by("subscription").agg(whole.sum())
    for row in sums.filter(pl.col("exact") >= pl.lit(_TOO_LARGE, pl.Int128)).iter_rows(named=True):
        detail = f"its line items come to {row['exact']} and more, and sums of {_TOO_LARGE} do not surely fit"
        yield Wait(row["subscription"], Waiting.TOO_LARGE, detail)
