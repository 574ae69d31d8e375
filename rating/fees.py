"""What is owed beside usage: recurring fees and their proration, fees on purchase, least and greatest spend.

Owns those amounts. Does not own usage, or what was invoiced before. The rule: a fee belongs to the period that it is
for, whichever invoice carries it; a period that is paid in part costs that part, by time, rounded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.codes import packed
from rating.due import Due, paid_from, paid_part, whole_periods
from rating.money import round_to
from rating.prices import Index, Mask
from rating.terms import NO_CHARGE, Spend, Terms
from schemas.decimals import QUANTITY_SCALE, divide_half_away
from schemas.invoices import LineKind

# Amounts (10^-18), rounded ones too; quantities in micros, unit prices in 10^-12, null where a line has none.
OWED = {
    "subscription": pl.Int64,
    "number": pl.Int64,
    "kind": pl.Int64,
    "charge": pl.Int64,
    "tier": pl.Int64,
    "quantity": pl.Int128,
    "unit_price": pl.Int128,
    "exact": pl.Int128,
    "rounded": pl.Int128,
}
KEY = ("subscription", "number", "kind", "charge", "tier")
_ONE = 10**QUANTITY_SCALE


@dataclass(frozen=True, slots=True)
class Seller:
    """What settlement asks of a catalog: the compiled one and the terms of its products."""

    catalog: CompiledCatalog
    terms: Terms

    def product_of(self, subscription: Index) -> Index:
        """The product version of each of these subscriptions."""
        return self.catalog.subscriptions.product[subscription]

    def minor_of(self, subscription: Index) -> pl.Series:
        """What one minor unit of the currency of each of these subscriptions is."""
        return wide.picked(self.terms.minor, self.product_of(subscription))


def recurring(seller: Seller, subscription: Index, number: Index) -> pl.DataFrame:
    """The recurring fee of these periods, of those that have one."""
    terms = seller.terms
    fee = np.array([amount > 0 for amount in terms.recurring], np.bool_)[seller.product_of(subscription)]
    rows = np.flatnonzero(fee)
    return _parts(seller, subscription[rows], number[rows], terms.recurring, LineKind.RECURRING_FEE)


def billed_ahead(seller: Seller, due: Due) -> pl.DataFrame:
    """The fees in advance that invoices of due periods carry, with `on`, the number of the due period."""
    rows = np.flatnonzero(seller.terms.in_advance[seller.product_of(due.subscription)] & ~due.supplements)
    carried = following(seller.catalog, due.take(rows))
    fees = recurring(seller, carried["subscription"].to_numpy(), carried["number"].to_numpy())
    return fees.join(carried, on=["subscription", "number"], how="left", maintain_order="left")


def following(catalog: CompiledCatalog, due: Due) -> pl.DataFrame:
    """The period after each of these, `on` its number; of one that opens, the first that is paid."""
    clock = catalog.subscriptions.life[due.subscription, 3]
    first = catalog.subscriptions.clocks.numbers_of(clock, paid_from(catalog, due.subscription))
    number = np.where(due.opens, first, due.number + 1)
    start, _ = whole_periods(catalog, due.subscription, number)
    goes_on = due.opens | (start < catalog.subscriptions.life[due.subscription, 1])
    rows = {"subscription": due.subscription, "number": number, "on": due.number}
    return pl.DataFrame({name: values[goes_on] for name, values in rows.items()})


def on_purchase(seller: Seller, due: Due, pays_setup: Mask) -> pl.DataFrame:
    """One-time and setup fees of the subscriptions that open, of which `pays_setup` tells: nobody else has paid it."""
    opening = due.subscription[due.opens]
    number = due.number[due.opens]
    terms, product = seller.terms, seller.product_of(opening)
    blocks = []
    for kind, amounts, pays in (
        (LineKind.ONE_TIME, terms.one_time, np.ones(len(opening), np.bool_)),
        (LineKind.SETUP_FEE, terms.setup, pays_setup),
    ):
        due_rows = np.flatnonzero(pays & np.array([amount > 0 for amount in amounts], np.bool_)[product])
        exact = wide.picked(pl.Series(amounts, dtype=pl.Int128), product[due_rows])
        blocks.append(_owed(seller, opening[due_rows], number[due_rows], kind, NO_CHARGE, exact))
    return pl.concat(blocks)


def spends(seller: Seller, periods: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """What least and greatest spend add in these periods (`subscription`, `number`), given the owed of their usage.

    Bounds of charges come first; those of a product hold for all its charges, such lines included.
    """
    own = _of_charges(seller, periods, usage)
    return pl.concat([own, _of_products(seller, periods, pl.concat([usage, own]))])


def _of_charges(seller: Seller, periods: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    rules = [rule for rule in seller.terms.spends if rule.charge != NO_CHARGE]
    return _bounded(seller, periods, rules, usage, ["subscription", "number", "charge"])


def _of_products(seller: Seller, periods: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    rules = [rule for rule in seller.terms.spends if rule.charge == NO_CHARGE]
    return _bounded(seller, periods, rules, usage, ["subscription", "number"])


def _bounded(
    seller: Seller, periods: pl.DataFrame, rules: Sequence[Spend], usage: pl.DataFrame, key: Sequence[str]
) -> pl.DataFrame:
    """One line for each period and rule whose bound the sum of the usage by that key misses."""
    if not rules or not periods.height:
        return pl.DataFrame(schema=OWED)
    stated = pl.DataFrame(
        [(rule.product, rule.charge, rule.minimum, rule.maximum) for rule in rules],
        schema={"product": pl.Int64, "charge": pl.Int64, "minimum": pl.Int128, "maximum": pl.Int128},
        orient="row",
    )
    subscription = periods["subscription"].to_numpy()
    bound = periods.with_columns(product=pl.Series(seller.product_of(subscription))).join(stated, on="product")
    codes = pl.Series("code", packed([usage[name].to_numpy() for name in key]))
    sums = usage.group_by(codes).agg(pl.col(key).first(), pl.col("rounded").sum()).drop("code")
    bound = bound.join(sums, on=list(key), how="left").with_columns(pl.col("rounded").fill_null(0))
    blocks = []
    for kind, column in ((LineKind.MINIMUM_SPEND, "minimum"), (LineKind.MAXIMUM_SPEND, "maximum")):
        limited = bound.filter(pl.col(column).is_not_null())
        rows = limited["subscription"].to_numpy(), limited["number"].to_numpy()
        limits = _shares(seller, *rows, limited[column])[1]
        more = limits - limited["rounded"]
        missing = more > 0 if kind == LineKind.MINIMUM_SPEND else more < 0
        kept = np.flatnonzero(missing.to_numpy())
        charge = limited["charge"].to_numpy()[kept]
        blocks.append(_owed(seller, rows[0][kept], rows[1][kept], kind, charge, wide.picked(more, kept)))
    return pl.concat(blocks)


def flats_at_zero(seller: Seller, periods: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """The first tier's flat amount of charges that state it, in these periods without usage beyond what is included.

    `usage` has usage (micros) with its `subscription`, `number` and `charge`.
    """
    flats = seller.terms.flats
    if not flats or not periods.height:
        return pl.DataFrame(schema=OWED)
    stated = pl.DataFrame(
        [(one.product, one.charge, one.included, one.amount) for one in flats],
        schema={"product": pl.Int64, "charge": pl.Int64, "included": pl.Int128, "flat": pl.Int128},
        orient="row",
    )
    product = pl.Series(seller.product_of(periods["subscription"].to_numpy()))
    totals = usage.group_by("subscription", "number", "charge").agg(pl.col("usage").sum())
    found = (
        periods.with_columns(product=product)
        .join(stated, on="product")
        .join(totals, on=["subscription", "number", "charge"], how="left")
        .filter(pl.col("usage").fill_null(0) <= pl.col("included"))
    )
    rows = [found[name].to_numpy() for name in ("subscription", "number", "charge")]
    owed = _owed(seller, rows[0], rows[1], LineKind.TIER_FLAT, rows[2], found["flat"])
    return owed.with_columns(
        tier=pl.lit(1, pl.Int64),
        quantity=pl.lit(_ONE, pl.Int128),
        unit_price=pl.col("exact") // pl.lit(_ONE, pl.Int128),
    )


def _parts(seller: Seller, subscription: Index, number: Index, amounts: Sequence[int], kind: LineKind) -> pl.DataFrame:
    """The paid part of an amount of each product, for each of these periods."""
    own = wide.picked(_int128(amounts), seller.product_of(subscription))
    exact, rounded = _shares(seller, subscription, number, own)
    owed = _owed(seller, subscription, number, kind, NO_CHARGE, exact)
    return owed.with_columns(rounded=rounded).filter(pl.col("exact") != 0)


def _shares(seller: Seller, subscription: Index, number: Index, exact: pl.Series) -> tuple[pl.Series, pl.Series]:
    """What of these amounts falls on the paid part of their periods, exact to 18 digits, and rounded once."""
    paid = paid_part(seller.catalog, subscription, number)
    minor = seller.minor_of(subscription)
    rounded = round_to(exact, minor)
    cut = np.flatnonzero(paid.is_cut)
    if len(cut):
        parts, wholes = paid.part[cut].tolist(), paid.whole[cut].tolist()
        amounts, units = (wide.picked(column, cut).to_list() for column in (exact, minor))
        shares = [(amount * part, whole) for amount, part, whole in zip(amounts, parts, wholes, strict=True)]
        exact = exact.scatter(cut, _int128([divide_half_away(part, whole) for part, whole in shares]))
        rounded = rounded.scatter(
            cut,
            _int128(
                [divide_half_away(part, whole * unit) * unit for (part, whole), unit in zip(shares, units, strict=True)]
            ),
        )
    return exact, rounded


def _int128(values: Sequence[int]) -> pl.Series:
    return pl.Series(values, dtype=pl.Int128)


def _owed(
    seller: Seller, subscription: Index, number: Index, kind: LineKind, charge: Index | int, exact: pl.Series
) -> pl.DataFrame:
    height = len(subscription)
    return pl.DataFrame(
        {
            "subscription": subscription,
            "number": number,
            "kind": np.full(height, kind, np.int64),
            "charge": np.broadcast_to(np.asarray(charge, np.int64), height).copy(),
            "tier": np.zeros(height, np.int64),
            "quantity": pl.Series([None], dtype=pl.Int128).new_from_index(0, height),
            "unit_price": pl.Series([None], dtype=pl.Int128).new_from_index(0, height),
            "exact": exact.alias("exact"),
            "rounded": round_to(exact, seller.minor_of(subscription)),
        },
        schema=OWED,
    )
