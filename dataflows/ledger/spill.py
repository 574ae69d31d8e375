"""Where queries put what they cannot hold in memory: a folder of their own each, beside what is not published yet.

The rule: who uses such a folder holds its lock. What a killed process has left is nobody's; the next one removes it.
"""

import fcntl
import os
import secrets
import shutil
from pathlib import Path

from dataflows.ledger.folder import alone

_PREFIX = "queries-"


class SpillFolder:
    """A folder for the queries of one connection, until it is closed; `pending` is that of the ledger."""

    def __init__(self, pending: Path) -> None:
        self.path = pending / f"{_PREFIX}{secrets.token_hex(8)}"
        # Or somebody else would take what is not locked yet for what was left.
        with alone(pending / f"{_PREFIX}lock"):
            for left in pending.glob(f"{_PREFIX}*/"):
                _remove_if_left(left)
            self.path.mkdir()
            self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
