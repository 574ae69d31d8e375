"""What subscriptions owe for periods, less what was invoiced for them: every line of every invoice (semantics 8).

Owns the difference. Does not own checks, or how lines are worded. The rule: owed is what the ledger sums to now,
rounded once per charge and tier, less what invoices say; so late events and retries need no case of their own.
"""

import numpy as np
import polars as pl

from rating.book import only
from rating.codes import packed, rows_of
from rating.due import VOIDS_NONE, Due, pays
from rating.fees import KEY, OWED, Seller, billed_ahead, flats_at_zero, following, on_purchase, recurring, spends
from rating.money import round_to
from rating.prices import Mask
from schemas.invoices import OF_LINE_ITEMS, LineKind

# Where a line stands, and what it is for: `on` is the number of the due period whose invoice carries it, `adjusts` the
# kind that an adjustment or a proration corrects, null of all others.
LINES = {**OWED, "on": pl.Int64, "adjusts": pl.Int64, "refund_id": pl.String}
_USAGE = [int(kind) for kind in OF_LINE_ITEMS]
_OF_PERIODS = [*_USAGE, int(LineKind.MINIMUM_SPEND), int(LineKind.MAXIMUM_SPEND)]
_FEES = [int(LineKind.ONE_TIME), int(LineKind.SETUP_FEE), int(LineKind.RECURRING_FEE)]
_PERIOD = ["subscription", "number"]
_INVOICED = ["invoiced_quantity", "invoiced_exact", "invoiced"]


def usage_owed(lines: pl.DataFrame, seller: Seller) -> pl.DataFrame:
    """Line items summed to one row per period, charge, kind and tier, in their order, with `usage` and `synthetic`.

    The unit price is null where prices differ, or where it does not explain the amount.
    """
    key = packed([lines[name].to_numpy() for name in KEY])
    rows = lines.select(*KEY, "quantity", "exact", "usage", "unit_price_least", "unit_price_most", "synthetic")
    order = pl.Series(key).arg_sort()
    rows, key = rows[order], key[order.to_numpy()]
    if (key[1:] == key[:-1]).any():
        sums = rows.group_by(pl.Series("key", key), maintain_order=True).agg(
            pl.col(KEY).first(),
            pl.col("quantity", "exact", "usage").sum(),
            pl.col("unit_price_least").min(),
            pl.col("unit_price_most").max(),
            pl.col("synthetic").any(),
        )
        rows = sums.drop("key")
    price = pl.col("unit_price_least")
    explained = (price == pl.col("unit_price_most")) & (pl.col("quantity") * price == pl.col("exact"))
    return rows.drop("unit_price_least", "unit_price_most").with_columns(
        unit_price=rows.select(pl.when(explained).then(price)).to_series(),
        rounded=round_to(rows["exact"], seller.minor_of(rows["subscription"].to_numpy())),
    )


def changed_periods(usage: pl.DataFrame, invoiced: pl.DataFrame, due: Due) -> pl.DataFrame:
    """The periods whose usage is not what was invoiced, and all that are due: `subscription` and `number`, in order."""
    before = invoiced.filter(pl.col("kind").is_in(_USAGE))
    compared = _beside(usage.select(*KEY, "exact"), before)
    differs = pl.col("exact").fill_null(0) != pl.col("invoiced_exact").fill_null(0)
    closing = _periods(due, due.closes)
    last = _periods(due, due.closes | due.supplements).group_by("subscription").agg(last=pl.col("number").max())
    others = compared.filter(differs).select(_PERIOD).join(closing, on=_PERIOD, how="anti")
    earlier = others.join(last, on="subscription").filter(pl.col("number") <= pl.col("last"))
    return pl.concat([closing, earlier.select(_PERIOD).unique()]).sort(_PERIOD)


