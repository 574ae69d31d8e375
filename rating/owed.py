"""What subscriptions owe for periods, less what was invoiced for them: every line of every invoice (semantics 8).

Owns the difference. Does not own checks, or how lines are worded. The rule: owed is what the ledger sums to now,
rounded once per charge and tier, less what invoices say; so late events and retries need no case of their own.
"""

import numpy as np
import polars as pl

from rating.due import Due
from rating.fees import KEY, OWED, Seller, billed_ahead, flats_at_zero, on_purchase, recurring, spends
from rating.money import round_to
from rating.prices import Mask
from schemas.invoices import LineKind

# Where a line stands, and what it is for: `on` is the number of the due period whose invoice carries it, `adjusts` the
# kind that an adjustment or a proration corrects, null of all others.
LINES = {**OWED, "on": pl.Int64, "adjusts": pl.Int64, "refund_id": pl.String}
_USAGE = [int(kind) for kind in LineKind if LineKind.USAGE <= kind <= LineKind.MAXIMUM_AMOUNT]
_OF_PERIODS = [*_USAGE, int(LineKind.MINIMUM_SPEND), int(LineKind.MAXIMUM_SPEND)]
_PERIOD = ["subscription", "number"]


def usage_owed(lines: pl.DataFrame, seller: Seller) -> pl.DataFrame:
    """Line items summed to one row per period, charge, kind and tier, with `usage` and `synthetic`.

    The unit price is null where prices differ, or where it does not explain the amount.
    """
    one_price = pl.col("unit_price_least").min() == pl.col("unit_price_most").max()
    owed = lines.group_by(KEY).agg(
        pl.col("quantity", "exact", "usage").sum(),
        unit_price=pl.when(one_price).then(pl.col("unit_price_least").min()),
        synthetic=pl.col("synthetic").any(),
    )
    explained = pl.col("quantity") * pl.col("unit_price") == pl.col("exact")
    return owed.with_columns(
        unit_price=pl.when(explained).then(pl.col("unit_price")),
        rounded=round_to(owed["exact"], seller.minor_of(owed["subscription"].to_numpy())),
    )


def changed_periods(usage: pl.DataFrame, invoiced: pl.DataFrame, due: Due) -> pl.DataFrame:
    """The periods whose usage is not what was invoiced, and all that are due: `subscription` and `number`."""
    before = invoiced.filter(pl.col("kind").is_in(_USAGE))
    compared = usage.join(_summed(before), on=KEY, how="full", coalesce=True)
    differs = pl.col("exact").fill_null(0) != pl.col("invoiced_exact").fill_null(0)
    closing = pl.DataFrame({"subscription": due.subscription[due.closes], "number": due.number[due.closes]})
    last = closing.group_by("subscription").agg(last=pl.col("number").max())
    earlier = compared.filter(differs).join(last, on="subscription").filter(pl.col("number") <= pl.col("last"))
    return pl.concat([closing, earlier.select(_PERIOD)]).unique(maintain_order=True)


def owed_lines(
    seller: Seller, due: Due, usage: pl.DataFrame, periods: pl.DataFrame, invoiced: pl.DataFrame, pays_setup: Mask
) -> pl.DataFrame:
    """All lines but refunds, columns as in LINES; `periods` are those of `changed_periods`."""
    own = usage.join(periods, on=_PERIOD, how="semi")
    totals = own.group_by("subscription", "number", "charge").agg(pl.col("usage").sum())
    metered = own.select(list(OWED))
    flats = flats_at_zero(seller, periods, totals)
    target = _summed_owed(pl.concat([metered, flats]))
    target = pl.concat([target, spends(seller, periods, target)])
    before = invoiced.filter(pl.col("kind").is_in(_OF_PERIODS)).join(periods, on=_PERIOD, how="semi")
    return pl.concat(
        [
            _placed(_less(target, before), due),
            _fees(seller, due, invoiced),
            _carried(on_purchase(seller, due, pays_setup)),
        ]
    )


def _summed(invoiced: pl.DataFrame) -> pl.DataFrame:
    return invoiced.group_by(KEY).agg(pl.col("invoiced_quantity", "invoiced_exact", "invoiced").sum())


def _summed_owed(owed: pl.DataFrame) -> pl.DataFrame:
    """One row per key: a flat amount at zero usage may meet lines that cancel each other out."""
    if not owed.select(KEY).is_duplicated().any():
        return owed
    sums = owed.group_by(KEY).agg(
        pl.col("quantity").sum(), pl.col("unit_price").last(), pl.col("exact").sum(), pl.col("rounded").sum()
    )
    return sums.select(list(OWED))


def _less(target: pl.DataFrame, invoiced: pl.DataFrame) -> pl.DataFrame:
    """What is owed beyond what was invoiced; `was_invoiced` says whether anything was."""
    joined = target.join(_summed(invoiced), on=KEY, how="full", coalesce=True)
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
    closing = np.flatnonzero(due.closes)
    own = pl.DataFrame({"subscription": due.subscription[closing], "number": due.number[closing], "own": True})
    first = np.flatnonzero(due.is_first)
    firsts = pl.DataFrame({"subscription": due.subscription[first], "first": due.number[first]})
    placed = lines.join(own, on=_PERIOD, how="left").join(firsts, on="subscription", how="left")
    is_own = pl.col("own").fill_null(value=False)
    placed = placed.with_columns(
        on=pl.when(is_own).then(pl.col("number")).otherwise(pl.col("first")),
        adjusts=pl.when(~is_own).then(pl.col("kind")),
        kind=pl.when(is_own).then(pl.col("kind")).otherwise(pl.lit(int(LineKind.ADJUSTMENT), pl.Int64)),
        refund_id=pl.lit(None, pl.String),
    )
    return placed.filter(is_own | (pl.col("rounded") != 0) | (pl.col("exact") != 0)).select(list(LINES))


def _fees(seller: Seller, due: Due, invoiced: pl.DataFrame) -> pl.DataFrame:
    """Recurring fees: of due periods, less what was billed in advance, and those billed ahead now."""
    ahead = billed_ahead(seller, due)
    closing = np.flatnonzero(due.closes)
    target = recurring(seller, due.subscription[closing], due.number[closing])
    before = invoiced.filter(pl.col("kind") == LineKind.RECURRING_FEE)
    now = ahead.select(
        *KEY, invoiced_quantity=pl.col("quantity"), invoiced_exact=pl.col("exact"), invoiced=pl.col("rounded")
    )
    periods = pl.DataFrame({"subscription": due.subscription[closing], "number": due.number[closing]})
    before = pl.concat([before.select(now.columns), now]).join(periods, on=_PERIOD, how="semi")
    rest = _less(target, before)
    fee = int(LineKind.RECURRING_FEE)
    own = rest.with_columns(
        kind=pl.when(pl.col("was_invoiced"))
        .then(pl.lit(int(LineKind.PRORATION), pl.Int64))
        .otherwise(pl.lit(fee, pl.Int64)),
        adjusts=pl.when(pl.col("was_invoiced")).then(pl.lit(fee, pl.Int64)),
        on=pl.col("number"),
        refund_id=pl.lit(None, pl.String),
    )
    return pl.concat([own.select(list(LINES)), _carried(ahead)])


def _carried(owed: pl.DataFrame) -> pl.DataFrame:
    on = pl.col("on") if "on" in owed.columns else pl.col("number")
    return owed.with_columns(on=on, adjusts=pl.lit(None, pl.Int64), refund_id=pl.lit(None, pl.String)).select(
        list(LINES)
    )
