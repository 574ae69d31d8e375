"""`ratemill.duckdb` beside the tables of a ledger: views and macros only, made anew when either changed.

Owns: that file, and opening it. Does not own: the tables, or which of their files are published. The rule: the file is
built aside and renamed into place, so a reader that has the old one open keeps it, and nobody ever waits for a lock.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb

from dataflows.errors import RatemillError
from dataflows.ledger.invoice_states import invoice_states_sql
from dataflows.ledger.published import published_files_sql
from schemas.ledger import TABLES

DATABASE = "ratemill.duckdb"
VIEWS = Path(__file__).with_name("views")
_STATES = "invoice_states"
# Of a table with at most so many files DuckDB opens those only that hold what is visible, and none that is about to be
# removed. By itself it does so up to 50; what it costs grows with the square: 0.2 s for 400 files.
_MOST_FILES_BY_NAME = 400


class NotWritableError(RatemillError):
    """The folder refuses the file; its tables can be read all the same."""


def view_names() -> tuple[str, ...]:
    """The tables, what was stated of invoices, then the views over them."""
    return (*TABLES, _STATES, *(path.stem for path in _view_files()))


@contextlib.contextmanager
def open_ledger(ledger: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views of a ledger, for reading; times are shown in UTC."""
    try:
        write_views(ledger)
        connection = duckdb.connect(str(ledger / DATABASE), read_only=True)
    except (duckdb.Error, NotWritableError):
        # A folder that cannot be written to, or a file that cannot be read: the same views, in memory.
        connection = duckdb.connect()
        _create_views(connection, _statements(ledger.resolve()))
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET dynamic_or_filter_threshold = {_MOST_FILES_BY_NAME}")
        yield connection
    finally:
        connection.close()


def write_views(ledger: Path) -> None:
    """Create `ratemill.duckdb`, unless it is there and fits this ledger's place and these views."""
    check_is_ledger(ledger)
    statements = _statements(ledger.resolve())
    fingerprint = hashlib.sha256("\n".join(statements).encode()).hexdigest()
    if _fingerprint_of(ledger / DATABASE) == fingerprint:
        return
    aside = ledger / f".{DATABASE}.{os.getpid()}"
    try:
        with duckdb.connect(str(aside)) as connection:
            _create_views(connection, statements)
            connection.execute(f"CREATE MACRO ratemill_fingerprint() AS '{fingerprint}'")
        aside.replace(ledger / DATABASE)
    except (OSError, duckdb.Error) as error:
        aside.unlink(missing_ok=True)
        reason = str(error).partition("\n")[0]
        raise NotWritableError(f"cannot write the views to {ledger / DATABASE}: {reason}") from error


def _create_views(connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement)


def check_is_ledger(ledger: Path) -> None:
    """Refuse a folder that is no ledger, in a sentence."""
    if not ledger.is_dir():
        raise RatemillError(f"there is no ledger at {ledger}: the folder does not exist")
    if not (ledger / "commits").is_dir():
        raise RatemillError(f"{ledger} is not a ledger: it has no folder `commits`")


def _statements(root: Path) -> list[str]:
    tables = [f"CREATE VIEW {table} AS {published_files_sql(root, table)}" for table in TABLES]
    states = f"CREATE VIEW {_STATES} AS {invoice_states_sql(root)}"
    return [*tables, states, *(path.read_text(encoding="utf-8") for path in _view_files())]


def _view_files() -> list[Path]:
    return sorted(VIEWS.glob("*.sql"))


def _fingerprint_of(database: Path) -> str | None:
    if not database.exists():
        return None
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            row = connection.execute("SELECT ratemill_fingerprint()").fetchone()
    except duckdb.Error:
        return None
    return str(row[0]) if row else None
