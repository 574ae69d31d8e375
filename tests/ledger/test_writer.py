"""One writer without an engine: what is published when, what a resume does, how files merge and leave."""

import json
import time
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.commit import LanePosition, WriterState, progress_of
from dataflows.ledger.compaction import Housekeeping, plan_compaction
from dataflows.ledger.folder import LedgerFolder, open_folder, write_aside
from dataflows.ledger.manifest import Manifest, PublishedFile
from dataflows.ledger.publication import resume
from dataflows.ledger.published import published_files_sql, read_table
from dataflows.ledger.writer import LedgerWriter
from schemas.ledger import EVENTS, SCHEMA_VERSION, TABLES, polars_schema
from tests.ledger.sealing import seal

KEEPING = Housekeeping(merge_files=4, merged_rows_limit=1_000, replaced_files_grace=1000)


@pytest.fixture
def folder(tmp_path) -> LedgerFolder:
    return open_folder(tmp_path / "ledger", 16, 2)


def rows(first: int, count: int = 3) -> pl.DataFrame:
    columns = {name: [None] * count for name in EVENTS.names}
    columns |= {"partition": [0] * count, "offset": list(range(first, first + count)), "verdict": ["rated"] * count}
    columns |= {"synthetic": [False] * count, "content_digest": [2**64 - 1] * count}
    return pl.DataFrame(columns, schema=polars_schema(EVENTS))


def commit(writer: LedgerWriter, number: int) -> bytes:
    writer.append({"events": rows(3 * number)})
    writer.announce(3, 0, LanePosition(3 * number + 3, 1_000_000 * number), "digest")
    return seal(writer)


def offsets(folder: LedgerFolder) -> list[int]:
    return sorted(read_table(folder.root, "events")["offset"].to_list())


