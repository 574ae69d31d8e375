"""Who may settle a ledger: one process at a time, whatever settles it.

Owns the lock. The rule: what is due is read and settled under it, so that nothing is settled twice.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dataflows.ledger.folder import LedgerFolder, take_lock

_LOCK = "settlement.lock"


@contextmanager
def settling_alone(folder: LedgerFolder) -> Iterator[None]:
    """Nobody else settles this ledger while the block runs; refuses at once if somebody does."""
    handle = take_lock(folder, fcntl.LOCK_EX, _LOCK)
    try:
        yield
    finally:
        os.close(handle)


class Together:
    """Workers of one process settle a ledger side by side, and nobody else does meanwhile; between times others may."""

    def __init__(self, folder: LedgerFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._holders = 0
        self._handle = -1

    def __enter__(self) -> None:
        with self._lock:
            if not self._holders:
                self._handle = take_lock(self._folder, fcntl.LOCK_EX, _LOCK)
            self._holders += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                os.close(self._handle)
