"""The store of a notification flow: what came from the topic, what is to be delivered, and what came of it.

Owns: the transactions of the flow. Does not own: what people ask of the store (`looks`), or deciding on outcomes. The
rule: deliveries and the place in the topic behind them are kept together, so a crash neither loses nor repeats a
record; a notification that comes again is the one that is there.
"""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from dataflows.delivery_settings import Webhook
from dataflows.moments import now
from dataflows.notifications.database import opened, plain_store_errors, transaction
from dataflows.notifications.outcomes import Due, Result
from dataflows.notifications.records import Channel, MalformedError, Notification, Wanted, notification_of, wanted_of

MAIL_ENDPOINT = "mail"
_MICROSECONDS_PER_HOUR = 3_600_000_000
_ROWS_PER_SWEEP = 5_000
_DUE = """
SELECT delivery_id, notification_id, kind, recipient, attempts, give_up_at, record
FROM deliveries JOIN notifications ON number = notification
WHERE state = 'pending' AND endpoint = ? AND next_attempt_at <= ?
ORDER BY next_attempt_at LIMIT ?
"""
_RESULT = """
UPDATE deliveries SET state = ?, attempts = ?, next_attempt_at = ?, ended_at = ?, last_error = ? WHERE delivery_id = ?
"""
_EXPIRE = """
UPDATE deliveries SET state = 'failed', ended_at = ?, last_error = coalesce(last_error || '; ', '')
    || CASE WHEN endpoint IN (SELECT value FROM json_each(?)) THEN 'given up, its time was over'
            WHEN channel = 'mail' THEN 'given up: no mail server is set (RATEMILL_SMTP_HOST)'
            ELSE 'given up: this endpoint is no longer set (RATEMILL_WEBHOOKS)' END
WHERE delivery_id IN
    (SELECT delivery_id FROM deliveries WHERE state = 'pending' AND give_up_at <= ? ORDER BY give_up_at LIMIT ?)
"""
_FORGET = """
DELETE FROM deliveries WHERE delivery_id IN
    (SELECT delivery_id FROM deliveries WHERE state = 'delivered' AND ended_at <= ? ORDER BY ended_at LIMIT ?)
"""
_FORGET_NOTIFICATIONS = """
DELETE FROM notifications WHERE number IN
    (SELECT number FROM notifications WHERE came_at <= ?
     AND NOT EXISTS (SELECT 1 FROM deliveries WHERE notification = number) ORDER BY came_at LIMIT ?)
"""


