"""Files as inputs: every packing gives the same ledger, what is read is read once, what cannot be is a sentence."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dataflows.connectors import records
from dataflows.connectors.records import open_records
from dataflows.errors import RatemillError
from dataflows.launcher import Progress, Summary, run_rating
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from tests.flow.world import World, assert_same_ledger, events, ledger_rows, make_world

SETTINGS = Settings(batch_records=700, epoch_seconds=0.05)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), events_per_file=1_500, files=2)


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory) -> Path:
    ledger = tmp_path_factory.mktemp("plain") / "ledger"
    rate(world, ledger, *world.events)
    return ledger


def rate(world: World, ledger: Path, *inputs: Path) -> Summary:
    return run_rating(world.compiled(), world.catalog, inputs, ledger, SETTINGS)


PACKINGS = {
    "gzip": gzip.compress,
    "gzip of two members": lambda text: gzip.compress(text[:1000]) + gzip.compress(text[1000:]),
    "zstd": zstandard.compress,
    "zstd of two frames": lambda text: zstandard.compress(text[:1000]) + zstandard.compress(text[1000:]),
    "without the last newline": lambda text: text[:-1],
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_files_give_the_same_ledger(world, plain, tmp_path, packing):
    inputs = []
    for path in world.events:
        inputs.append(tmp_path / path.name)
        inputs[-1].write_bytes(PACKINGS[packing](path.read_bytes()))
    rate(world, tmp_path / "ledger", *inputs)
    assert_same_ledger(tmp_path / "ledger", plain)


def test_parquet_gives_the_same_line_items(world, plain, tmp_path):
    """The broken lines cannot stand in a table; all else is as from text."""
    inputs = []
    for path in world.events:
        rows = [json.loads(line) for line in path.read_bytes().splitlines() if not line.startswith(b'{"id": "broken')]
        inputs.append(tmp_path / f"{path.stem}.parquet")
        pq.write_table(_as_table(rows), inputs[-1], row_group_size=400)
    rate(world, tmp_path / "ledger", *inputs)
    rows, wanted = ledger_rows(tmp_path / "ledger"), ledger_rows(plain)
    columns = ["event_id", "charge_id", "line_kind", "tier", "quantity", "usage_before", "unit_price", "amount"]
    assert rows["line_items"].select(columns).equals(wanted["line_items"].select(columns))
    assert (
        rows["events"]["verdict"].to_list()
        == wanted["events"].filter(pl.col("verdict") != "rejected")["verdict"].to_list()
    )


def _as_table(rows: list[dict]) -> pa.Table:
    data = pa.struct(
        [
            ("tokens", pa.decimal128(38, 18)),
            ("region", pa.string()),
            ("user", pa.string()),
            ("status", pa.int16()),
        ]
    )
    columns = {name: [row.get(name) for row in rows] for name in ("id", "source", "subscription", "credential")}
    columns["time"] = pa.array([datetime.fromisoformat(row["time"]) for row in rows], pa.timestamp("us", "UTC"))
    columns["data"] = pa.array([row["data"] | {"tokens": Decimal(row["data"]["tokens"])} for row in rows], data)
    return pa.table(columns)


def test_parquet_positions_are_rows(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": [str(number) for number in range(25)]}), path, row_group_size=10)
    for position in range(26):
        reader, found = open_records(path, position), []
        while rows := reader.read(4, 1 << 20).tobytes().splitlines():
            found += [json.loads(row)["id"] for row in rows]
        assert found == [str(number) for number in range(position, 25)]
        assert reader.position == 25


def test_parquet_values_as_they_were_meant(tmp_path):
    table = pa.table(
        {
            "id": ["a"],
            "data": ['{"n": 1.50}'],
            "time": pa.array([datetime(2026, 11, 2, 1, 2, 3)], pa.timestamp("ms")),
            "none": pa.array([None], pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "one.parquet")
    (record,) = open_records(tmp_path / "one.parquet", 0).read(10, 1).tobytes().splitlines()
    assert record == b'{"id":"a","data":{"n": 1.50},"time":"2026-11-02T01:02:03+00:00"}'
    assert datetime.fromisoformat(json.loads(record)["time"]).tzinfo == UTC


@pytest.mark.parametrize("kind", [pa.float64(), pa.list_(pa.float32()), pa.struct([("x", pa.float16())])])
def test_floats_are_refused_by_name(world, tmp_path, kind):
    path = tmp_path / "floats.parquet"
    pq.write_table(pa.table({"data": pa.array([None], pa.struct([("amount", kind)]))}), path)
    with pytest.raises(RatemillError, match=r"column `data\.amount.*` holds floats"):
        rate(world, tmp_path / "ledger", path)


def test_a_file_that_is_no_parquet_although_it_begins_so(world, tmp_path):
    path = tmp_path / "cut.parquet"
    path.write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(RatemillError, match=r"cannot read the events .*cut.parquet"):
        rate(world, tmp_path / "ledger", path)


def test_an_empty_file(world, tmp_path):
    path = tmp_path / "empty.ndjson"
    path.touch()
    assert rate(world, tmp_path / "ledger", path).received == 0
    assert rate(world, tmp_path / "ledger", path).commits == 0


def test_blank_lines_are_no_records_but_have_numbers(world, tmp_path):
    first, second = events(0, 2, seed=99)
    path = tmp_path / "blank.ndjson"
    path.write_bytes(b"\n" + first + b"  \t\r\n\n" + second)
    assert rate(world, tmp_path / "ledger", path).received == 2
    assert sorted(read_table(tmp_path / "ledger", "events")["offset"].to_list()) == [1, 4]


def test_a_file_that_ends_inside_a_record(world, tmp_path):
    first, second = events(0, 2, seed=99)
    path = tmp_path / "cut.ndjson"
    path.write_bytes(first + second[:30])
    summary = rate(world, tmp_path / "ledger", path)
    assert (summary.received, summary.verdicts["rejected"]) == (2, 1)
    rejected = read_table(tmp_path / "ledger", "events").filter(pl.col("verdict") == "rejected")
    assert rejected["reason"].to_list() == ["malformed_json"]


def test_the_same_file_again_brings_nothing(world, tmp_path):
    ledger = tmp_path / "ledger"
    assert rate(world, ledger, *world.events).received == 3_000
    again = rate(world, ledger, *world.events)
    assert (again.received, again.line_items, again.commits) == (0, 0, 0)


def test_an_additional_file_and_one_at_a_time(world, plain, tmp_path):
    """The place in a file outlives runs that do not read it; the order of runs is that of the lanes."""
    ledger = tmp_path / "ledger"
    rate(world, ledger, world.events[0])
    rate(world, ledger, world.events[1])
    assert rate(world, ledger, *world.events).received == 0
    assert_same_ledger(ledger, plain)


def test_the_same_events_under_another_name_are_duplicates(world, tmp_path):
    copy = tmp_path / "copy.ndjson"
    copy.write_bytes(world.events[0].read_bytes())
    first = rate(world, tmp_path / "ledger", world.events[0])
    second = rate(world, tmp_path / "ledger", copy)
    unsettled = sum(second.verdicts[verdict] for verdict in ("parked", "rejected"))
    assert second.received == first.received
    assert second.verdicts["duplicate"] == second.received - unsettled
    assert second.line_items == 0


def test_a_file_that_has_grown(world, tmp_path):
    path, ledger = tmp_path / "growing.ndjson", tmp_path / "ledger"
    lines = events(0, 40, seed=3)
    path.write_bytes(b"".join(lines[:25]))
    assert rate(world, ledger, path).received == 25
    path.write_bytes(b"".join(lines))
    assert rate(world, ledger, path).received == 15
    whole = tmp_path / "whole"
    rate(world, whole, path)
    assert_same_ledger(ledger, whole)


def test_another_content_under_a_known_name(world, tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_bytes(events(0, 1, seed=3)[0])
    rate(world, tmp_path / "ledger", path)
    path.write_bytes(events(1, 1, seed=4)[0])
    with pytest.raises(RatemillError, match="was rated before with another content"):
        rate(world, tmp_path / "ledger", path)


def test_a_packed_file_that_ends_too_early_is_resumable(world, plain, tmp_path):
    path, ledger = tmp_path / "events-0.ndjson", tmp_path / "ledger"
    whole = gzip.compress(world.events[0].read_bytes())
    path.write_bytes(whole[:-200])
    with pytest.raises(RatemillError, match=r"cannot read the events .*events-0.ndjson: truncated compressed stream"):
        rate(world, ledger, path, world.events[1])
    path.write_bytes(whole)
    rate(world, ledger, path, world.events[1])
    assert_same_ledger(ledger, plain)


@pytest.mark.parametrize("place", ["missing.ndjson", "folder"])
def test_what_is_no_file(world, tmp_path, place):
    (tmp_path / "folder").mkdir()
    with pytest.raises(RatemillError, match=f"cannot read the events .*{place}"):
        rate(world, tmp_path / "ledger", tmp_path / place)


def test_progress_reaches_its_end(world, tmp_path):
    seen: list[Progress] = []
    run_rating(world.compiled(), None, world.events, tmp_path / "ledger", SETTINGS, seen.append)
    assert [progress.received for progress in seen] == sorted(progress.received for progress in seen)
    assert seen[-1].bytes_read == seen[-1].bytes_total == sum(path.stat().st_size for path in world.events)


LENGTHS = [0, 3, 999, 1_000, 1_001, 5_000, 40, 0, 2_500, 7]


@pytest.mark.parametrize("chunk", [7, 64, 1_000, 1 << 18])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_lines_longer_than_a_read_are_cut_and_counted_once(tmp_path, monkeypatch, chunk, batch):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    lines = [bytes([65 + number]) * length for number, length in enumerate(LENGTHS)]
    path = tmp_path / "long.ndjson"
    path.write_bytes(b"\n".join(lines))
    found, position = [], 0
    while read := open_records(path, position):
        given = read.read(batch, 1_000).tobytes().splitlines()
        position = read.position
        if not given:
            break
        found += given
    assert len(found) == len(lines)
    for line, cut in zip(lines, found, strict=True):
        assert line.startswith(cut)
        assert cut == line or len(cut) >= 1_000
