"""Line items whose order cannot be known, compared by what does not depend on it.

A counter is a subscription, a charge and a period. Whatever the order, the same events raise its usage by the same, and
their lines sum to the same amount.
"""

import polars as pl

_COUNTER = ["subscription_id", "product_id", "product_version", "charge_id", "period_start", "trial"]
_FACTS = ["events", "amount", "usage", "exact"]


def without_equal_totals(
    stored: pl.DataFrame, computed: pl.DataFrame, concerned: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Both sides without the lines of counters of these subscriptions whose totals agree, and how many lines these are.

    Lines that agree one by one are left in.
    """
    differing = _counters(stored.join(computed, on=stored.columns, how="anti", nulls_equal=True))
    own = differing.filter(pl.col("subscription_id").is_in(concerned.implode()))
    agreeing = _totals(stored).join(_totals(computed), on=_COUNTER + _FACTS, nulls_equal=True)
    equal = own.join(agreeing.filter("exact"), on=_COUNTER, how="semi", nulls_equal=True)
    sides = []
    for rows in (stored, computed):
        marked = rows.with_columns(trial=pl.col("line_kind") == "trial")
        sides.append(marked.join(equal, on=_COUNTER, how="anti", nulls_equal=True).drop("trial"))
    return sides[0], sides[1], stored.height - sides[0].height


def _counters(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.with_columns(trial=pl.col("line_kind") == "trial").select(_COUNTER).unique()


def _totals(lines: pl.DataFrame) -> pl.DataFrame:
    """Per counter: its events, the sum of amounts, by how much usage rose, and whether each line multiplies out."""
    exact = pl.col("quantity").to_physical().cast(pl.Int128) * pl.col("unit_price").to_physical().cast(pl.Int128)
    return (
        lines.with_columns(
            trial=pl.col("line_kind") == "trial",
            fits=exact == pl.col("amount").to_physical().cast(pl.Int128),
            step=pl.col("usage_after") - pl.col("usage_before"),
        )
        .group_by(_COUNTER)
        .agg(
            events=pl.struct("partition", "offset").unique().sort(),
            amount=pl.col("amount").sum(),
            usage=pl.col("step").sum(),
            exact=pl.col("fits").all(),
        )
    )
