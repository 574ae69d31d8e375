"""A crash is `kill -9` anywhere: afterwards the ledger equals, row for row, that of an undisturbed run."""

import random
import signal
import time
from pathlib import Path

import duckdb
import pytest

from dataflows.ledger.folder import existing_folder
from dataflows.ledger.published import VisibleFiles, files_sql
from dataflows.settings import Settings
from tests.flow.child import POINTS
from tests.flow.runs import BUSY, finish, start
from tests.flow.world import World, assert_same_ledger, make_world

RANDOM_KILLS = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), events_per_file=4_000)


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory) -> Path:
    ledger = tmp_path_factory.mktemp("undisturbed") / "ledger"
    finish(world, ledger, Settings())
    return ledger


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(world, undisturbed, tmp_path, point):
    """Twice at the same point, early and later, so that a resume is killed too."""
    ledger = tmp_path / "ledger"
    for call in (2, 5):
        process = start(world, ledger, point=point, call=call)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"the run never came to: {point}"
    finish(world, ledger)
    assert_same_ledger(ledger, undisturbed)


@pytest.mark.parametrize(
    "settings",
    [BUSY, BUSY.model_copy(update={"workers": 3}), BUSY.model_copy(update={"processes": 2})],
    ids=["one worker", "three workers", "two processes"],
)
def test_killed_at_random(world, undisturbed, tmp_path, settings):
    rng = random.Random(settings.workers * 10 + settings.processes)
    ledger = tmp_path / "ledger"
    killed = 0
    for _ in range(RANDOM_KILLS):
        process = start(world, ledger, settings)
        _wait_for(ledger, process)
        time.sleep(rng.uniform(0, 0.6))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed, "no run lived long enough to be killed"
    finish(world, ledger, settings)
    assert_same_ledger(ledger, undisturbed)


def _wait_for(ledger: Path, process) -> None:
    """Until this run has come to its flow, so that a kill meets work and not imports."""
    began = time.monotonic()
    store = ledger / "recovery" / "part-0.sqlite3-wal"
    while not store.exists() and process.poll() is None and time.monotonic() - began < 30:
        time.sleep(0.005)


def test_workers_and_processes_change_nothing(world, undisturbed, tmp_path):
    for update in ({"workers": 2}, {"processes": 2}, {"workers": 2, "processes": 2}):
        ledger = tmp_path / "-".join(update)
        finish(world, ledger, BUSY.model_copy(update=update))
        assert_same_ledger(ledger, undisturbed)
        for path in sorted(ledger.rglob("*"), reverse=True):
            assert not path.name.endswith(".aside"), path


def test_another_number_of_workers_goes_on(world, undisturbed, tmp_path):
    """Rescaling is stopping and starting: key groups and writers are dealt anew."""
    ledger = tmp_path / "ledger"
    for update in ({"workers": 1}, {"workers": 4}, {"processes": 2}):
        process = start(world, ledger, BUSY.model_copy(update=update))
        _wait_for(ledger, process)
        time.sleep(0.3)
        process.kill()
        process.communicate()
    finish(world, ledger, BUSY.model_copy(update={"workers": 2}))
    assert_same_ledger(ledger, undisturbed)
    assert_each_by_its_own_writer(world, ledger)


def assert_each_by_its_own_writer(world: World, ledger: Path) -> None:
    """All lines of a key group are in the files of one writer, whoever had rated them: settlement reads no others."""
    folder, catalog, visible = existing_folder(ledger), world.compiled(), VisibleFiles.now(ledger.resolve())
    hashes, shape = catalog.subscriptions.id_hash, folder.shape
    for writer in folder.writers():
        own = visible.of("line_items", folder.manifest(writer))
        names = duckdb.sql(f"SELECT DISTINCT subscription_id FROM ({files_sql(own)})").fetchall()
        assert names
        for (name,) in names:
            assert int(hashes[catalog.subscription_rows[name]]) % shape.key_groups % shape.writers == writer, name
