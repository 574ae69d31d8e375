"""Decoded batches against the exact decoder, which gets every record by itself."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.steps.decode import decode, decode_chunk
from dataflows.steps.exact import decode_exactly
from rating.batch import DECODED_COLUMNS, DecodedBatch
from rating.catalog import CompiledCatalog, compile_catalog
from rating.foreign import ForeignSource
from tests.tidy.source import ROOT

Row = dict[str, Any]
Names = tuple[str, ...]
Foreign = tuple[ForeignSource, ...]

# What a catalog may ask for: nothing, flat and nested elements, and an object together with what it holds.
ELEMENTS: tuple[Names, ...] = (
    ("a", "a.b", "a.b.c", "a.b.d", "a.c", "n", "region", "é"),
    (),
    ("a",),
    ("a.b.c", "n.b", "user"),
    ("a", "a.b"),
    ("n", "user.b"),
)
PARTITION = 3
SIMPLE = b'{"id":"1","source":"s","subject":"x","time":"2026-11-20T10:00:00Z","data":{"a":{"b":{"c":1}},"n":"2"}}'


@cache
def catalog_for(elements: Names, foreign: Foreign = ()) -> CompiledCatalog:
    """A catalog that asks for these elements, and has these sources of other formats."""
    return replace(_demo(), elements=elements, foreign=foreign)


@cache
def _demo() -> CompiledCatalog:
    return compile_catalog(load_catalog(ROOT / "ops" / "catalogs" / "demo"))


def decoded(records: Sequence[bytes], elements: Names = ELEMENTS[0], foreign: Foreign = ()) -> DecodedBatch:
    """All records at once, as from a log."""
    return decode(records, PARTITION, np.arange(len(records), dtype=np.int64), catalog_for(elements, foreign))


def decoded_chunk(chunk: bytes, elements: Names = ELEMENTS[0], first: int = 0, foreign: Foreign = ()) -> DecodedBatch:
    """All lines at once, as from a file."""
    return decode_chunk(chunk, PARTITION, first, catalog_for(elements, foreign))


def lines_of(chunk: bytes) -> list[bytes]:
    """A chunk's lines without their feeds; behind the last feed there is one more only if it has a byte."""
    return chunk.removesuffix(b"\n").split(b"\n") if chunk else []


def is_blank(line: bytes) -> bool:
    return not line.strip(b" \t\r")


def check(records: Sequence[bytes], elements: Names = ELEMENTS[0], foreign: Foreign = ()) -> list[str | None]:
    """Why records are no events; fails where a batch gives something else than each record alone."""
    wanted = [row_alone(record, elements, foreign) for record in records]
    _compare(records, wanted, decoded(records, elements, foreign))
    return [row["reason"] for row in wanted]


def check_chunk(chunk: bytes, elements: Names = ELEMENTS[0], first: int = 0, foreign: Foreign = ()) -> None:
    """Fails where the lines of a chunk give something else than each alone, or have other numbers."""
    lines = lines_of(chunk)
    records = {first + number: line for number, line in enumerate(lines) if not is_blank(line)}
    batch = decoded_chunk(chunk, elements, first, foreign)
    assert batch.next_offset == first + len(lines)
    assert batch.events["offset"].to_list() == list(records)
    wanted = [row_alone(record, elements, foreign) for record in records.values()]
    _compare(list(records.values()), wanted, batch)


def row_alone(record: bytes, elements: Names, foreign: Foreign = ()) -> Row:
    """What the exact decoder makes of a record, with its elements."""
    exact = decode_exactly([record], elements, foreign)
    return exact.columns.row(0, named=True) | {"elements": exact.elements.row(0, named=True) if elements else {}}


def _rows(batch: DecodedBatch) -> list[Row]:
    """A batch without its offsets; its columns must be those that the core expects."""
    assert (batch.partition, batch.events.schema) == (PARTITION, DECODED_COLUMNS)
    assert all((column.dtype, len(column)) == (pl.String, len(batch.events)) for column in batch.elements.values())
    texts = [dict(zip(batch.elements, row, strict=True)) for row in zip(*batch.elements.values(), strict=True)]
    rows = batch.events.drop("offset").rows(named=True)
    return [row | {"elements": own} for row, own in zip(rows, texts or [{}] * len(rows), strict=True)]


def _compare(records: Sequence[bytes], wanted: Sequence[Row], batch: DecodedBatch) -> None:
    """Fails with one text per column of a record that became something else, with what it should have become."""
    found = [
        f"{record[:500]!r}: {name} is {str(row[name])[:200]!r}, alone {str(alone[name])[:200]!r}"
        for record, row, alone in zip(records, _rows(batch), wanted, strict=True)
        for name in row
        if row[name] != alone[name]
    ]
    assert not found, "\n".join(found[:10])
