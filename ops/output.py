"""How results reach people and programs: tables on a terminal or in a pipe, JSON with `--json`, notes beside them.

The rule: standard output carries the result and nothing else; progress and remarks go to standard error. A decimal is
shown with all its digits and no trailing zeros, and is a string in JSON, so that no reader turns it into a float.

>>> text_of(Decimal("12.500000000000000000"))
'12.5'
>>> text_of(datetime(2026, 11, 20, 10, tzinfo=UTC))
'2026-11-20T10:00:00Z'
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 4_000

Rows = Sequence[Sequence[Any]]


def standard_output() -> Console:
    """Standard output: as wide as the terminal, or in a pipe as wide as the content."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def standard_error() -> Console:
    """Standard error, for progress and remarks."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def remark(sentence: str) -> None:
    """One line for a person beside the result."""
    standard_error().print(Text(sentence))


def say(sentence: str = "") -> None:
    """One line of the result."""
    standard_output().print(Text(sentence))


def text_of(value: Any) -> str:
    """A value of a table as text: decimals and times in full and exactly."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            text = moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds")
            return text.replace("+00:00", "Z")
        case date() | timedelta():
            return str(value)
        case dict() | list() | tuple():
            return orjson.dumps(value, default=text_of).decode()
        case _:
            return str(value)


def plain(value: Any) -> Any:
    """A value for JSON: numbers that count things stay numbers, decimals and times become text."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) < 1 << 53 else str(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case _:
            return text_of(value)


def print_json(value: Any) -> None:
    """The value as indented JSON on standard output."""
    sys.stdout.write(orjson.dumps(plain(value), option=orjson.OPT_INDENT_2).decode() + "\n")


def print_table(columns: Sequence[str], rows: Rows, title: str | None = None, right: Collection[str] = ()) -> None:
    """A table of rows; columns of numbers, and those named in `right`, stand at the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        numeric = name in right or any(_is_number(row[index]) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text_of(value)) for value in row))
    standard_output().print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def bullet_list(sentences: Iterable[str]) -> None:
    """Sentences, one a line, each behind a dash."""
    for sentence in sentences:
        say(f"- {sentence}")
