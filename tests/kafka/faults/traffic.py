"""Traffic for fault tests: what gateways send, with the times that they say, and a producer that sends it at a pace.

Each partition has subscriptions of its own, and every record says its own time, so the ledger of a topic depends on
nothing but the traffic: not on when it was sent, nor on which partition was read first, nor on whether a day has
ended since.
"""

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Self

from confluent_kafka import Producer

from dataflows.connectors.kafka_client import client_settings, topic_name
from dataflows.settings import Settings
from tests.flow.world import events, make_world
from tests.kafka.faults.oracle_compare import Kept, Position, rated_by_oracle, records_in
from tests.oracle.rated import Rated

MONTH = "2024-11"
LATENESS_HOURS = 24
# Lies before all events, which say what `events` gives them until `_record` says when they happened.
_TIME = re.compile(rb'"time": "[^"]*"')
# All events say the same time; their records follow at this distance, within the skew and the lateness.
_APART = timedelta(milliseconds=30)
_SECONDS_TO_DELIVER = 120
_LATE, _AHEAD = 0.01, 0.02


@dataclass(frozen=True)
class Traffic:
    """A catalog, and the records of each partition in the order in which they are sent."""

    catalog: Path
    records: tuple[Kept, ...]
    partitions: int

    def expected(self, settings: Settings) -> dict[Position, Rated]:
        """What the oracle makes of it."""
        return rated_by_oracle(settings, self.catalog, sorted(self.records, key=lambda kept: kept.partition))

    def assert_in_topic(self, settings: Settings) -> None:
        """The broker kept exactly this: nothing lost, repeated or in another order."""
        assert records_in(settings) == sorted(self.records, key=lambda kept: (kept.partition, kept.offset))


def make_traffic(folder: Path, partitions: int, records_each: int, seed: int) -> Traffic:
    """Records of every verdict, the partitions in turn."""
    world = make_world(folder, 0, partitions, seed, MONTH, daily=False)
    began = lately()
    lanes = [_lane(number, records_each, seed, began) for number in range(partitions)]
    return Traffic(world.catalog, tuple(record for row in zip(*lanes, strict=True) for record in row), partitions)


def lately() -> datetime:
    """When traffic begins: long enough ago for all of its records, and within the lateness for hours to come."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def _lane(partition: int, count: int, seed: int, began: datetime) -> list[Kept]:
    rng = random.Random(f"{seed}-{partition}-times")
    return [
        _record(rng, partition, number, line.rstrip(b"\n"), began)
        for number, line in enumerate(events(partition, count, seed, month=MONTH))
    ]


def _record(rng: random.Random, partition: int, number: int, line: bytes, began: datetime) -> Kept:
    """A line with its times; some events lie further back than the lateness, or ahead of their record."""
    chance = rng.random()
    happened = began - timedelta(days=3) if chance < _LATE else began + timedelta(hours=chance < _AHEAD)
    line = _TIME.sub(f'"time": "{happened.isoformat()}"'.encode(), line)
    return Kept(partition, number, began + number * _APART, line)


class Gateway:
    """Sends records in their order from a thread, so many a second, during a block; `finish` sends the rest at once."""

    def __init__(self, settings: Settings, records: Sequence[Kept], per_second: float) -> None:
        self.sent = 0
        self._topic = topic_name(settings, "metering.events")
        self._records = records
        self._per_second = per_second
        self._producer = Producer(
            client_settings(settings, {"enable.idempotence": True, "linger.ms": 5, "message.max.bytes": 1_048_576})
        )
        self._failures: list[object] = []
        self._hurry = Event()
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._end.set()
        self._hurry.set()
        self._thread.join(_SECONDS_TO_DELIVER)

    def finish(self) -> int:
        """Send what is left, at once; gives the number of all records, every one of which the broker has taken."""
        self._hurry.set()
        return self._joined()

    def leave_off(self) -> int:
        """Send no more; gives the number of records that the broker has taken, which are all that were sent."""
        self._end.set()
        self._hurry.set()
        return self._joined()

    def _joined(self) -> int:
        self._thread.join(_SECONDS_TO_DELIVER)
        assert not self._thread.is_alive(), "the broker does not take what is sent"
        assert not self._failures, self._failures[:3]
        return self.sent

    def _run(self) -> None:
        began = time.monotonic()
        for record in self._records:
            if not self._hurry.is_set():
                self._producer.poll(0)
                self._hurry.wait(max(0.0, self.sent / self._per_second - (time.monotonic() - began)))
            if self._end.is_set():
                break
            self._produce(record)
        if self._producer.flush(_SECONDS_TO_DELIVER):
            self._failures.append("not all was delivered")

    def _produce(self, record: Kept) -> None:
        moment = round(record.time.timestamp() * 1000)
        while True:
            try:
                self._producer.produce(
                    self._topic, record.value, None, record.partition, on_delivery=self._delivered, timestamp=moment
                )
            except BufferError:
                self._producer.poll(1)
                continue
            self.sent += 1
            return

    def _delivered(self, error: object, message: object) -> None:
        if error is not None:
            self._failures.append(error)


def send_all(settings: Settings, records: Sequence[Kept]) -> int:
    """Send the records at once; gives their number."""
    with Gateway(settings, records, 1e9) as gateway:
        return gateway.finish()
