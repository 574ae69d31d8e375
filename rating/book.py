"""What settlement is told of subscriptions: their line items summed, and what was settled and invoiced before.

Owns the shape of these tables and how names in them become rows of the catalog. Does not own reading them. A
subscription is its row in the catalog, a period its number, a charge its row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import polars as pl

from rating.catalog import CompiledCatalog
from rating.due import paid_from, whole_periods
from rating.prices import Index, Mask
from rating.terms import NO_CHARGE
from schemas.decimals import AMOUNT_SCALE, PRICE_SCALE, QUANTITY_SCALE
from schemas.invoices import LineKind

_TIME = pl.Datetime("us", "UTC")
NO_KIND = -1
_KINDS = {kind.label: int(kind) for kind in LineKind}
_OF_CHARGE = {"product_id": pl.String, "product_version": pl.String, "charge_id": pl.String}

# Line items summed by what they have in common, trials and blocked usage left out. `usage` is by how much they raised
# the usage; `unit_price_least` and `unit_price_most` differ where the price did.
SUMMED = {
    "subscription": pl.Int64,
    **_OF_CHARGE,
    "line_kind": pl.String,
    "tier": pl.Int32,
    "period_start": _TIME,
    "currency": pl.String,
    "credential_id": pl.String,
    "synthetic": pl.Boolean,
    "quantity": pl.Decimal(38, QUANTITY_SCALE),
    "usage": pl.Decimal(38, QUANTITY_SCALE),
    "unit_price_least": pl.Decimal(38, PRICE_SCALE),
    "unit_price_most": pl.Decimal(38, PRICE_SCALE),
    "amount": pl.Decimal(38, AMOUNT_SCALE),
}
# Lines of invoices, voided ones left out, summed by what they are for; `line_kind` of an adjustment is what it adjusts.
INVOICED = {
    "subscription": pl.Int64,
    "period": pl.Int64,
    "line_kind": pl.String,
    **_OF_CHARGE,
    "tier": pl.Int32,
    "currency": pl.String,
    "quantity": pl.Decimal(38, QUANTITY_SCALE),
    "exact_amount": pl.Decimal(38, AMOUNT_SCALE),
    "amount": pl.Decimal(38, AMOUNT_SCALE),
}
# The period that was settled last of each subscription that has one.
SETTLED = {"subscription": pl.Int64, "period": pl.Int64, "period_start": _TIME, "period_end": _TIME}
# Invoices that refunds name, with what was refunded of them before.
REFUNDED = {
    "invoice_id": pl.String,
    "subscription_id": pl.String,
    "currency": pl.String,
    "total": pl.Decimal(38, AMOUNT_SCALE),
    "refunded": pl.Decimal(38, AMOUNT_SCALE),
}


@dataclass(frozen=True, slots=True)
class RefundDone:
    """A refund that stands on an invoice of a subscription: the `invoice` that it is of, and its amount."""

    subscription_id: str
    invoice: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Book:
    """The ledger, as far as it concerns the subscriptions to be settled; columns as above.

    `refunds_done` are refunds that stand on an invoice already, by their ids. `setup_paid_by` names the subscription
    that has paid the setup fee of an organization and product. `rated_twice` gives subscriptions with an event that was
    rated twice, and that event; it is asked late, for to find out takes long.
    """

    summed: pl.DataFrame
    invoiced: pl.DataFrame
    settled: pl.DataFrame
    refunded: pl.DataFrame
    refunds_done: Mapping[str, RefundDone]
    setup_paid_by: Mapping[tuple[str, str], str]
    rated_twice: Callable[[], Mapping[str, str]]

    def of(self, subscriptions: Index) -> "Book":
        """The book of some of its subscriptions, by their rows; of neighbours in the book, without a copy."""
        asked = np.zeros(int(subscriptions.max()) + 1, np.bool_)
        asked[subscriptions] = True
        summed, invoiced, settled = (_of(rows, asked) for rows in (self.summed, self.invoiced, self.settled))
        return replace(self, summed=summed, invoiced=invoiced, settled=settled)


def _of(rows: pl.DataFrame, asked: Mask) -> pl.DataFrame:
    """The rows of the subscriptions that are asked for."""
    column = rows["subscription"].to_numpy()
    own = np.flatnonzero((column < len(asked)) & asked[np.minimum(column, len(asked) - 1)])
    if len(own) and own[-1] - own[0] == len(own) - 1:
        return rows[int(own[0]) : int(own[-1]) + 1]
    return rows[own]


@dataclass(frozen=True, slots=True)
class Numbered:
    """Line items with `number`, `kind` and `charge` for names; `misplaced` and `unknown` are rows that fit no period
    of their subscription, and no charge of the catalog; those of no kind that there is have NO_KIND.
    """

    lines: pl.DataFrame
    misplaced: pl.DataFrame
    unknown: pl.DataFrame


def number_lines(summed: pl.DataFrame, catalog: CompiledCatalog) -> Numbered:
    """These sums with rows of the catalog for names, amounts and quantities as Int128 units."""
    subscription = summed["subscription"].to_numpy()
    begun = summed["period_start"].dt.epoch("us").to_numpy()
    clock = catalog.subscriptions.life[subscription, 3]
    number, start, _ = catalog.subscriptions.clocks.periods_of(clock, begun)
    rows = _with_charges(summed, catalog).with_columns(
        number=pl.Series(number),
        fits=pl.Series(start == begun),
        kind=pl.col("line_kind").replace_strict(_KINDS, default=NO_KIND, return_dtype=pl.Int64),
        tier=pl.col("tier").fill_null(0).cast(pl.Int64),
    )
    units = [pl.col(name).to_physical() for name in ("quantity", "usage", "unit_price_least", "unit_price_most")]
    rows = rows.with_columns(*units, exact=pl.col("amount").to_physical())
    fits, known = rows["fits"], rows["charge"].is_not_null()
    return Numbered(only(rows, fits & known), only(rows, ~fits), only(rows, ~known))


def only(rows: pl.DataFrame, kept: pl.Series) -> pl.DataFrame:
    """These rows (`kept` is Boolean), without a copy where it is all or none of them."""
    if kept.all():
        return rows
    return rows.filter(kept) if kept.any() else rows.clear()


def number_invoiced(invoiced: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    """What was invoiced, by the same rows, numbers and kinds; a charge that is gone is NO_CHARGE."""
    rows = _with_charges(invoiced, catalog)
    return rows.select(
        "subscription",
        number=pl.col("period") - 1,
        kind=pl.col("line_kind").replace_strict(_KINDS, default=NO_KIND, return_dtype=pl.Int64),
        charge=pl.col("charge").fill_null(NO_CHARGE),
        tier=pl.col("tier").fill_null(0).cast(pl.Int64),
        invoiced_quantity=pl.col("quantity").to_physical(),
        invoiced_exact=pl.col("exact_amount").to_physical(),
        invoiced=pl.col("amount").to_physical(),
    )


def settled_numbers(settled: pl.DataFrame, subscriptions: int, never: int) -> Index:
    """The number settled last of each subscription of the catalog; `never` where there is none."""
    numbers = np.full(subscriptions, never, np.int64)
    numbers[settled["subscription"].to_numpy()] = settled["period"].to_numpy() - 1
    return numbers


def moved(settled: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    """The settled periods that the catalog now has at another time, openings of subscriptions included."""
    opened = settled.filter(pl.col("period") == 0)
    begin = paid_from(catalog, opened["subscription"].to_numpy())
    shifted = opened.filter(pl.Series(begin != opened["period_start"].dt.epoch("us").to_numpy(), dtype=pl.Boolean))
    closed = settled.filter(pl.col("period") > 0)
    subscription, number = closed["subscription"].to_numpy(), closed["period"].to_numpy() - 1
    start, over = whole_periods(catalog, subscription, number)
    over = np.minimum(over, catalog.subscriptions.life[subscription, 1])
    same = (start == closed["period_start"].dt.epoch("us").to_numpy()) & (
        over == closed["period_end"].dt.epoch("us").to_numpy()
    )
    return pl.concat([shifted, closed.filter(pl.Series(~same, dtype=pl.Boolean))])


def _with_charges(rows: pl.DataFrame, catalog: CompiledCatalog) -> pl.DataFrame:
    products, charges = catalog.products, catalog.charges
    product = charges.product[~charges.is_quota]
    names = pl.DataFrame(
        {
            "product_id": [products.ids[row] for row in product.tolist()],
            "product_version": [products.versions[row] for row in product.tolist()],
            "charge_id": [
                name for name, quota in zip(charges.ids, charges.is_quota.tolist(), strict=True) if not quota
            ],
            "charge": np.flatnonzero(~charges.is_quota),
        },
        schema=_OF_CHARGE | {"charge": pl.Int64},
    )
    return rows.join(names, on=list(_OF_CHARGE), how="left", maintain_order="left")
