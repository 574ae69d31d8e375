"""What subscriptions owe for a range of time, from line items: whole periods as invoices would say, others as usage.

Owns that rule: a settlement period that lies wholly in the range is settled as if nothing had been invoiced before,
with its fees, least and greatest spend and rounding; of any other, the lines whose events lie in the range are summed,
with all their digits. A fee belongs to the period that it is for, whichever invoice would carry it; fees on purchase
belong to the moment at which a subscription begins to pay. Refunds are left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rating import wide
from rating.book import INVOICED, SETTLED, SUMMED, number_invoiced, number_lines
from rating.due import NEVER, OPENING, Due, Moments, due_periods
from rating.fees import Seller
from rating.owed import owed_lines, usage_owed
from rating.settle import Tariff, pays_setup
from rating.terms import NO_CHARGE
from schemas.decimals import AMOUNT_SCALE

_TIME = pl.Datetime("us", "UTC")
_AMOUNT = pl.Decimal(38, AMOUNT_SCALE)
# Line items summed as for settlement, but by the subscription's id, and by whether their events lie in the range.
RANGE_SUMMED: dict[str, Any] = {
    "subscription_id": pl.String,
    **{name: kind for name, kind in SUMMED.items() if name != "subscription"},
    "inside": pl.Boolean,
}
AMOUNTS: dict[str, Any] = {
    "subscription_id": pl.String,
    "product_id": pl.String,
    "currency": pl.String,
    "amount": _AMOUNT,
}


@dataclass(frozen=True, slots=True)
class RangeAmounts:
    """`amounts` per subscription and product; how many periods were settled whole, and how many are usage only."""

    amounts: pl.DataFrame
    whole: int
    cut: int


def range_amounts(tariff: Tariff, summed: pl.DataFrame, begin: int, end: int) -> RangeAmounts:
    """What is owed for [begin, end), in microseconds UTC; `summed` is as RANGE_SUMMED, of all of the ledger."""
    seller = tariff.seller
    columns = seller.catalog.subscriptions
    ids = pl.DataFrame({"subscription_id": columns.ids}).with_row_index("subscription")
    lines = summed.join(ids.cast({"subscription": pl.Int64}), on="subscription_id", how="left")
    due = _whole_periods(seller, begin, end)
    closing = np.flatnonzero(due.closes)
    whole = pl.DataFrame(
        {"subscription": due.subscription[closing], "period_start": pl.Series(due.start[closing]).cast(_TIME)}
    )
    place = ["subscription", "period_start"]
    numbered = number_lines(lines.join(whole, on=place, how="semi").select(list(SUMMED)), seller.catalog)
    settled = _settled(tariff, due, numbered.lines)
    # Lines of what the catalog has no longer cannot be settled by it.
    others = pl.concat([numbered.unknown, numbered.misplaced.filter(pl.col("charge").is_not_null())])
    strange = others.join(ids.cast({"subscription": pl.Int64}), on="subscription").select(list(AMOUNTS))
    rest = lines.join(whole, on=place, how="anti").filter("inside")
    cut = rest.select("subscription_id", "period_start").n_unique()
    amounts = pl.concat([settled, strange, rest.select(list(AMOUNTS))])
    keys = ["subscription_id", "product_id", "currency"]
    return RangeAmounts(amounts.group_by(keys).agg(pl.col("amount").sum()).sort(keys), len(closing), cut)


def _whole_periods(seller: Seller, begin: int, end: int) -> Due:
    """The periods that lie wholly in the range, and what opens subscriptions within it."""
    nothing = np.full(len(seller.catalog.subscriptions.ids), NEVER, np.int64)
    due = due_periods(seller.catalog, seller.terms, nothing, Moments.both(end))
    return due.take(np.flatnonzero((due.start >= begin) & (due.closes | (due.start < end))))


def _settled(tariff: Tariff, due: Due, lines: pl.DataFrame) -> pl.DataFrame:
    """What invoices would say of these periods, as AMOUNTS."""
    seller = tariff.seller
    catalog = seller.catalog
    usage = usage_owed(lines, seller)
    closing = np.flatnonzero(due.closes)
    periods = pl.DataFrame({"subscription": due.subscription[closing], "number": due.number[closing]})
    before: dict[str, Any] = dict(INVOICED)
    none = number_invoiced(pl.DataFrame(schema=before), catalog)
    nothing: dict[str, Any] = dict(SETTLED)
    owed = owed_lines(seller, due, usage, periods, none, pl.DataFrame(schema=nothing), pays_setup(tariff, due, {}))
    own = pl.concat(
        [
            owed.filter(pl.col("number") == OPENING),
            owed.join(periods, on=["subscription", "number"], how="semi", maintain_order="left"),
        ]
    )
    charge = own["charge"].to_numpy()
    of_subscription = catalog.subscriptions.product[own["subscription"].to_numpy()]
    # A catalog of fees alone has no charges to look up.
    of_charges = catalog.charges.product[charge] if len(catalog.charges.product) else of_subscription
    product = np.where(charge == NO_CHARGE, of_subscription, of_charges)
    names, currencies = (pl.Series(values) for values in (catalog.products.ids, catalog.products.currencies))
    return pl.DataFrame(
        {
            "subscription_id": wide.picked(catalog.subscriptions.ids, own["subscription"].to_numpy()),
            "product_id": wide.picked(names, product),
            "currency": wide.picked(currencies, product),
            "amount": wide.to_series(wide.from_series(own["rounded"]), AMOUNT_SCALE),
        },
        schema=AMOUNTS,
    )
