"""Texts on invoices and in their notices: decimals without idle zeros, lists in JSON, and what credentials cost."""

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import compute

from rating import wide
from rating.codes import packed, ranks, rows_of
from rating.invoice_order import PLACE
from rating.prices import Index
from schemas.decimals import AMOUNT_SCALE


def decimals_as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with plain texts for decimals.

    >>> decimals_as_text(pl.DataFrame({"a": pl.Series(["1.50", "20.00"]).cast(pl.Decimal(38, 2))}))["a"].to_list()
    ['1.5', '20']
    """
    plain = pl.selectors.decimal().cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    return rows.with_columns(plain)


def listed(texts: pl.Series, counts: Index) -> pl.Series:
    """So many of these texts after the other as one, with commas.

    >>> listed(pl.Series(["1", "2", "3"]), np.array([2, 0, 1])).to_list()
    ['1,2', '', '3']
    """
    starts = pa.array(np.concatenate([[0], np.cumsum(counts)]))
    groups = pa.LargeListArray.from_arrays(starts, texts.to_arrow())
    return pl.Series(pl.from_arrow(compute.binary_join(groups, pa.scalar(",", pa.large_string()))))


def credentials(usage: pl.DataFrame, places: pl.DataFrame) -> pl.Series:
    """Per place: what the usage of each credential costs, exactly, as a JSON list."""
    asked = [usage[name].to_numpy() for name in ("subscription", "number")]
    invoice = rows_of([places[name].to_numpy() for name in PLACE], asked)
    own = np.flatnonzero(invoice >= 0)
    used = usage.select("credential_id", "exact")[own]
    code = packed([invoice[own], ranks(used["credential_id"], nulls_last=True)])
    used = used.with_columns(code=pl.Series(code), invoice=pl.Series(invoice[own]))
    sums = used.group_by("code").agg(pl.col("invoice", "credential_id").first(), pl.col("exact").sum()).sort("code")
    amount = wide.to_series(wide.from_series(sums["exact"]), AMOUNT_SCALE).alias("amount")
    texts = decimals_as_text(sums.select("credential_id", amount)).to_struct().struct.json_encode()
    return "[" + listed(texts, np.bincount(sums["invoice"], minlength=len(places))) + "]"
