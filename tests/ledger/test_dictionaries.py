"""Columns of few different texts reach a file as dictionaries, and readers as the texts they are."""

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflows.ledger.dictionaries import TYPE, encoded
from dataflows.ledger.tables import TableFile
from schemas.ledger import QUOTA_VERDICTS, TABLES, polars_schema

_LONG = "a text that does not fit into the view itself, number {}"
COLUMNS = {
    "one": ["a"] * 5,
    "few": ["a", "b", "b", "a", ""],
    "many": [str(number) for number in range(100)],
    "long": [_LONG.format(number % 3) for number in range(50)],
    "nulls": [None, "a", None, "", "a", _LONG],
    "only nulls": [None] * 4,
    "none": [],
}


def views(texts: list[str | None]) -> pa.ChunkedArray:
    """As rows of the flow come: views, in two chunks, the second of which begins within its buffer."""
    whole = pl.Series(texts, dtype=pl.String).to_arrow(compat_level=pl.CompatLevel.newest())
    assert whole.type == pa.string_view()
    middle = len(texts) // 2
    return pa.chunked_array([whole[:middle], whole[middle:]], whole.type)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_text_is_itself(name):
    for column in (views(COLUMNS[name]), pa.chunked_array([pa.array(COLUMNS[name], pa.large_string())])):
        found = encoded(column)
        assert found.type == TYPE
        assert found.to_pylist() == COLUMNS[name]
        assert encoded(found) is found
        for chunk in found.chunks:
            assert len(set(chunk.dictionary.to_pylist())) == len(chunk.dictionary)


def test_equal_texts_in_different_places_are_one():
    text = _LONG.format(1)
    parts = pl.concat([pl.Series([text]), pl.Series([text]), pl.Series([_LONG])], rechunk=True)
    [chunk] = encoded(pa.chunked_array([parts.to_arrow(compat_level=pl.CompatLevel.newest())])).chunks
    assert chunk.dictionary.to_pylist() == [text, _LONG]


def test_a_file_says_nothing_of_it(tmp_path):
    """Frames with other texts share a row group; types are those of the table to Arrow, Polars and DuckDB."""
    verdict = dict.fromkeys(QUOTA_VERDICTS.names) | {"subscription_id": "s", "told_at": None}
    frames = [
        pl.DataFrame(
            [verdict | {"quota": quota, "verdict": "allowed"} for quota in quotas], schema=polars_schema(QUOTA_VERDICTS)
        )
        for quotas in (["a", "b"], ["b", "c", "a"], [_LONG])
    ]
    filled = [
        frame.with_columns(
            pl.col(pl.String).fill_null("x"),
            pl.col(pl.Decimal, pl.Int32).fill_null(1),
            pl.col("synthetic").fill_null(False),
            pl.col(pl.Datetime).fill_null(pl.datetime(2026, 1, 1, time_zone="UTC")),
        )
        for frame in frames
    ]
    file = TableFile("quota_verdicts", tmp_path / "rows.parquet")
    for frame in filled:
        file.append(frame)
    file.close()
    expected = pl.concat(filled)
    assert pq.read_schema(file.path).equals(TABLES["quota_verdicts"], check_metadata=True)
    assert pq.read_table(file.path)["quota"].to_pylist() == expected["quota"].to_list()
    assert pl.read_parquet(file.path).equals(expected)
    quotas = duckdb.sql(f"SELECT quota, typeof(quota) FROM '{file.path}'").fetchall()
    assert quotas == [(quota, "VARCHAR") for quota in expected["quota"]]
    column = pq.ParquetFile(file.path).metadata.row_group(0).column(QUOTA_VERDICTS.names.index("quota"))
    assert column.encodings == ("PLAIN", "RLE", "RLE_DICTIONARY")
    assert column.dictionary_page_offset is not None
