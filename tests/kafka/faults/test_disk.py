"""The disk is full, then has room again: the flow says so and goes on by itself, without anybody's help."""

import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kafka.faults.acts import children_of, group_of, kill_all, wait_for_children, wait_for_news, wait_until
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import Gateway
from tests.kafka.flows import make_topics, received, start_flow, stop, wait_until_received

_SIZE = 64 << 20
_LARGEST_FILE = 8_000
_SECONDS_IN_VAIN = 5
Turn = Callable[[bool], None]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own for the ledger; None where this user may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "ratemill-test", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def filler_of(disk: Path) -> Turn:
    """Fills the disk to its last byte, or makes room again."""
    ballast = disk / "ballast"

    def turn(full: bool) -> None:
        if not full:
            ballast.unlink()
            return
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            for size in (1 << 16, 512, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

    return turn


def limiter_of(flow: subprocess.Popen) -> Turn:
    """No file of the flow may grow beyond a few pages, or all may again; what it starts later inherits that."""

    def turn(full: bool) -> None:
        limit = _LARGEST_FILE if full else resource.RLIM_INFINITY
        for pid in group_of(flow):
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    return turn


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("processes", "way"),
    [
        (1, "disk"),
        *(pytest.param(*way, marks=pytest.mark.long_form) for way in ((1, "limit"), (2, "disk"), (2, "limit"))),
    ],
)
def test_full_then_free(broker, steady, topic_prefix, tmp_path, processes, way):
    settings = settings_of_faults(broker, topic_prefix, processes=processes)
    make_topics(settings, steady.traffic.catalog)
    with small_disk(tmp_path) as disk:
        # Without the right to mount, both ways are the limit: the fault is that writing is refused.
        ledger = (disk if disk and way == "disk" else tmp_path) / "ledger"
        flow = start_flow(settings, ledger)
        turn = filler_of(disk) if disk and way == "disk" else limiter_of(flow)
        try:
            with Gateway(settings, steady.traffic.records, 100) as gateway:
                wait_for_news(ledger, flow)
                for _ in range(2):
                    _full_for_a_while(flow, ledger, turn, processes)
                sent = gateway.finish()
            wait_until_received(ledger, sent, flow)
            said = stop(flow)
        finally:
            kill_all(flow)
        lines = [line for line in said.splitlines() if "starting again" in line]
        assert len(lines) >= 2
        assert all(line.lower().startswith(("cannot write", "rating into", "cannot use")) for line in lines), said
        SUMMARY.add("disk full", 0, steady.assert_reached(settings, ledger))


def _full_for_a_while(flow: subprocess.Popen, ledger: Path, turn: Turn, processes: int) -> None:
    """Until the processes have ended for it, and for a while of trying in vain; then the ledger grows again."""
    before = wait_for_children(flow, processes)
    turn(True)
    wait_until(lambda: not set(before) & set(children_of(flow)), flow)
    time.sleep(_SECONDS_IN_VAIN)
    stored = received(ledger)
    turn(False)
    wait_for_news(ledger, flow, stored)
