"""Files of a ledger table: however rows lie in memory, the file is the same."""

from datetime import UTC, datetime

import polars as pl
import pyarrow.parquet as pq
import pytest

from dataflows.ledger.tables import TableFile
from schemas.ledger import TABLES, polars_schema

_PERIODS = polars_schema(TABLES["settled_periods"])


def periods(count: int) -> pl.DataFrame:
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    columns = {
        "subscription_id": [f"a-subscription-with-a-long-name-{number}" for number in range(count)],
        "period": list(range(count)),
        "period_start": [moment] * count,
        "period_end": [moment] * count,
        "outcome": ["invoiced"] * count,
        "invoice_id": [None, "short"] * (count // 2),
        "reason": [None] * count,
        "reason_detail": [None] * count,
        "catalog_digest": ["d" * 64] * count,
    }
    return pl.DataFrame(columns, schema=_PERIODS)


def test_columns_in_another_order_are_not_taken_for_each_other(tmp_path):
    file = TableFile("settled_periods", tmp_path / "swapped")
    rows = periods(2).to_arrow()
    with pytest.raises(AssertionError, match="settled_periods"):
        file.append_arrow(rows.select([*rows.column_names[1:], rows.column_names[0]]))


def test_texts_that_are_not_copied_make_the_same_file(tmp_path):
    for name, keeps_texts in (("copied", False), ("kept", True)):
        file = TableFile("settled_periods", tmp_path / name, keeps_texts=keeps_texts)
        file.append(periods(6))
        file.append(periods(40)[3:9])
        file.close()
    assert (tmp_path / "kept").read_bytes() == (tmp_path / "copied").read_bytes()
    assert pq.read_schema(tmp_path / "kept").equals(TABLES["settled_periods"], check_metadata=True)
