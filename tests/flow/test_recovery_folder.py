"""A recovery folder that is not the ledger's, an old or a broken one: refused in one sentence, nothing is touched."""

import shutil
from pathlib import Path

import pytest

from dataflows.errors import UnmendableError
from dataflows.launcher import run_rating
from dataflows.ledger.folder import open_folder
from dataflows.ledger.published import read_table
from dataflows.preparation import prepare
from dataflows.settings import Settings
from tests.flow.world import World, make_world

BUSY = Settings(batch_records=100, epoch_seconds=0.02, merge_files=3)
AT_ONCE = Settings(epoch_seconds=30)
RESTORE = "restore the whole folder of the ledger from one backup"
STORE = "part-0.sqlite3"


def rated(world: World, ledger: Path, settings: Settings = BUSY) -> Path:
    run_rating(world.compiled(), world.catalog, world.events, ledger, settings)
    return ledger


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), events_per_file=600)


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """A ledger of several commits; nobody changes it."""
    return rated(world, tmp_path_factory.mktemp("whole") / "ledger")


@pytest.fixture
def ledger(whole, tmp_path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(whole, tmp_path / "ledger"))


def refusal(ledger: Path, key_groups: int = 16) -> str:
    """What a start says, which must leave every file where it is."""
    before = set(ledger.rglob("*.parquet"))
    with pytest.raises(UnmendableError) as raised:
        prepare(open_folder(ledger, key_groups, 2))
    said = str(raised.value)
    assert "\n" not in said
    assert RESTORE in said
    assert set(ledger.rglob("*.parquet")) == before
    return said


def with_recovery_of(other: Path, ledger: Path) -> Path:
    shutil.rmtree(ledger / "recovery")
    shutil.copytree(other / "recovery", ledger / "recovery")
    return ledger


def test_an_old_backup(world, tmp_path):
    """What was published since would be rated, and published, once more."""
    lines = world.events[0].read_bytes().splitlines(keepends=True)
    file, ledger = tmp_path / "events.ndjson", tmp_path / "ledger"
    growing = World(world.catalog, (file,))
    file.write_bytes(b"".join(lines[:300]))
    backup = Path(shutil.copytree(rated(growing, ledger), tmp_path / "backup"))
    file.write_bytes(b"".join(lines))
    rated(growing, ledger)
    said = refusal(with_recovery_of(backup, ledger))
    assert "but its recovery store knows of" in said


def test_the_folder_is_gone(ledger):
    shutil.rmtree(ledger / "recovery")
    assert "but its recovery store knows of 0" in refusal(ledger)


def test_one_of_another_ledger(world, ledger, tmp_path):
    """That one has had more commits, whose files are not here."""
    other = rated(world, tmp_path / "other", BUSY.model_copy(update={"batch_records": 20, "epoch_seconds": 0.001}))
    commits = [read_table(place, "commits").height for place in (other, ledger)]
    assert commits[0] > commits[1]
    assert "missing or incomplete" in refusal(with_recovery_of(other, ledger))


def test_one_of_another_ledger_with_as_many_commits(tmp_path):
    ledgers = [
        rated(make_world(tmp_path / f"world-{seed}", 50, seed=seed), tmp_path / f"ledger-{seed}", AT_ONCE)
        for seed in (1, 2)
    ]
    commits = [read_table(ledger, "commits").height for ledger in ledgers]
    assert commits[0] == commits[1]
    assert "another ledger's" in refusal(with_recovery_of(ledgers[0], ledgers[1]))


def test_one_of_a_ledger_with_other_key_groups(world, tmp_path):
    """The same events in the same commits: only the names of its key groups tell."""
    eight = rated(world, tmp_path / "eight", AT_ONCE.model_copy(update={"key_groups": 8}))
    sixteen = rated(world, tmp_path / "sixteen", AT_ONCE)
    assert "key groups" in refusal(with_recovery_of(eight, sixteen))


@pytest.mark.parametrize("part", [0, 100, 0.1, 0.3, 0.5, 0.7, 0.9, -4096, -1])
def test_a_truncated_file(ledger, part):
    """From nothing at all to all but the last byte; a fraction is one of its length."""
    place = ledger / "recovery" / STORE
    content = place.read_bytes()
    length = round(part * len(content)) if isinstance(part, float) else part
    place.write_bytes(content[:length])
    said = refusal(ledger)
    assert str(ledger / "recovery") in said


def test_a_file_that_is_gone(ledger):
    (ledger / "recovery" / STORE).unlink()
    assert str(ledger / "recovery") in refusal(ledger)


def test_a_file_that_is_no_store(ledger):
    (ledger / "recovery" / STORE).write_bytes(b"this is not a database, whatever its name says\n" * 200)
    assert str(ledger / "recovery") in refusal(ledger)


def test_the_right_one_put_back(whole, ledger, world):
    """After a refusal, the ledger goes on as if nothing had happened."""
    shutil.rmtree(ledger / "recovery")
    refusal(ledger)
    rated(world, with_recovery_of(whole, ledger))
    assert read_table(ledger, "events").height == read_table(whole, "events").height
