"""Counting in several processes, some of which are killed: one sum, and no process in the way of another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataflows.errors import RatemillError
from dataflows.metrics import folder_for, process_environment
from dataflows.metrics_flows import ProcessNumbers

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, signal, sys
from dataflows.errors import RatemillError
from dataflows.metrics import CommitMeter, Stage, Step, count_read, count_snapshot, timed
meter = CommitMeter()
for _ in range(3):
    with timed(Stage.RATE):
        meter.add({"rated": 10, "parked": 1}, 12)
    meter.reach(4, 1_500_000)
    assert meter.close(b"four") == b"four"
timed(Stage.READ)(lambda: None)()
meter.add({"rated": 1000}, 1000)
count_read(100)
assert count_snapshot(Step.RATE, b"12345") == b"12345"
os.kill(os.getpid(), getattr(signal, sys.argv[1]))
"""


def work(process: int | None, end: str = "SIGKILL") -> None:
    """A process that closes three commits, leaves a fourth open, and dies."""
    environment = {**os.environ, **({} if process is None else process_environment(process))}
    done = subprocess.run([sys.executable, "-c", WORK, end], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    assert done.returncode < 0, done.stderr.decode()


def numbers(folder: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in ProcessNumbers(folder).collect()
        for sample in family.samples
    }


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_processes_are_added_up_and_go_on_where_one_was_killed(temporary):
    before = dict(os.environ)
    with folder_for(2) as folder:
        assert numbers(folder) == {}
        files = sorted(path.name for path in folder.iterdir())
        for process in (0, 1, 0):
            work(process)
        found = numbers(folder)
        assert sorted(path.name for path in folder.iterdir()) == files
    assert found["ratemill_records_total", "rated"] == 90
    assert found["ratemill_records_total", "parked"] == 9
    assert found["ratemill_records_total", "rejected"] == 0
    assert found["ratemill_line_items_total",] == 108
    assert found["ratemill_read_bytes_total",] == 300
    assert found["ratemill_snapshot_bytes_total", "ledger"] == 36
    assert found["ratemill_snapshot_bytes_total", "rate"] == 15
    assert found["ratemill_partition_progress_timestamp_seconds", "4"] == 1.5
    assert found["ratemill_epoch_seconds_count",] == 6
    assert found["ratemill_stage_seconds_total", "rate"] > 0 < found["ratemill_stage_seconds_total", "read"]
    assert found["ratemill_stage_seconds_total", "price"] == 0
    assert list(temporary.iterdir()) == []
    assert dict(os.environ) == before


def test_the_files_have_room_on_disk_before_a_process_maps_them(temporary):
    """A page of a mapped file for which a full disk has no room kills the process that writes it."""
    with folder_for(1) as folder:
        work(0)
        for path in folder.iterdir():
            assert path.stat().st_blocks * 512 >= path.stat().st_size > 0


def test_without_a_number_a_process_counts_for_itself(temporary):
    """The variable of the folder may be another program's."""
    with folder_for(1) as folder:
        work(None)
        assert numbers(folder) == {}


def test_a_folder_that_has_gone_stops_nobody(temporary, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(temporary / "gone"))
    work(0)
    assert list(temporary.iterdir()) == []


def test_no_place_for_numbers_is_told(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/self")
    with (
        pytest.raises(RatemillError, match=r"^cannot keep metrics in a temporary folder \(set TMPDIR .*: "),
        folder_for(1),
    ):
        raise AssertionError("there is no such place")
