"""Messages say exactly what the ledger's rows do; a rejected record is given back as it came."""

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import polars as pl
import pytest
import xxhash

from dataflows.steps.messages import (
    LINE_ITEM_COLUMNS,
    REJECTED_COLUMNS,
    line_item_messages,
    rejected_messages,
)
from schemas.ledger import EVENTS, LINE_ITEMS, polars_schema
from tests.kafka.relaying import plain

LARGEST = 1_000_000
TEXTS = ["", "a", 'q"\\/\n\t\x00\x1f', "é\u2028\u2029\ufeff", "\U0001f600\ud7ff\ue000", "\x7f" * 300, None]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def value(rng: random.Random, kind: pl.DataType) -> object:
    match kind:
        case pl.String():
            return rng.choice(TEXTS)
        case pl.Boolean():
            return rng.random() < 0.5
        case pl.Datetime():
            moments = [0, 1, -1, 10**6, rng.randrange(-(10**16), 10**17)]
            return rng.choice([None, *(EPOCH + timedelta(microseconds=moment) for moment in moments)])
        case pl.Decimal():
            units = rng.choice([0, 1, -1, 10**17, 10**18, -(10**18), 10**38 - 1, rng.randrange(-(10**38), 10**38)])
            return Decimal(f"{units}E-{kind.scale}")
        case _:
            return rng.choice([0, 1, 2**31 - 1])


@pytest.mark.parametrize("seed", range(5))
def test_a_line_item_says_all_that_its_row_does(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    schema = polars_schema(LINE_ITEMS)
    rows = pl.DataFrame([{name: value(rng, kind) for name, kind in schema.items()} for _ in range(200)], schema=schema)
    # A slice begins in the middle of its column's memory, as frames of a row group do.
    for part in (rows, rows.slice(3, 50), rows.head(0)):
        messages = list(line_item_messages(part.select(LINE_ITEM_COLUMNS), LARGEST))
        assert [json.loads(content) for content, _, _ in messages] == [
            {name: plain(cell) for name, cell in row.items()} for row in part.iter_rows(named=True)
        ]
        assert [key for _, key, _ in messages] == part["subscription_id"].to_list()
        assert all(headers is None for _, _, headers in messages)


def rejected(record: bytes | None, data: str, **columns: object) -> pl.DataFrame:
    """A rejected row; `record` is what its digest is of, None for the data itself."""
    schema = {name: kind for name, kind in polars_schema(EVENTS).items() if name in REJECTED_COLUMNS}
    row = dict.fromkeys(REJECTED_COLUMNS) | {
        "partition": 3,
        "offset": 17,
        "verdict": "rejected",
        "reason": "bad_data",
        "reason_detail": "no number: é",
        "synthetic": False,
        "content_digest": xxhash.xxh64_intdigest(data.encode() if record is None else record),
        "data": data,
    }
    return pl.DataFrame([row | columns], schema=schema)


def kept(**members: object) -> str:
    return msgspec.json.encode(members).decode()


WHY = [("reason", "bad_data"), ("detail", "no number: é"), ("partition", "3"), ("offset", "17")]
STRUCTURED = ("content-type", b"application/cloudevents+json")


@pytest.mark.parametrize(
    ("record", "data", "key", "headers"),
    [
        (b'{"a": 1', kept(record='{"a": 1'), None, []),
        (b"\xff\x00", kept(record_hex="ff00", key="sub-1"), b"sub-1", []),
        (b"", kept(record="", key_hex="fe", headers=[{"name": "n"}]), b"\xfe", [("n", None)]),
        (
            b"x",
            kept(record="x", headers=[{"name": "a", "value": "é"}, {"name": "a", "value_hex": "ff"}]),
            None,
            [("a", "é".encode()), ("a", b"\xff")],
        ),
    ],
)
def test_a_rejected_record_is_given_back_as_it_came(record, data, key, headers):
    assert list(rejected_messages(rejected(record, data), LARGEST)) == [(record, key, headers + WHY)]


def test_a_record_of_binary_mode_is_given_back_in_structured_mode():
    """Its headers would make a reader take all of the record for the data."""
    data = kept(
        record='{"id":"1","data":{}}',
        headers=[
            {"name": "ce_id", "value": "1"},
            {"name": "Content-Type", "value": "application/json"},
            {"name": "trace", "value": "7"},
        ],
    )
    [(content, _, headers)] = rejected_messages(rejected(b'{"id":"1","data":{}}', data), LARGEST)
    assert content == b'{"id":"1","data":{}}'
    assert headers == [("trace", b"7"), STRUCTURED, *WHY]


def test_an_event_that_rating_rejected_is_written_anew():
    """Its data may look like a record that is kept."""
    row = rejected(
        None,
        '{"record": "x", "calls": 1.50}',
        source="api",
        event_id="e1",
        event_time=datetime(2026, 11, 2, 10, tzinfo=UTC),
        credential_id="key-1",
        synthetic=True,
    )
    [(content, key, headers)] = rejected_messages(row, LARGEST)
    assert content == (
        b'{"specversion":"1.0","id":"e1","source":"api","time":"2026-11-02T10:00:00Z","credential":"key-1",'
        b'"synthetic":true,"data":{"record": "x", "calls": 1.50}}'
    )
    assert (key, headers) == ("key-1", [STRUCTURED, *WHY])


def test_other_verdicts_are_left_out():
    row = rejected(None, "{}")
    others = pl.concat([row.with_columns(verdict=pl.lit(verdict)) for verdict in ("rated", "late", "parked")])
    assert list(rejected_messages(others, LARGEST)) == []


@pytest.mark.parametrize("size", [99_000, 100_000, 2_000_000])
def test_a_value_that_is_too_large_is_left_out(size):
    record = b"x" * size
    row = rejected(record, kept(record=record.decode(), key="k"))
    [(content, key, headers)] = rejected_messages(row, 100_000)
    if size < 100_000:
        assert (content, key, headers) == (record, b"k", WHY)
    else:
        assert (content, key, headers) == (b"", b"k", [*WHY, ("value-left-out", f"{size} bytes")])
