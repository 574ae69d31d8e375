"""Bytewax counts twice after two crashes, if nobody cleans its store: the canary, and the cure.

When the canary dies, Bytewax has been mended, and the cleaning may go.
"""

import json
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dataflows.errors import RatemillError, UnmendableError
from dataflows.recovery import clean_store, kept_states, make_store, resume_epoch, used_by_engine
from tests.flow.counting import KEYS
from tests.flow.runs import ROOT

ITEMS = 16_000
ROWS = 40
TRIALS = 60


def count(store: Path, idle: float, seconds: float | None) -> Path:
    """One execution of the counting flow; killed after some seconds of life, or run to its end for None."""
    counts = store.with_name("counts.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flow.counting", str(store), str(counts), str(idle), str(ITEMS)], cwd=ROOT
    )
    if seconds is None:
        assert process.wait() == 0
        return counts
    log = store / "part-0.sqlite3-wal"
    while not log.exists() or not log.stat().st_size:
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    process.wait()
    return counts


def zombies(store: Path) -> int:
    epoch = resume_epoch(store)
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as connection:
        query = "SELECT count(*) FROM snaps WHERE snap_epoch >= ? AND step_id LIKE '%.count%'"
        return connection.execute(query, (epoch,)).fetchone()[0]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> Path:
    """A store with snapshots of an epoch that never committed, as a kill between two transactions leaves it."""
    rng = random.Random(7)
    for trial in range(TRIALS):
        store = tmp_path_factory.mktemp(f"trial-{trial}") / "store"
        make_store(store)
        count(store, idle=0, seconds=rng.uniform(0.05, 0.4))
        if zombies(store) and resume_epoch(store) > 1:
            return store
    raise AssertionError(f"no kill of {TRIALS} met the time between the snapshots of an epoch and its commit")


def counted_after_a_second_crash(store: Path, clean: bool) -> int:
    """A start that is killed while its source still connects, then one that runs to the end."""
    if clean:
        clean_store(store)
    count(store, idle=60, seconds=0.5)
    if clean:
        clean_store(store)
    return sum(json.loads(count(store, idle=0, seconds=None).read_text()).values())


def test_canary_counts_twice_without_cleaning(crashed, tmp_path):
    store = Path(shutil.copytree(crashed, tmp_path / "store"))
    assert counted_after_a_second_crash(store, clean=False) > ITEMS


def test_cleaning_is_the_cure(crashed, tmp_path):
    store = Path(shutil.copytree(crashed, tmp_path / "store"))
    assert counted_after_a_second_crash(store, clean=True) == ITEMS


def test_cleaning_removes_just_what_never_committed(crashed, tmp_path):
    store = Path(shutil.copytree(crashed, tmp_path / "store"))
    found = zombies(store)
    epoch = resume_epoch(store)
    assert clean_store(store) >= found > 0
    assert clean_store(store) == 0
    assert resume_epoch(store) == epoch
    assert 0 < len(kept_states(store, "counting.count")) <= KEYS


def test_a_new_store_is_whole_and_empty(tmp_path):
    store = tmp_path / "store"
    (tmp_path / ".store.aside").mkdir()
    make_store(store)
    make_store(store)
    assert (resume_epoch(store), clean_store(store), kept_states(store, "counting.count")) == (1, 0, {})
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_damaged_store_is_one_sentence(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "part-0.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(RatemillError, match=r"the recovery store .* is damaged"):
        clean_store(store)


def test_a_full_disk_does_not_damage_a_store(tmp_path):
    """It keeps the journal from being put into the file, whose first page then says more than there is."""
    store = tmp_path / "store"
    make_store(store)
    path = store / "part-0.sqlite3"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        with writer:
            writer.execute("CREATE TABLE more (content)")
            writer.executemany("INSERT INTO more VALUES (zeroblob(?))", [(10_000,)] * ROWS)
        with files_of_at_most(path.stat().st_size + 20_000):
            with pytest.raises(RatemillError, match="cannot use the recovery store") as failure:
                clean_store(store)
            assert not isinstance(failure.value, UnmendableError)
    assert clean_store(store) == 0
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT count(*) FROM more").fetchone() == (ROWS,)


@contextmanager
def files_of_at_most(size: int):
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heeded = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heeded)


def test_nobody_reads_the_store_while_the_engine_of_this_process_has_it_open(tmp_path):
    """SQLite's locks are those of a process: a second connection that is closed takes them, and the journal, away."""
    store = tmp_path / "store"
    make_store(store)
    with used_by_engine(store), pytest.raises(AssertionError, match="is read while the engine has it open"):
        kept_states(store, "counting.count")
    assert kept_states(store, "counting.count") == {}
