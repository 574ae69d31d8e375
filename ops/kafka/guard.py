"""Runs the broker's Java and outlives it: a broker never outlives whoever started it.

Usage: python guard.py PARENT FOLDER COMMAND...
The command is killed as soon as the process PARENT has gone; then FOLDER, unless it is "-", is removed. SIGTERM ends
the command politely, SIGUSR1 kills it. The rule: standard library only and one thread, so that it starts at once.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

_SECONDS_BETWEEN_LOOKS = 0.05
_DIE_WITH_PARENT = 1


def main(parent: int, folder: str, command: list[str]) -> int:
    """The exit code of the command, as a shell tells it."""
    wanted: list[signal.Signals] = []
    signal.signal(signal.SIGTERM, lambda *_: wanted.append(signal.SIGTERM))
    signal.signal(signal.SIGUSR1, lambda *_: wanted.append(signal.SIGKILL))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard)
    orphaned = False
    while child.poll() is None:
        if not orphaned and os.getppid() != parent:
            orphaned = True
            wanted.append(signal.SIGKILL)
        while wanted:
            child.send_signal(wanted.pop(0))
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if orphaned and folder != "-":
        shutil.rmtree(folder, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _die_with_guard() -> None:
    """Where the system can, tie the command to this process, should somebody kill just this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
