"""Rows of a Parquet file as JSON records: a column is an attribute of the event, `data` is an object or JSON text.

The rule: no float may hold a quantity, so a file with a column of floats is refused as a whole, before a row is read.
Decimals lose the zeros at their end, which only say how the column is stored; times without a zone are UTC.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.errors import RatemillError
from rating.texts import Bytes

_encode = msgspec.json.Encoder().encode


class ParquetRecords:
    """Rows from a row number on; `position` is the number of the next row."""

    def __init__(self, path: Path, position: int) -> None:
        self.position = position
        self._path = path
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise RatemillError(f"cannot read the events {path}: {str(error).partition(chr(10))[0]}") from error
        _refuse_floats(path, self._file.schema_arrow)
        self._rows: Iterator[pa.RecordBatch] | None = None

    def read(self, records: int, size: int) -> Bytes:
        """The next rows as lines of JSON without null members; `size` does not matter, groups of rows bound a read."""
        if self._rows is None:
            self._rows = self._from_position(records)
        batch = next(self._rows, None)
        if batch is None:
            return np.zeros(0, np.uint8)
        self.position += batch.num_rows
        return np.frombuffer(b"".join(_line(row) for row in batch.to_pylist()), np.uint8)

    def bytes_read(self) -> int:
        """How far into the file reading has come, as the share of its rows."""
        rows = self._file.metadata.num_rows
        return self._path.stat().st_size * self.position // rows if rows else 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _from_position(self, records: int) -> Iterator[pa.RecordBatch]:
        first = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if self.position < first + rows:
                read = self._file.read_row_group(group, use_threads=False).slice(max(0, self.position - first))
                yield from read.to_batches(max_chunksize=records)
            first += rows


def _refuse_floats(path: Path, schema: pa.Schema) -> None:
    for name, kind in _leaves("", schema):
        if pa.types.is_floating(kind):
            raise RatemillError(
                f"cannot read the events {path}: column `{name}` holds floats ({kind}), which are not exact;"
                " write decimals, integers or text"
            )


def _leaves(prefix: str, fields: Any) -> Iterator[tuple[str, pa.DataType]]:
    for field in fields:
        if isinstance(field.type, pa.StructType):
            yield from _leaves(f"{prefix}{field.name}.", field.type)
        else:
            element = field.type
            while isinstance(element, pa.ListType | pa.LargeListType):
                element = element.value_type
            yield prefix + field.name, element


def _line(row: dict[str, Any]) -> bytes:
    """The row as one line; to JSON a carriage return is what a line feed is: a blank, and wrong inside a string."""
    return _encode(_record(row)).replace(b"\n", b"\r") + b"\n"


def _record(row: dict[str, Any]) -> dict[str, Any]:
    record = {name: _plain(value) for name, value in row.items() if value is not None}
    if isinstance(row.get("data"), str):
        record["data"] = msgspec.Raw(row["data"].encode())
    return record


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(member) for name, member in value.items() if member is not None}
        case list():
            return [_plain(member) for member in value]
        case Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case datetime():
            return (value.replace(tzinfo=UTC) if value.tzinfo is None else value).isoformat()
        case date():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "replace")
        case _:
            return value
