"""When the world outside fails: one sentence, nothing lost, and the next run goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataflows.errors import RatemillError
from dataflows.launcher import run_rating
from dataflows.ledger.folder import locked, open_folder
from dataflows.settings import Settings, load_settings
from tests.flow.runs import BUSY, ROOT, finish, start
from tests.flow.world import World, assert_same_ledger, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), events_per_file=3_000)


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory) -> Path:
    ledger = tmp_path_factory.mktemp("undisturbed") / "ledger"
    finish(world, ledger)
    return ledger


def rate(world: World, ledger: Path, settings: Settings = BUSY) -> None:
    run_rating(world.compiled(), world.catalog, world.events, ledger, settings)


def test_a_second_process_on_the_same_ledger(world, tmp_path):
    ledger = tmp_path / "ledger"
    with locked(open_folder(ledger, BUSY.key_groups, BUSY.writers)):
        second = start(world, ledger)
        said = second.communicate()[1]
    assert second.returncode == 1
    assert said.strip().splitlines()[-1].endswith(f"the ledger {ledger} is in use by another process")


def test_a_missing_folder(world, tmp_path):
    with pytest.raises(RatemillError, match=r"cannot make the ledger .*: the folder .*/no does not exist"):
        rate(world, tmp_path / "no" / "ledger")


def test_a_file_where_the_ledger_should_be(world, tmp_path):
    (tmp_path / "ledger").touch()
    with pytest.raises(RatemillError, match=r"cannot write the ledger .*: "):
        rate(world, tmp_path / "ledger")


def test_a_read_only_file_system(world, tmp_path):
    """Root may write into a folder that nobody may write into, but not into /proc."""
    with pytest.raises(RatemillError, match="cannot write the ledger /proc/self/ledger: "):
        rate(world, Path("/proc/self/ledger"))


@pytest.mark.parametrize("change", [{"key_groups": 8}, {"writers": 3}])
def test_numbers_that_may_not_change(world, tmp_path, change):
    rate(world, tmp_path / "ledger")
    with pytest.raises(RatemillError, match=f"was made with {next(iter(change))} = .*, which cannot change"):
        rate(world, tmp_path / "ledger", BUSY.model_copy(update=change))


def test_a_recovery_store_that_is_not_the_ledgers(world, tmp_path):
    rate(world, tmp_path / "ledger")
    (tmp_path / "ledger" / "recovery" / "part-0.sqlite3").unlink()
    (tmp_path / "ledger" / "recovery").rmdir()
    with pytest.raises(RatemillError, match="recovery store knows of 0"):
        rate(world, tmp_path / "ledger")


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from tests.flow.child import main
from dataflows.errors import RatemillError
try:
    main()
except RatemillError as error:
    sys.stderr.write("SENTENCE " + str(error))
    sys.exit(65)
"""


@pytest.mark.parametrize("limit", [20_000, 150_000, 400_000])
@pytest.mark.parametrize("processes", [1, 2])
def test_no_room_then_room_again(world, undisturbed, tmp_path, limit, processes):
    """A file may not grow beyond a limit: Parquet files or the recovery store, whichever comes first."""
    ledger = tmp_path / "ledger"
    settings = Settings(batch_records=500, epoch_seconds=0.3, processes=processes)
    arguments = [world.catalog, ledger, settings.model_dump_json(), "-", 1, *world.events]
    limited = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert limited.returncode == 65, limited.stderr
    assert limited.stderr.startswith("SENTENCE cannot ")
    assert "\n" not in limited.stderr
    finish(world, ledger)
    assert_same_ledger(ledger, undisturbed)


def test_interrupted_from_the_keyboard(world, undisturbed, tmp_path):
    ledger = tmp_path / "ledger"
    process = start(world, ledger, BUSY.model_copy(update={"batch_records": 50}))
    while not (ledger / "recovery").exists() and process.poll() is None:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    finish(world, ledger)
    assert_same_ledger(ledger, undisturbed)


def test_bytewax_own_command(world, undisturbed, tmp_path):
    ledger = tmp_path / "ledger"
    environment = os.environ | {
        "RATEMILL_CATALOG": str(world.catalog),
        "RATEMILL_EVENTS": os.pathsep.join(map(str, world.events)),
        "RATEMILL_LEDGER": str(ledger),
        "RATEMILL_BATCH_RECORDS": "500",
    }
    open_folder(ledger, 16, 2)
    from dataflows.recovery import make_store

    make_store(ledger / "recovery")
    command = [
        sys.executable,
        "-m",
        "bytewax.run",
        "dataflows.rating",
        "-r",
        str(ledger / "recovery"),
        "-s",
        "1",
        "-b",
        "0",
    ]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    finish(world, ledger)
    assert_same_ledger(ledger, undisturbed)


def test_settings_are_checked_all_at_once(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('writers = 4\nlateness_hours = 48\nledger = "here"\n')
    settings = load_settings({"RATEMILL_SETTINGS": str(file), "RATEMILL_WRITERS": "3", "HOME": "/"})
    assert (settings.writers, settings.lateness_us, settings.ledger) == (3, 172_800_000_000, Path("here"))
    with pytest.raises(
        RatemillError, match=r"wrong settings: writers: .*; lateness: there is no such setting; did you mean"
    ):
        load_settings({"RATEMILL_WRITERS": "none", "RATEMILL_LATENESS": "1"})
    with pytest.raises(RatemillError, match="cannot read the settings file"):
        load_settings({"RATEMILL_SETTINGS": str(tmp_path / "no.toml")})
