"""Notifications as messages turned back to rows of the ledger.

Owns the inverse of `steps.messages` for the table `notifications`. The rule: what is not exactly such a message is
refused; nothing is guessed.

>>> from schemas.notification_samples import sample_row
>>> message = dict.fromkeys(NOTIFICATIONS.names) | {
...     "notification_id": "n-1", "kind": "quota_reached", "occurred_at": "2026-11-20T10:00:00.000000Z",
...     "usage_after": "10250.5", "recipients": [], "synthetic": False, "catalog_digest": "0a"}
>>> from_message(message)["usage_after"]
Decimal('10250.5')
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from dataflows.errors import RatemillError
from schemas.decimals import LEDGER_PRECISION, parse_scaled
from schemas.fields import describe
from schemas.ledger import NOTIFICATIONS
from schemas.notification_variables import KINDS
from schemas.problems import suggestion

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z", re.ASCII)


def from_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a message: decimals as Decimals, moments aware in UTC, absent columns null.

    Raises `RatemillError` naming the notification and the column that is not as `steps.messages` writes it.
    """
    name = message.get("notification_id")
    of = f"notification '{name}'" if isinstance(name, str) else "a notification without an id"
    for column in message:
        if column not in NOTIFICATIONS.names:
            raise RatemillError(f"{of} has an unknown column '{column}'{suggestion(column, NOTIFICATIONS.names)}")
    try:
        row = {column.name: _value(message.get(column.name), column) for column in NOTIFICATIONS}
    except ValueError as error:
        raise RatemillError(f"{of} cannot be read: {error}") from error
    if row["kind"] not in KINDS:
        raise RatemillError(f"{of} is of the unknown kind '{row['kind']}'{suggestion(row['kind'], KINDS)}")
    return row


def _value(given: Any, column: pa.Field) -> Any:
    if given is None:
        if not column.nullable:
            raise ValueError(f"'{column.name}' is missing")
        return None
    reads, expected = next((reads, expected) for fits, reads, expected in _READERS if fits(column.type))
    value = reads(given, column.type)
    if value is None:
        shown = f"'{given[:40]}'" if isinstance(given, str) else describe(given)
        raise ValueError(f"'{column.name}' is {expected}, not {shown}")
    return value


def _text(given: Any, _: pa.DataType) -> str | None:
    return given if isinstance(given, str) else None


def _decimal(given: Any, kind: pa.DataType) -> Decimal | None:
    if not isinstance(given, str) or parse_scaled(given, kind.scale, LEDGER_PRECISION - kind.scale) is None:
        return None
    return Decimal(given)


def _moment(given: Any, _: pa.DataType) -> datetime | None:
    if not isinstance(given, str) or _MOMENT.fullmatch(given) is None:
        return None
    try:
        return datetime.fromisoformat(given).astimezone(UTC)
    except ValueError:
        return None


def _whole(given: Any, _: pa.DataType) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _flag(given: Any, _: pa.DataType) -> bool | None:
    return given if isinstance(given, bool) else None


def _texts(given: Any, _: pa.DataType) -> list[str] | None:
    return given if isinstance(given, list) and all(isinstance(one, str) for one in given) else None


_Reader = Callable[[Any, pa.DataType], Any]
_READERS: tuple[tuple[Callable[[pa.DataType], bool], _Reader, str], ...] = (
    (pa.types.is_large_string, _text, "text"),
    (pa.types.is_decimal, _decimal, "a decimal as text"),
    (pa.types.is_timestamp, _moment, "a time in UTC as text"),
    (pa.types.is_integer, _whole, "a whole number"),
    (pa.types.is_boolean, _flag, "true or false"),
    (pa.types.is_large_list, _texts, "a list of texts"),
)
