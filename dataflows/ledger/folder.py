"""The folder of a ledger: where everything lies in it, what was fixed when it was made, and its lock.

Owns: `ledger.json` (numbers that may never change), `lock`, and the places of all else. Does not own: which files are
published (manifest) or what stands in them (writer). The rule: everything that is renamed into place is first complete
on disk.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from dataflows.errors import RatemillError, UnmendableError
from schemas.ledger import TABLES

FORMAT = 4
# A file of each table, which gives readers the types of one without rows. The last of its files, by its name too:
# DuckDB guesses a table's size by the first one.
NO_ROWS = "zz-schema.parquet"
# What to do when the folder does not tell one story: a backup of a part of it does not help.
RESTORE = "restore the whole folder of the ledger from one backup; what came since is then read again"


class LedgerShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ledger was made with and keeps for ever: state and files are dealt by these numbers."""

    format: int
    key_groups: int
    writers: int


@dataclass(frozen=True, slots=True)
class LedgerFolder:
    """The places inside a ledger's folder; `root` is absolute."""

    root: Path
    shape: LedgerShape

    @property
    def pending(self) -> Path:
        """Files that are not yet published."""
        return self.root / "pending"

    @property
    def recovery(self) -> Path:
        """Bytewax's recovery store."""
        return self.root / "recovery"

    @property
    def inputs(self) -> Path:
        """Which input file is which partition."""
        return self.root / "inputs.json"

    @property
    def topic(self) -> Path:
        """Which topic feeds the ledger; there is none where files do."""
        return self.root / "topic.json"

    @property
    def invoice_states(self) -> Path:
        """What was stated of invoices."""
        return self.root / "invoice_states"

    def writers(self) -> range:
        """The numbers of the rating flow's writers."""
        return range(self.shape.writers)

    def settlement_writers(self) -> range:
        """The numbers of the settlement flow's writers, as many, which write invoices."""
        return range(self.shape.writers, 2 * self.shape.writers)

    def all_writers(self) -> range:
        """The numbers of both flows' writers."""
        return range(2 * self.shape.writers)

    def table(self, name: str) -> Path:
        """The published files of a table."""
        return self.root / name

    def manifest(self, writer: int) -> Path:
        """Which files of a writer are published, and since when."""
        of_rating = writer in self.writers()
        name = f"writer-{writer}" if of_rating else f"settlement-{writer - self.shape.writers}"
        return self.root / "manifest" / f"{name}.json"


def open_folder(path: Path, key_groups: int, writers: int) -> LedgerFolder:
    """The ledger at `path`, made if there is none; its parent folder must exist. Refuses other numbers than its own."""
    wanted = LedgerShape(FORMAT, key_groups, writers)
    folder = LedgerFolder(path.resolve(), wanted)
    with plain_os_errors(f"cannot write the ledger {path}"):
        if not folder.root.exists() and not folder.root.parent.is_dir():
            raise RatemillError(f"cannot make the ledger {path}: the folder {folder.root.parent} does not exist")
        folder.root.mkdir(exist_ok=True)
        _make_places(folder)
        shape = _shape(folder, wanted)
    if shape.format != FORMAT:
        raise RatemillError(f"the ledger {path} has format {shape.format}; this version reads format {FORMAT}")
    for name in ("key_groups", "writers"):
        if getattr(shape, name) != getattr(wanted, name):
            raise RatemillError(
                f"the ledger {path} was made with {name} = {getattr(shape, name)}, which cannot change; the settings"
                f" say {getattr(wanted, name)}: set RATEMILL_{name.upper()} to {getattr(shape, name)}"
            )
    return folder


def existing_folder(path: Path) -> LedgerFolder:
    """The ledger at `path`, with the numbers it was made with; RatemillError if there is none."""
    if not (path / "ledger.json").exists():
        raise RatemillError(f"there is no ledger at {path}: `ratemill rate` or `ratemill run rating` makes one")
    wanted = LedgerShape(FORMAT, 1, 1)
    shape = _shape(LedgerFolder(path.resolve(), wanted), wanted)
    return open_folder(path, shape.key_groups, shape.writers)


def _make_places(folder: LedgerFolder) -> None:
    folder.pending.mkdir(exist_ok=True)
    folder.manifest(0).parent.mkdir(exist_ok=True)
    for writer in folder.all_writers():
        if not folder.manifest(writer).exists():
            replace_file(folder.manifest(writer), b"[]")
    folder.invoice_states.mkdir(exist_ok=True)
    # DuckDB refuses a pattern that no file fits.
    (folder.invoice_states / "none.ndjson").touch()
    for name, schema in TABLES.items():
        folder.table(name).mkdir(exist_ok=True)
        empty = folder.table(name) / NO_ROWS
        if not empty.exists():
            # Two processes may make the same ledger at the same moment.
            aside = folder.pending / f"{name}-schema.{os.getpid()}.parquet"
            pq.write_table(schema.empty_table(), aside)
            sync(aside)
            aside.replace(empty)
            sync(empty.parent)


def _shape(folder: LedgerFolder, wanted: LedgerShape) -> LedgerShape:
    path = folder.root / "ledger.json"
    if not path.exists():
        replace_file(path, msgspec.json.format(msgspec.json.encode(wanted)))
    try:
        return msgspec.json.decode(path.read_bytes(), type=LedgerShape)
    except msgspec.DecodeError as error:
        raise UnmendableError(f"{path} is damaged ({error}): {RESTORE}") from error


@contextmanager
def locked(folder: LedgerFolder) -> Iterator[int]:
    """Hold the ledger alone while the block runs; refuses at once if another process holds it.

    Gives the lock's descriptor: a child that inherits it holds the lock as well.
    """
    handle = take_lock(folder, fcntl.LOCK_EX)
    try:
        yield handle
    finally:
        os.close(handle)


def take_lock(folder: LedgerFolder, kind: int, name: str = "lock") -> int:
    """Lock the ledger (`fcntl.LOCK_EX` or `LOCK_SH`) until the returned descriptor is closed or the process ends."""
    with plain_os_errors(f"cannot lock the ledger {folder.root}"):
        handle = os.open(folder.root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise RatemillError(f"the ledger {folder.root} is in use by another process") from error
            raise
    return handle


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock file alone, among threads and processes, while the block runs; waits for it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def plain_os_errors(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise RatemillError(f"{what}: {os_reason(error)}") from error


def os_reason(error: OSError) -> str:
    """Why the operating system refused, with the file's name."""
    # pyarrow raises OSError without an errno, and only its text tells.
    if error.errno is None:
        reason = str(error).partition("\n")[0]
        return reason[:1].lower() + reason[1:]
    name = f" ({error.filename})" if error.filename else ""
    return f"{os.strerror(error.errno).lower()}{name}"


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader sees all of the old or all of the new, also after a power cut."""
    aside = write_aside(path, content)
    aside.replace(path)
    sync(path.parent)


def write_aside(path: Path, content: bytes) -> Path:
    """A file with this content, complete on disk, that can take the place of `path`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return aside


def sync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
