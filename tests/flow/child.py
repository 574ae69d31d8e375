"""A rating run in a process of its own, which can be told to kill itself at a named point.

Usage: python -m tests.flow.child CATALOG LEDGER SETTINGS_JSON KILL_POINT KILL_CALL EVENTS...
KILL_POINT is a name from POINTS or "-"; the process dies by SIGKILL before (or after) the call of that number.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import dataflows.ledger.compaction
import dataflows.ledger.manifest
import dataflows.ledger.publication
import dataflows.ledger.writer
from dataflows import rating
from dataflows.connectors import files, ledger
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.launcher import run_rating
from dataflows.ledger.tables import TableFile
from dataflows.settings import Settings
from rating.catalog import compile_catalog

# Owner, attribute, whether the call happens before the process dies.
Point = tuple[object, str, bool]
POINTS: dict[str, Point] = {
    "before a batch is read": (files.FilePartition, "next_batch", False),
    "after a batch was read": (files.FilePartition, "next_batch", True),
    "before the place is kept": (files.FilePartition, "snapshot", False),
    "after a share was rated": (rating.KeyGroup, "on_batch", True),
    "before a key group is kept": (rating.KeyGroup, "snapshot", False),
    "after a key group was kept": (rating.KeyGroup, "snapshot", True),
    "while rows are written": (TableFile, "append", True),
    "before a file is on disk": (TableFile, "close", False),
    "after a file is on disk": (TableFile, "close", True),
    "before a commit is sealed": (ledger.LedgerPartition, "snapshot", False),
    "after a commit was sealed": (ledger.LedgerPartition, "snapshot", True),
    "before files get public names": (dataflows.ledger.writer, "make_public", False),
    "after files got public names": (dataflows.ledger.writer, "make_public", True),
    "before a merge": (dataflows.ledger.writer, "merge", False),
    "after a merge": (dataflows.ledger.writer, "merge", True),
    "before the manifest is replaced": (dataflows.ledger.manifest, "publish", False),
    "after the manifest was replaced": (dataflows.ledger.manifest, "publish", True),
}


def die_at(point: Point, call: int, last_act: Callable[[], None] = lambda: None) -> None:
    """Arrange the death of this process at the call of that number."""
    owner, name, after = point
    original: Callable[..., object] = getattr(owner, name)
    # Writers call from threads of their own: each call keeps the number it was given.
    numbers = itertools.count(1)

    def counting(*arguments: object, **named: object) -> object:
        number = next(numbers)
        if number == call and not after:
            die()
        result = original(*arguments, **named)
        if number == call:
            die()
        return result

    def die() -> None:
        last_act()
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, counting)


def main() -> None:
    catalog, target, settings, point, call, *events = sys.argv[1:]
    if point != "-":
        die_at(POINTS[point], int(call))
    run_rating(
        compile_catalog(load_catalog(Path(catalog))),
        Path(catalog),
        [Path(path) for path in events],
        Path(target),
        Settings.model_validate_json(settings),
    )


if __name__ == "__main__":
    main()