def of_periods(rows: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """The rows of these periods, which are in their order."""
    known, asked = ([each[name].to_numpy() for name in _PERIOD] for each in (periods, rows))
    return only(rows, pl.Series(rows_of(known, asked) >= 0, dtype=pl.Boolean))


def owed_lines(
    seller: Seller,
    due: Due,
    usage: pl.DataFrame,
    periods: pl.DataFrame,
    invoiced: pl.DataFrame,
    settled: pl.DataFrame,
    pays_setup: Mask,
) -> pl.DataFrame:
    """All lines but refunds, columns as in LINES; `periods` are those of `changed_periods`, `settled` the last ones."""
    own = of_periods(usage, periods)
    target = _with_flats(own.select(list(OWED)), flats_at_zero(seller, periods, own))
    target = pl.concat([target, spends(seller, periods, target)])
    before = of_periods(invoiced.filter(pl.col("kind").is_in(_OF_PERIODS)), periods)
    return pl.concat(
        [
            _placed(_less(target, before), due),
            _fees(seller, due, invoiced.filter(pl.col("kind").is_in(_FEES)), settled),
            _carried(on_purchase(seller, due, pays_setup)),
        ]
    )


def _summed(invoiced: pl.DataFrame) -> pl.DataFrame:
    return invoiced.group_by(KEY).agg(pl.col(_INVOICED).sum())


def _beside(owed: pl.DataFrame, invoiced: pl.DataFrame) -> pl.DataFrame:
    """What is owed and what was invoiced, by key; null where there is nothing of one of them."""
    if invoiced.height:
        return owed.join(_summed(invoiced), on=KEY, how="full", coalesce=True)
    return owed.with_columns(pl.lit(None, pl.Int128).alias(name) for name in _INVOICED)


def _with_flats(usage: pl.DataFrame, flats: pl.DataFrame) -> pl.DataFrame:
    """One row per key: a flat amount at zero usage may meet lines that cancel each other out."""
    owed = pl.concat([usage, flats])
    if not flats.height or not owed.select(KEY).is_duplicated().any():
        return owed
    sums = owed.group_by(KEY).agg(
        pl.col("quantity").sum(), pl.col("unit_price").last(), pl.col("exact").sum(), pl.col("rounded").sum()
    )
    return sums.select(list(OWED))


def _less(target: pl.DataFrame, invoiced: pl.DataFrame) -> pl.DataFrame:
    """What is owed beyond what was invoiced; `was_invoiced` says whether anything was."""
    joined = _beside(target, invoiced)
    zero = pl.lit(0, pl.Int128)
    quantity = pl.col("quantity") - pl.col("invoiced_quantity").fill_null(zero)
    exact = pl.col("exact").fill_null(zero) - pl.col("invoiced_exact").fill_null(zero)
    rest = joined.with_columns(
        quantity=quantity,
        exact=exact,
        rounded=pl.col("rounded").fill_null(zero) - pl.col("invoiced").fill_null(zero),
        was_invoiced=pl.col("invoiced_exact").is_not_null(),
    )
    rest = rest.with_columns(
        unit_price=pl.when(pl.col("quantity") * pl.col("unit_price") == pl.col("exact")).then(pl.col("unit_price"))
    )
    owed = (pl.col("exact") != 0) | (pl.col("rounded") != 0)
    return rest.filter(owed | (~pl.col("was_invoiced") & (pl.col("quantity") != 0)))


def _placed(lines: pl.DataFrame, due: Due) -> pl.DataFrame:
    """Lines of due periods on their own invoices; those of earlier periods as adjustments on the first."""
    subscription, number = (lines[name].to_numpy() for name in _PERIOD)
    closing, firsts = due.take(np.flatnonzero(due.closes)), due.take(np.flatnonzero(due.is_first))
    own = rows_of([closing.subscription, closing.number], [subscription, number]) >= 0
    first = rows_of([firsts.subscription], [subscription])
    assert (own | (first >= 0)).all(), "a line of a period before any that is due"
    on = np.where(own, number, np.append(firsts.number, 0)[first])
    placed = lines.with_columns(on=pl.Series(on), own=pl.Series(own, dtype=pl.Boolean))
    is_own = pl.col("own")
    placed = placed.with_columns(
        adjusts=pl.when(~is_own).then(pl.col("kind")),
        kind=pl.when(is_own).then(pl.col("kind")).otherwise(pl.lit(int(LineKind.ADJUSTMENT), pl.Int64)),
        refund_id=pl.lit(None, pl.String),
    )
    return placed.filter(is_own | (pl.col("rounded") != 0) | (pl.col("exact") != 0)).select(list(LINES))


def _fees(seller: Seller, due: Due, invoiced: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """Recurring fees: of due periods, less what was billed in advance, and those billed ahead now; and of subscriptions
    that have ended all fees of what they never came to pay for.
    """
    followed = _followed(due, settled)
    ahead = billed_ahead(seller, due.take(np.flatnonzero(~followed)))
    billed = _periods(due, due.closes).with_columns(on=pl.col("number"))
    periods = pl.concat([billed, following(seller.catalog, due.take(np.flatnonzero(followed)))])
    target = recurring(seller, periods["subscription"].to_numpy(), periods["number"].to_numpy())
    now = ahead.select(
        *KEY, invoiced_quantity=pl.col("quantity"), invoiced_exact=pl.col("exact"), invoiced=pl.col("rounded")
    )
    before = pl.concat([invoiced.select(now.columns), now])
    beyond = before.join(_periods(due, due.supplements).rename({"number": "on"}), on="subscription")
    never_paid = pl.Series(~pays(seller.catalog, beyond["subscription"].to_numpy()), dtype=pl.Boolean)
    beyond = beyond.filter((pl.col("number") > pl.col("on")) | never_paid)
    periods = pl.concat([periods, beyond.select(*_PERIOD, "on").unique(maintain_order=True)])
    own = _less(target, before.join(periods, on=_PERIOD, how="semi")).join(periods, on=_PERIOD, how="left")
    return pl.concat([_corrected(own), _carried(ahead)])


def _followed(due: Due, settled: pl.DataFrame) -> Mask:
    """Which rows are made anew after the period behind them was settled, so that its fee is not billed ahead."""
    last = pl.DataFrame({"subscription": due.subscription}).join(
        settled.select("subscription", "period"), on="subscription", how="left", maintain_order="left"
    )
    later = last["period"].fill_null(0).to_numpy() - 1 > due.number
    followed: Mask = (due.voids != VOIDS_NONE) & ~due.supplements & later
    return followed


def _corrected(fees: pl.DataFrame) -> pl.DataFrame:
    """Fees as lines: a proration where a part of them was invoiced before."""
    was_invoiced, proration = pl.col("was_invoiced"), pl.lit(int(LineKind.PRORATION), pl.Int64)
    return fees.with_columns(
        kind=pl.when(was_invoiced).then(proration).otherwise(pl.col("kind")),
        adjusts=pl.when(was_invoiced).then(pl.col("kind")),
        refund_id=pl.lit(None, pl.String),
    ).select(list(LINES))


def _periods(due: Due, rows: Mask) -> pl.DataFrame:
    return pl.DataFrame({"subscription": due.subscription[rows], "number": due.number[rows]})


def _carried(owed: pl.DataFrame) -> pl.DataFrame:
    on = pl.col("on") if "on" in owed.columns else pl.col("number")
    return owed.with_columns(on=on, adjusts=pl.lit(None, pl.Int64), refund_id=pl.lit(None, pl.String)).select(
        list(LINES)
    )
