"""A copy of a ledger for trying something out: a dry run is the real run on a copy that shares the published files.

Published files never change, so the copy links to them and costs no space; everything that does change is copied.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataflows.ledger.folder import LedgerFolder, locked, plain_os_errors
from ops.ledger_views import DATABASE
from schemas.ledger import TABLES


@contextlib.contextmanager
def rehearsal(folder: LedgerFolder) -> Iterator[Path]:
    """The copy, gone when the block ends. The ledger is locked only while it is copied."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.root.name}-dry-run-", dir=_place_for(folder.root)) as place:
        copy = Path(place) / "ledger"
        with locked(folder), plain_os_errors(f"cannot copy the ledger {folder.root} for a dry run"):
            shutil.copytree(folder.root, copy, copy_function=_link_or_copy, ignore=_left_out)
        yield copy


def _place_for(root: Path) -> Path | None:
    """Beside the ledger, where its files can be linked to; else wherever temporary files go."""
    return root.parent if os.access(root.parent, os.W_OK) else None


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in ("lock", DATABASE) or name.startswith(f".{DATABASE}")}


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).parent.name in TABLES and source.endswith(".parquet"):
        try:
            os.link(source, target)
        except OSError:
            # Another file system, or one without links: a copy is the same, only larger.
            shutil.copy2(source, target)
        return
    shutil.copy2(source, target)
