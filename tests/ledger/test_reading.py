"""No reader ever sees half a commit, nor a row twice, nor one vanish: while writing, crashing, restarting, merging."""

import json
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import msgspec
import pytest

from dataflows.errors import RatemillError
from dataflows.ledger.folder import NO_ROWS, open_folder
from dataflows.ledger.manifest import Manifest, PublishedFile
from dataflows.ledger.published import VisibleFiles, files_sql, live_files, published_files_sql
from schemas.ledger import TABLES
from tests.flow.runs import BUSY, ROOT, finish, start
from tests.flow.world import FILES, World, assert_same_ledger, make_world

EVENTS_PER_FILE = 5_000


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), EVENTS_PER_FILE)


def test_a_reader_while_flows_write_crash_and_merge(world, tmp_path):
    ledger = tmp_path / "ledger"
    open_folder(ledger, BUSY.key_groups, BUSY.writers)
    readers = [_Reader(ledger, tmp_path / f"report-{number}") for number in range(2)]
    for seconds, processes in ((1.5, 1), (2.5, 2), (2.0, 1)):
        process = start(world, ledger, BUSY.model_copy(update={"processes": processes}))
        time.sleep(seconds)
        process.kill()
        process.communicate()
    finish(world, ledger)
    time.sleep(1)
    for reader in readers:
        report = reader.end()
        assert report["wrong"] == []
        assert report["most"] == FILES * EVENTS_PER_FILE
        assert report["looks"] > 20, "the readers hardly looked"
    undisturbed = tmp_path / "undisturbed"
    finish(world, undisturbed)
    assert_same_ledger(ledger, undisturbed)
    merged = [path for path in live_files(ledger, "commits") if path.stem[-21:-11] != path.stem[-10:]]
    assert merged, "nothing was merged while the readers looked"


class _Reader:
    def __init__(self, ledger: Path, report: Path) -> None:
        self.report = report
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.reader", str(ledger), str(report)], cwd=ROOT, stdin=subprocess.PIPE
        )

    def end(self) -> dict:
        self.process.communicate()
        assert self.process.returncode == 0
        return json.loads(self.report.read_text())


@pytest.fixture
def connection(tmp_path):
    open_folder(tmp_path / "ledger [1]*", 16, 2)
    with duckdb.connect(config={"threads": 1}) as connection:
        for table in TABLES:
            connection.execute(f"CREATE VIEW {table} AS {published_files_sql(tmp_path / 'ledger [1]*', table)}")
        yield connection


def test_an_empty_ledger_has_its_columns(connection):
    for table, schema in TABLES.items():
        described = connection.execute(f"DESCRIBE {table}").fetchall()
        assert [row[0] for row in described] == schema.names
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_files_are_read_whatever_their_folder_is_called(tmp_path):
    folder = tmp_path / "ledger [1]*"
    open_folder(folder, 16, 2)
    for table, schema in TABLES.items():
        described = duckdb.sql(f"DESCRIBE {files_sql(VisibleFiles.now(folder).of(table))}").fetchall()
        assert [row[0] for row in described] == schema.names


def test_a_moment_that_the_ledger_cannot_tell_any_more(tmp_path):
    folder = open_folder(tmp_path / "ledger", 16, 2)
    known = Manifest([PublishedFile("events", "kept.parquet", 1, 0, 0, visible_from=50, complete_since=100)])
    folder.manifest(1).write_bytes(msgspec.json.encode(known.files))
    with pytest.raises(RatemillError, match="run it again"):
        VisibleFiles.at(folder.root, 99)
    files = VisibleFiles.at(folder.root, 100)
    assert [file.name for file in files.of("events")] == ["kept.parquet", NO_ROWS]
    assert [file.name for file in files.of("events", folder.manifest(0))] == [NO_ROWS]


def test_decimals_keep_their_types(connection):
    types = {name: kind for name, kind, *_ in connection.execute("DESCRIBE line_items").fetchall()}
    assert (types["quantity"], types["unit_price"], types["amount"]) == (
        "DECIMAL(38,6)",
        "DECIMAL(38,12)",
        "DECIMAL(38,18)",
    )
