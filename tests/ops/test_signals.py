"""Stopping on signals, at any moment of the wait."""

import signal
import subprocess
import sys

import pytest

from tests.flow.runs import ROOT

_TIMES = 8
# It is inside `Event.wait` nearly all the time, where it holds the event's lock half of it.
_WAITING = """
from ops.signals import stop_on_signals
stopping = stop_on_signals()
print("ready", flush=True)
while not stopping.is_set():
    stopping.wait(0)
"""
_BUSY = """
from ops.signals import stop_on_signals
stop_on_signals()
print("ready", flush=True)
while True:
    pass
"""


def started(program: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_may_come_at_any_moment_of_a_wait(number):
    """A handler that took the event's lock would hang in about half of these."""
    for _ in range(_TIMES):
        process = started(_WAITING)
        process.send_signal(number)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()


def test_the_second_signal_interrupts():
    process = started(_BUSY)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