def test_a_commit_is_published_by_the_next(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    commit(writer, 0)
    assert offsets(folder) == []
    commit(writer, 1)
    assert offsets(folder) == [0, 1, 2]
    seal(writer)
    assert offsets(folder) == [0, 1, 2, 3, 4, 5]


def test_a_resume_publishes_what_was_kept_and_removes_the_rest(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    states = [commit(writer, number) for number in range(3)]
    writer.append({"events": rows(9)})
    resumed = LedgerWriter(folder, 0, states[1], KEEPING)
    assert offsets(folder) == [0, 1, 2, 3, 4, 5]
    assert list(folder.pending.iterdir()) == []
    assert commit(resumed, 2) == states[2]


def test_a_crash_between_public_names_and_manifest_is_ended_by_the_resume(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    state = commit(writer, 0)
    for table in ("events", "commits"):
        (pending,) = folder.pending.glob(f"{table}-*")
        pending.rename(folder.table(table) / pending.name)
    assert offsets(folder) == []
    LedgerWriter(folder, 0, state, KEEPING)
    assert offsets(folder) == [0, 1, 2]


def test_a_missing_file_of_a_kept_commit_is_damage(folder):
    state = commit(LedgerWriter(folder, 0, None, KEEPING), 0)
    next(folder.pending.glob("events-*")).unlink()
    with pytest.raises(RatemillError, match="files of commit 0 of writer 0 are missing or incomplete"):
        LedgerWriter(folder, 0, state, KEEPING)


def test_published_commits_are_never_rolled_back(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    commit(writer, 0)
    commit(writer, 1)
    with pytest.raises(RatemillError, match="recovery store knows of 0"):
        resume(folder, 0, 0)
    assert offsets(folder) == [0, 1, 2]


def test_records_that_were_announced_must_arrive(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    writer.append({"events": rows(0)})
    writer.announce(4, 0, LanePosition(4, None), "digest")
    with pytest.raises(AssertionError, match="4 records were announced, 3 arrived"):
        seal(writer)


def test_rows_of_another_type_are_refused(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    with pytest.raises(AssertionError, match="events"):
        writer.append({"events": rows(0).with_columns(pl.col("offset").cast(pl.Int32))})


def test_files_carry_the_schema_and_its_version(folder):
    writer = LedgerWriter(folder, 0, None, Housekeeping(merge_files=2))
    for number in range(5):
        commit(writer, number)
    for table, schema in TABLES.items():
        for path in folder.table(table).glob("*.parquet"):
            found = pq.read_schema(path)
            assert found.equals(schema)
            assert found.metadata[b"ratemill.schema"] == SCHEMA_VERSION.encode()


def test_small_files_merge_geometrically_and_keep_every_row(folder):
    writer = LedgerWriter(folder, 0, None, KEEPING)
    for number in range(60):
        commit(writer, number)
    live = manifest.load(folder.manifest(0)).live("events")
    assert len(live) < 10
    assert [file.level for file in live] == sorted((file.level for file in live), reverse=True)
    assert offsets(folder) == list(range(59 * 3))
    assert read_table(folder.root, "commits").sort("sequence")["sequence"].to_list() == list(range(59))


def test_a_merged_file_is_never_larger_than_the_limit():
    def file(level: int, number: int, count: int) -> PublishedFile:
        return PublishedFile("events", f"{number}", count, number, number, level)

    assert plan_compaction([file(0, number, 251) for number in range(4)], KEEPING) == []
    small = [file(0, number, 250) for number in range(6)]
    assert plan_compaction(small, KEEPING) == small[:4]
    assert plan_compaction([file(1, 0, 5), *small[:3]], KEEPING) == []


def test_replaced_files_leave_after_their_grace_and_old_statements_are_told(folder):
    writer = LedgerWriter(folder, 0, None, Housekeeping(2, 1_000, replaced_files_grace=0.0))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW events AS {published_files_sql(folder.root, 'events')}")
        connection.execute("BEGIN")
        began = connection.execute("SELECT epoch_us(transaction_timestamp())").fetchone()[0]
        for number in range(12):
            commit(writer, number)
            _wait_until_visible(folder)
        files = manifest.load(folder.manifest(0)).files
        assert max(file.complete_since for file in files) > began
        assert len(list(folder.table("events").iterdir())) < 12
        with pytest.raises(duckdb.Error, match="began too long ago"):
            connection.execute("SELECT count(*) FROM events").fetchone()
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (33,)


def test_a_transaction_sees_one_state(folder):
    writer = LedgerWriter(folder, 0, None, Housekeeping(merge_files=3))
    commit(writer, 0)
    commit(writer, 1)
    _wait_until_visible(folder)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW events AS {published_files_sql(folder.root, 'events')}")
        connection.execute("BEGIN")
        seen = set()
        for number in range(2, 12):
            commit(writer, number)
            seen.add(connection.execute('SELECT count(*), sum("offset") FROM events').fetchone())
        _wait_until_visible(folder)
        seen.add(connection.execute('SELECT count(*), sum("offset") FROM events').fetchone())
        connection.execute("COMMIT")
        assert seen == {(3, 3)}
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (33,)


def test_no_file_beside_the_manifest_is_opened(folder):
    """What DuckDB does not open cannot be missed when it is removed."""
    writer = LedgerWriter(folder, 0, None, Housekeeping(merge_files=8))
    for number in range(30):
        commit(writer, number)
    _wait_until_visible(folder)
    for table in ("events", "commits"):
        (folder.table(table) / f"{table}-99-w0-9999999999-9999999999.parquet").write_bytes(b"no parquet")
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.execute(f"CREATE VIEW {table} AS {published_files_sql(folder.root, table)}")
        for statement in (
            "SELECT count(*) FROM events",
            "SELECT count(*) FROM events JOIN commits ON writer = partition",
            "SELECT (SELECT count(*) FROM events), (SELECT sum(events) FROM commits)",
            "SELECT * FROM commits WHERE sequence = 3",
        ):
            assert connection.execute(f"SELECT count(*) FROM ({statement})").fetchone()[0] > 0


def _wait_until_visible(folder: LedgerFolder) -> None:
    stamped = max((file.visible_from for file in manifest.load(folder.manifest(0)).files), default=0)
    while manifest.now() <= stamped:
        pass


def test_a_clock_set_back_hides_nothing_for_long():
    ahead = Manifest([PublishedFile("events", "a", 1, 0, 0, visible_from=9_000, complete_since=8_000)])
    after = ahead.replaced([], [PublishedFile("events", "b", 1, 1, 1)], moment=100)
    assert [file.name for file in after.visible_at(100)] == ["a", "b"]
    assert {file.complete_since for file in after.files} == {100}


def test_the_digest_chains_and_knows_every_row(folder):
    def digests(replacement: pl.DataFrame, place: Path) -> list[str]:
        writer = LedgerWriter(open_folder(place, 16, 2), 0, None, KEEPING)
        states = []
        for frame in (replacement, rows(3)):
            writer.append({"events": frame})
            writer.announce(3, 0, LanePosition(3, None), "digest")
            states.append(WriterState.load(seal(writer)).digest)
        return states

    plain = digests(rows(0), folder.root / "a")
    assert plain == digests(rows(0).reverse(), folder.root / "b")
    changed = digests(rows(0).with_columns(pl.col("content_digest") - 1), folder.root / "c")
    assert changed[0] != plain[0]
    assert changed[1] != plain[1]


def test_commits_say_how_far_each_input_is(folder):
    writer = LedgerWriter(folder, 1, None, KEEPING)
    writer.announce(0, 4, LanePosition(0, None), "one")
    writer.announce(0, 2, LanePosition(7, 1_500_000), "one")
    seal(writer)
    writer.announce(0, 4, LanePosition(9, 500_000, finished=True), "another")
    seal(writer)
    seal(writer)
    said = read_table(folder.root, "commits").sort("sequence").to_dicts()
    assert [row["progress"] and row["progress"].timestamp() for row in said] == [None, 1.5]
    assert [json.loads(row["offsets"]) for row in said] == [{"2": 7, "4": 0}, {"2": 7, "4": 9}]
    assert [row["catalog_digest"] for row in said] == ["one", "another"]


def test_progress_never_falls_behind(folder):
    writer = LedgerWriter(folder, 1, None, KEEPING)
    for progress in (5, 3, None):
        writer.announce(0, 0, LanePosition(9, progress), "digest")
    state = WriterState.load(seal(writer))
    writer.announce(0, 0, LanePosition(10, 4), "digest")
    assert [state.lanes[0].progress, WriterState.load(seal(writer)).lanes[0].progress] == [5, 5]


@pytest.mark.parametrize(
    ("lanes", "progress"),
    [
        ([], None),
        ([LanePosition(1, 5)], 5),
        ([LanePosition(1, 5), LanePosition(1, 3)], 3),
        ([LanePosition(1, 5), LanePosition(1, None)], None),
        ([LanePosition(1, 5), LanePosition(1, 3, finished=True)], 5),
        ([LanePosition(1, 5, finished=True), LanePosition(1, None, finished=True)], 5),
    ],
)
def test_progress_is_the_least_of_what_is_still_read(lanes, progress):
    assert progress_of(lanes) == progress


def test_a_slow_disk_makes_a_state_visible_later_and_never_before_it_lies_in_place(folder, monkeypatch):
    """A statement sees what is stamped earlier than it began, so the stamp must lie behind the replacement."""
    lag = 0.3
    placed = []

    def slow(path, content):
        time.sleep(lag)
        return write_aside(path, content)

    monkeypatch.setattr(manifest, "write_aside", slow)
    path = folder.manifest(0)
    state = manifest.publish(path, lambda moment: placed.append(moment) or manifest.load(path).replaced([], [], moment))
    assert state == manifest.load(path)
    assert len(placed) == 4, "margins of 0.075, 0.15 and 0.3 s are too short: of each less than 0.05 s would be left"
    assert manifest.now() < placed[-1]
