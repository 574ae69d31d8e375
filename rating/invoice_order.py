"""Which invoice a line stands on, in which order lines stand there, and their numbers.

The rule: nothing but what a line is for decides where it stands; lines may come in any order. A place is a subscription
and, in `on`, the number of the due period whose invoice it is.
"""

import numpy as np
import polars as pl

from rating.codes import packed, ranks, rows_of
from rating.prices import Index

PLACE = ("subscription", "on")
_WITHIN = ("kind", "number", "adjusts", "charge", "tier")
_NOTHING = -1


def in_order(lines: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """The lines of these places as they stand on invoices, with `invoice`, the row of their place, and `line_number`
    from 1; other columns as in `rating.owed.LINES`.
    """
    invoice = rows_of(*([rows[name].to_numpy() for name in PLACE] for rows in (places, lines)))
    placed = np.flatnonzero(invoice >= 0)
    columns = [lines[name].fill_null(_NOTHING).to_numpy()[placed] for name in _WITHIN]
    code = packed([invoice[placed], *columns, ranks(lines["refund_id"])[placed]])
    order: Index = placed[pl.Series(code).arg_sort().to_numpy()]
    invoice = invoice[order]
    first = np.searchsorted(invoice, np.arange(len(places)))
    number = pl.Series("line_number", 1 + np.arange(len(order)) - first[invoice], dtype=pl.Int32)
    rows = lines[pl.Series(order)]
    return rows.with_columns(pl.Series("invoice", invoice).set_sorted(), number)
