"""What tests do to a running flow: kill, pause and count its processes, and see whether it commits.

The rule: only processes of the flow's own group are touched, and every wait has an end.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dataflows.ledger.folder import LedgerFolder, LedgerShape
from dataflows.settings import Settings
from tests.kafka.flows import received

SECONDS = 120
_SECONDS_BETWEEN_LOOKS = 0.05


def children_of(flow: subprocess.Popen) -> list[int]:
    """The processes that a flow's supervisor has started and that live."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, parent, state in rows if parent == str(flow.pid) and not state.startswith("Z")]


def group_of(flow: subprocess.Popen) -> list[int]:
    """Every living process of a flow's group, also after its supervisor has gone."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, group, state in rows if group == str(flow.pid) and not state.startswith("Z")]


def wait_until(condition: Callable[[], object], flow: subprocess.Popen | None = None, seconds: float = SECONDS) -> None:
    """Until the condition holds; a flow that ends before, or the end of the time, is a failure."""
    last = time.monotonic() + seconds
    while not condition():
        if flow is not None and flow.poll() is not None:
            raise AssertionError(f"the flow ended ({flow.returncode}): {flow.communicate()[1]}")
        assert time.monotonic() < last, f"waited {seconds} s in vain; the flow said: {_said(flow)}"
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _said(flow: subprocess.Popen | None) -> str:
    """What the flow said up to now; it is ended for that."""
    if flow is None:
        return "-"
    # One that is stopped would keep the pipe open, and we would wait for ever.
    kill(group_of(flow))
    return flow.communicate()[1]


def wait_for_children(flow: subprocess.Popen, number: int) -> list[int]:
    """The flow's processes, as soon as there are so many, each of which runs its own program.

    Until then it is a copy of the flow, which waits for it: to stop it would stop both.
    """
    wait_until(lambda: len(children_of(flow)) == number, flow)
    children = children_of(flow)
    own = _command_of(flow.pid)
    wait_until(lambda: own not in map(_command_of, children), flow)
    return children


def _command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def wait_for_news(ledger: Path, flow: subprocess.Popen, before: int | None = None) -> int:
    """Until more records have a published verdict than `before` (now, for None); gives their number."""
    before = received(ledger) if before is None else before
    wait_until(lambda: received(ledger) > before, flow)
    return received(ledger)


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to processes, some of which may have ended meanwhile."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_all(flow: subprocess.Popen) -> None:
    """Kill the whole group at once, and wait until nothing of it lives."""
    with suppress(ProcessLookupError):
        os.killpg(flow.pid, signal.SIGKILL)
    flow.communicate(timeout=SECONDS)
    wait_until(lambda: not group_of(flow))


def folder_of(ledger: Path, settings: Settings) -> LedgerFolder:
    """The ledger's places, without opening it."""
    return LedgerFolder(ledger, LedgerShape(1, settings.key_groups, settings.writers))


def last_sentence(said: str) -> str:
    """The last line of what a command wrote to standard error."""
    return said.strip().splitlines()[-1]
