"""The file that the store is: opened, made, locked, and its errors as sentences.

The rule: a write-ahead log, so that people look while the flow writes; after `kill -9` or a power cut the file is as
after one of its transactions, with the place in the topic and the deliveries that belong together.
"""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflows.errors import RatemillError, UnmendableError
from dataflows.ledger.folder import plain_os_errors
from dataflows.notifications.tables import SCHEMA, VERSION

FILE = "deliveries.sqlite"
_SECONDS_TO_WAIT = 30.0
_DAMAGED = ("malformed", "not a database")


@contextmanager
def plain_store_errors(folder: Path) -> Iterator[None]:
    """Turn what SQLite cannot do into a sentence; UnmendableError if the file is damaged."""
    try:
        yield
    except sqlite3.Error as error:
        sentence = f"cannot use {folder / FILE}: {error}"
        if any(sign in str(error) for sign in _DAMAGED):
            raise UnmendableError(f"{sentence}; restore it from a backup, or begin anew with another folder") from error
        raise RatemillError(sentence) from error


@contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and hold it while the block runs; RatemillError if another process holds it."""
    with plain_os_errors(f"cannot use the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(folder, handle)
        yield
    finally:
        os.close(handle)


def _lock(folder: Path, handle: int) -> None:
    with plain_os_errors(f"cannot lock the folder {folder}"):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise RatemillError(f"the deliveries in {folder} are in use by another process") from error
            raise


def opened(folder: Path) -> sqlite3.Connection:
    """The database of a folder, made if there is none; for several threads, one at a time."""
    with plain_store_errors(folder):
        connection = sqlite3.connect(folder / FILE, _SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if not _version(connection):
            with transaction(connection):
                if not _version(connection):
                    _make(connection)
        if (version := _version(connection)) != VERSION:
            raise UnmendableError(f"{folder / FILE} has version {version}, and this Ratemill knows {VERSION}")
        return connection


def opened_if_there(folder: Path) -> sqlite3.Connection:
    """The database of a folder where a flow has made one; RatemillError if there is none."""
    if not (folder / FILE).exists():
        raise RatemillError(f"no notification flow has run with the folder {folder}: there is no {FILE} in it")
    return opened(folder)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written in the block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _make(connection: sqlite3.Connection) -> None:
    statement = ""
    for line in SCHEMA.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    connection.execute(f"PRAGMA user_version = {VERSION}")
