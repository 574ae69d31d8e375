"""Bytewax's recovery store, made safe: snapshots of epochs that never committed are removed before every start.

Bytewax 0.21.1 leaves such snapshots in its store and a later resume loads them, although the source replays their
events: those are counted twice. The rule: before a flow starts, with all its processes stopped, every snapshot of the
resume epoch or later goes. See docs/decisions/0011-recovery-cleaning.md.

While the engine of a process has the store open, nothing else in that process may open it: closing a second connection
would take the locks of the first one away, and its journal with all commits that are to come.

Owns: the resume epoch as Bytewax computes it, the cleaning, and reading kept states. Only the SQLite files of version
0.21.1 are known to this module, which is why that version is pinned.
"""

import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir

from dataflows.errors import RatemillError, UnmendableError
from dataflows.ledger.folder import RESTORE, sync

# One per host: each further one costs fsyncs in every epoch and wins nothing.
_RECOVERY_PARTITIONS = 1
_open_in_engine: set[Path] = set()


def make_store(folder: Path) -> None:
    """An empty recovery store at `folder`, unless there is one; complete or not there at all."""
    if folder.exists():
        return
    aside = folder.with_name(f".{folder.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    init_db_dir(aside, _RECOVERY_PARTITIONS)
    aside.replace(folder)
    sync(folder.parent)


def clean_store(folder: Path) -> int:
    """Remove the snapshots of epochs that never committed, and give their number. No process may use the store.

    UnmendableError if the store is damaged.
    """
    with _reading(folder):
        if len(_partitions(folder)) != _RECOVERY_PARTITIONS:
            raise _damaged(folder, "a file is missing")
        epoch = resume_epoch(folder)
        removed = sum(_remove_from(path, epoch) for path in _partitions(folder))
        # A journal may hold the end of a file, after a crash and where a full disk has kept it from being put there.
        for path in _partitions(folder):
            _empty_journal(path)
    for path in _partitions(folder):
        _check_whole(path)
    return removed


@contextmanager
def used_by_engine(folder: Path) -> Iterator[RecoveryConfig]:
    """The store as the engine takes it; it must run in the block, in which nobody else of this process may read it."""
    _open_in_engine.add(folder)
    try:
        yield RecoveryConfig(str(folder))
    finally:
        _open_in_engine.discard(folder)


def resume_epoch(folder: Path) -> int:
    """The epoch at which Bytewax will resume: the least frontier over the workers of the last execution; 1 if none."""
    execution = max(((number, workers, start) for number, workers, start in _rows(folder, _EXECUTIONS)), default=None)
    if execution is None:
        return 1
    number, workers, start = execution
    frontiers = dict.fromkeys(range(workers), start)
    for of_execution, worker, frontier in _rows(folder, _FRONTIERS):
        if of_execution == number:
            frontiers[worker] = max(frontiers[worker], frontier)
    return min(frontiers.values())


def kept_states(folder: Path, step_id: str) -> dict[str, bytes]:
    """The last committed state of every key of a step, of a store that has been cleaned."""
    states: dict[str, tuple[int, bytes | None]] = {}
    with _reading(folder):
        for key, epoch, change in _rows(folder, _SNAPSHOTS, step_id):
            if key not in states or epoch > states[key][0]:
                states[key] = epoch, change
    return {key: pickle.loads(change) for key, (_, change) in states.items() if change is not None}


_EXECUTIONS = "SELECT ex_num, worker_count, resume_epoch FROM exs"
_FRONTIERS = "SELECT ex_num, worker_index, worker_frontier FROM fronts"
_KEYS = "SELECT DISTINCT state_key FROM snaps WHERE step_id = ? AND ser_change IS NOT NULL"
_DAMAGES = ("malformed", "not a database", "no such table", "no such column")
_SNAPSHOTS = "SELECT state_key, snap_epoch, ser_change FROM snaps WHERE step_id = ?"


def _rows(folder: Path, query: str, *values: str) -> Iterator[tuple]:
    assert folder not in _open_in_engine, f"{folder} is read while the engine has it open"
    for path in _partitions(folder):
        with closing(sqlite3.connect(path)) as store:
            yield from store.execute(query, values)


def _partitions(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.sqlite3"))


def _remove_from(path: Path, epoch: int) -> int:
    with closing(sqlite3.connect(path)) as store, store:
        return store.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,)).rowcount


def _empty_journal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def kept_keys(folder: Path, step_id: str) -> set[str]:
    """The keys of a step that have a state, of a store that has been cleaned."""
    with _reading(folder):
        return {key for (key,) in _rows(folder, _KEYS, step_id)}


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if any(words in str(error) for words in _DAMAGES):
            raise _damaged(folder, str(error)) from error
        raise RatemillError(f"cannot use the recovery store {folder}: {error}") from error
    except pickle.UnpicklingError as error:
        raise _damaged(folder, "a state cannot be read") from error


def _check_whole(path: Path) -> None:
    """A file that was cut within its last page is one that SQLite reads without a word."""
    with path.open("rb") as file:
        header = file.read(32)
    page = int.from_bytes(header[16:18], "big")
    expected = int.from_bytes(header[28:32], "big") * (65_536 if page == 1 else page)
    if path.stat().st_size < expected:
        raise _damaged(path.parent, f"{path.name} was cut off")


def _damaged(folder: Path, how: str) -> UnmendableError:
    return UnmendableError(f"the recovery store {folder} is damaged ({how}): {RESTORE}")