@dataclass(frozen=True, slots=True)
class Came:
    """A record as it came from the topic."""

    partition: int
    offset: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a batch of records was: new notifications, those that were there, deliveries to be made, and no such."""

    notifications: int
    repeated: int
    deliveries: int
    malformed: int


class Store:
    """The store of one flow; its methods may be called by any thread, and raise RatemillError."""

    def __init__(self, folder: Path, webhooks: Sequence[Webhook], hours: float) -> None:
        self.folder = folder
        self._webhooks = webhooks
        self._age = round(hours * _MICROSECONDS_PER_HOUR)
        self._lock = threading.Lock()
        self._connection = opened(folder)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def topic(self) -> tuple[str, str] | None:
        """Name and id of the topic that feeds the store; None for a new one."""
        with self._lock, self._errors():
            return self._connection.execute("SELECT name, topic_id FROM topic").fetchone()

    def positions(self) -> dict[int, int]:
        """The next offset of each partition."""
        with self._lock, self._errors():
            return dict(self._connection.execute("SELECT partition, next_offset FROM positions"))

    def begin(self, topic: str, topic_id: str, positions: Mapping[int, int]) -> None:
        """Keep the topic that feeds the store, if none did, and where some partitions are read from."""
        with self._lock, self._errors(), transaction(self._connection):
            if not self._connection.execute("SELECT count(*) FROM topic").fetchone()[0]:
                self._connection.execute("INSERT INTO topic VALUES (?, ?)", (topic, topic_id))
            self._connection.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", positions.items())

    def take(self, records: Sequence[Came]) -> Taken:
        """Keep what the records ask for, and the places behind them, in one transaction."""
        moment = now()
        read = [(came, _read(came)) for came in records]
        new = deliveries = malformed = 0
        with self._lock, self._errors(), transaction(self._connection):
            for came, found in read:
                if isinstance(found, str):
                    malformed += self._keep_malformed(came, found, moment)
                elif (number := self._keep(came, found, moment)) is not None:
                    new += 1
                    deliveries += self._ask_for(number, wanted_of(found, self._webhooks), moment)
            behind = {came.partition: came.offset + 1 for came in records}
            self._connection.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", behind.items())
        return Taken(new, len(read) - new - malformed, deliveries, malformed)

    def due(self, endpoint: str, most: int) -> list[Due]:
        """Deliveries to an endpoint whose time has come, the longest due first."""
        with self._lock, self._errors():
            return [Due(*row) for row in self._connection.execute(_DUE, (endpoint, now(), most))]

    def record(self, results: Iterable[Result]) -> None:
        """Keep what came of attempts, in one transaction."""
        rows = [
            (each.state, each.attempts, each.next_attempt_at, each.ended_at, each.last_error, each.delivery_id)
            for each in results
        ]
        with self._lock, self._errors(), transaction(self._connection):
            self._connection.executemany(_RESULT, rows)

    def expire(self, served: Iterable[str]) -> int:
        """Give up some pending deliveries whose time is over; gives how many. `served` are the endpoints in use."""
        moment = now()
        with self._lock, self._errors(), transaction(self._connection):
            return self._connection.execute(_EXPIRE, (moment, json.dumps([*served]), moment, _ROWS_PER_SWEEP)).rowcount

    def forget(self, days: float) -> int:
        """Forget some of what was delivered so many days ago; gives how many."""
        before = now() - round(days * 24 * _MICROSECONDS_PER_HOUR)
        with self._lock, self._errors(), transaction(self._connection):
            gone = self._connection.execute(_FORGET, (before, _ROWS_PER_SWEEP)).rowcount
            self._connection.execute(_FORGET_NOTIFICATIONS, (before, _ROWS_PER_SWEEP))
        return gone

    def _errors(self) -> AbstractContextManager[None]:
        return plain_store_errors(self.folder)

    def _keep(self, came: Came, found: Notification, moment: int) -> int | None:
        """The number of a new notification; None if it is there."""
        occurred = round(found.occurred_at.astimezone(UTC).timestamp() * 1_000_000)
        row = (found.notification_id, found.kind, occurred, came.partition, came.offset, moment, came.value)
        kept = self._connection.execute(
            "INSERT OR IGNORE INTO notifications"
            " (notification_id, kind, occurred_at, partition, offset, came_at, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        return kept.lastrowid if kept.rowcount else None

    def _ask_for(self, number: int, wanted: Sequence[Wanted], moment: int) -> int:
        """Keep the deliveries of a notification; those that cannot be are failed ones at once."""
        rows = [
            (
                *(number, each.channel, each.recipient, _endpoint(each), "failed" if each.fault else "pending"),
                *(moment, moment, moment + self._age, moment if each.fault else None, each.fault),
            )
            for each in wanted
        ]
        self._connection.executemany(
            "INSERT INTO deliveries (notification, channel, recipient, endpoint, state, came_at, next_attempt_at,"
            " give_up_at, ended_at, last_error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        return len(rows)

    def _keep_malformed(self, came: Came, reason: str, moment: int) -> int:
        row = (came.partition, came.offset, moment, reason, came.value)
        self._connection.execute("INSERT OR REPLACE INTO malformed_records VALUES (?, ?, ?, ?, ?)", row)
        return 1


def _read(came: Came) -> Notification | str:
    """The notification, or why it is none."""
    try:
        return notification_of(came.value)
    except MalformedError as error:
        return str(error)


def _endpoint(wanted: Wanted) -> str:
    match wanted.channel:
        case Channel.MAIL:
            return MAIL_ENDPOINT
        case Channel.WEBHOOK:
            return wanted.recipient
        case Channel.UNKNOWN:
            return ""
