"""Asking a ledger: rows with exact values, through Arrow.

DuckDB's own conversion of times needs a further package; Arrow's does not, and keeps decimals and microseconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa


@dataclass(frozen=True)
class Answer:
    """The rows of a query, each with one value per column."""

    columns: tuple[str, ...]
    rows: list[list[Any]]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> Answer:
    """The answer to a query; without rows for a statement that gives none. Parameters stand by place or by name."""
    given = parameters if isinstance(parameters, Mapping) else list(parameters)
    relation = connection.sql(query, params=given) if parameters else connection.sql(query)
    table = relation.to_arrow_table()
    return Answer(tuple(table.column_names), _rows(table))


def ask_in_batches(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any], size: int
) -> Iterator[list[dict[str, Any]]]:
    """The rows of a query, some at a time, by column name."""
    relation = connection.sql(query, params=list(parameters))
    for batch in relation.to_arrow_reader(size):
        yield batch.to_pylist()


def _rows(table: pa.Table) -> list[list[Any]]:
    # A decimal without fraction is one of DuckDB's 128-bit integers, a count or a sum of counts.
    columns = [
        [int(value) if isinstance(value, Decimal) and column.type.scale == 0 else value for value in column.to_pylist()]
        for column in table.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]
