"""`ratemill sql`: DuckDB on a ledger, one query or a dialogue."""

import sys
from typing import Annotated

import duckdb
import typer

from dataflows.errors import RatemillError
from ops.arguments import JsonOption, LedgerOption, needed, settings_with
from ops.ledger_views import open_ledger, view_names
from ops.output import print_json, print_table, remark, say
from ops.query import ask

EXAMPLES = """
Examples:

    ratemill sql "SELECT * FROM revenue_by_product" --ledger demo-ledger

    ratemill sql --ledger demo-ledger --json < monthly.sql

    ratemill sql --ledger demo-ledger
"""

_PROMPT, _CONTINUED = "ratemill> ", "     ...> "


def run(
    query: Annotated[str | None, typer.Argument(help="A query; without one, standard input is read.")] = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Query a ledger with DuckDB: the tables and every view, read-only, also while a flow writes.

    Without a query on a terminal it opens a dialogue; `.tables` there lists the views.
    """
    with open_ledger(needed(settings_with(ledger=ledger).ledger, "ledger")) as connection:
        if query is None and sys.stdin.isatty():
            _dialogue(connection)
        else:
            _answer(connection, sys.stdin.read() if query is None else query, json)


def _answer(connection: duckdb.DuckDBPyConnection, query: str, json: bool) -> None:
    try:
        answer = ask(connection, query)
    except duckdb.Error as error:
        raise RatemillError(
            " ".join(line.strip() for line in str(error).partition("LINE 1:")[0].splitlines())
        ) from error
    if json:
        print_json(answer.records)
    else:
        print_table(answer.columns, answer.rows)


def _dialogue(connection: duckdb.DuckDBPyConnection) -> None:
    """Statements end with a semicolon; an error is said and the dialogue goes on; end of input ends it."""
    remark("End a query with a semicolon. `.tables` lists the views, Ctrl-D leaves.")
    statement = ""
    while True:
        try:
            line = input(_CONTINUED if statement else _PROMPT)
        except EOFError:
            say()
            return
        if not statement and line.strip() == ".tables":
            say("\n".join(view_names()))
            continue
        statement += line + "\n"
        if line.rstrip().endswith(";"):
            try:
                _answer(connection, statement, json=False)
            except RatemillError as error:
                remark(str(error))
            statement = ""
