"""What people and metrics ask of a store: lists of deliveries, counts, ages; and trying again what has failed.

The rule: whoever looks disturbs nobody; a delivery is tried again only where there is somebody to deliver to.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflows.delivery_settings import shown_url
from dataflows.moments import datetime_of, now
from dataflows.notifications.database import opened_if_there, plain_store_errors, transaction
from dataflows.notifications.records import Channel

_MICROSECONDS_PER_HOUR = 3_600_000_000
_MICROSECONDS = 1_000_000
COLUMNS = tuple(
    "notification_id kind channel recipient state attempts came_at next_attempt_at ended_at last_error".split()
)
MALFORMED_COLUMNS = ("partition", "offset", "came_at", "reason", "record")
_MOMENTS = ("came_at", "next_attempt_at", "ended_at")
_LIST = """
SELECT notification_id, kind, channel, recipient, state, attempts, deliveries.came_at,
       CASE WHEN state = 'pending' THEN next_attempt_at END AS next_attempt_at, ended_at, last_error
FROM deliveries JOIN notifications ON number = notification
WHERE ? IS NULL OR state = ?
ORDER BY delivery_id DESC LIMIT ?
"""
_AGAIN = """
UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = ?, give_up_at = ?, ended_at = NULL
WHERE state = 'failed' AND channel <> 'unknown'
"""
_OF_ONE = " AND notification = (SELECT number FROM notifications WHERE notification_id = ?)"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many deliveries of a channel are in a state; of those delivered, all that ever were."""

    channel: str
    state: str
    deliveries: int


@contextmanager
def looking(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a folder during the block; RatemillError if it cannot be read."""
    connection = opened_if_there(folder)
    try:
        with plain_store_errors(folder):
            connection.row_factory = sqlite3.Row
            yield connection
    finally:
        connection.close()


def listed(folder: Path, state: str | None, most: int) -> list[dict[str, Any]]:
    """The last deliveries, of one state or of all, as rows of COLUMNS."""
    with looking(folder) as connection:
        return [_shown(row) for row in connection.execute(_LIST, (state, state, most))]


def malformed(folder: Path, most: int) -> list[dict[str, Any]]:
    """The last records that were no notifications, as rows of MALFORMED_COLUMNS."""
    with looking(folder) as connection:
        rows = connection.execute("SELECT * FROM malformed_records ORDER BY came_at DESC LIMIT ?", (most,))
        return [{name: _shown(row)[name] for name in MALFORMED_COLUMNS} for row in rows]


def tallies(folder: Path) -> list[Tally]:
    """How many deliveries there are, of each channel and state."""
    with looking(folder) as connection:
        return [Tally(*row) for row in connection.execute("SELECT channel, state, deliveries FROM tallies")]


def ages(folder: Path) -> dict[str, float]:
    """For how many seconds the oldest pending delivery of each channel has waited; 0 where none waits."""
    with looking(folder) as connection:
        oldest = {
            channel: connection.execute(
                "SELECT min(came_at) FROM deliveries WHERE state = 'pending' AND channel = ?", (channel,)
            ).fetchone()[0]
            for channel in ("mail", "webhook")
        }
    moment = now()
    return {channel: max(0.0, (moment - (came or moment)) / _MICROSECONDS) for channel, came in oldest.items()}


def malformed_records(folder: Path) -> int:
    """How many records were no notifications."""
    with looking(folder) as connection:
        return connection.execute("SELECT count(*) FROM malformed_records").fetchone()[0]


def try_again(folder: Path, notification_id: str | None, hours: float) -> int:
    """Make failed deliveries pending again, of one notification or all, for so many hours; gives how many."""
    moment = now()
    values: tuple[object, ...] = (moment, moment + round(hours * _MICROSECONDS_PER_HOUR))
    with looking(folder) as connection, transaction(connection):
        if notification_id is None:
            return connection.execute(_AGAIN, values).rowcount
        return connection.execute(_AGAIN + _OF_ONE, (*values, notification_id)).rowcount


def knows(folder: Path, notification_id: str) -> bool:
    """Whether a notification is in the store."""
    with looking(folder) as connection:
        found = connection.execute("SELECT 1 FROM notifications WHERE notification_id = ?", (notification_id,))
        return found.fetchone() is not None


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118
    for name in _MOMENTS:
        if values.get(name) is not None:
            values[name] = datetime_of(values[name])
    if values.get("channel") == Channel.WEBHOOK:
        values["recipient"] = shown_url(values["recipient"])
    if isinstance(values.get("record"), bytes):
        values["record"] = values["record"].decode(errors="backslashreplace")
    return values
