"""From the topic `notifications` into the store, in a thread of its own.

Owns: the consumer, and where it begins. Does not own: what a record asks for (`records`), or keeping it (`store`). The
rule: the store's positions alone say what has been read; a place in the topic that is gone is told, never skipped.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from dataflows.connectors.kafka_client import (
    SECONDS_TO_ANSWER,
    NoTopicError,
    TopicFacts,
    admin_client,
    client_settings,
    describe_topic,
    plain_kafka_errors,
    topic_facts,
    topic_name,
)
from dataflows.connectors.patience import Patience, StoppedError, is_refusal
from dataflows.connectors.topic import offsets_of
from dataflows.errors import RatemillError, UnmendableError
from dataflows.notifications.store import Came, Store, Taken
from dataflows.settings import Settings

TOPIC = "notifications"
_RECORDS_PER_POLL = 500
_SECONDS_PER_POLL = 0.1
_BYTES_PER_TRANSACTION = 1 << 20
_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_LOOK = 1.0
_SECONDS_BEFORE_AGAIN = 0.5
_SECONDS_WITHOUT_TOPIC = 30.0
_OURS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    # A list of thousands of recipients makes a large record: a few megabytes of them are read ahead.
    "queued.max.messages.kbytes": 8_192,
    "max.poll.interval.ms": 86_400_000,
}
# Looking at the topic tells whether it is gone for good.
_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_ADVICE = "begin anew with another folder (RATEMILL_DELIVERIES): it delivers all that the topic holds"


class Intake:
    """Reads the topic until `stop` is set; `trouble` is a sentence while it cannot, None otherwise."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        stop: threading.Event,
        taken: Callable[[Taken], None],
        remark: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._stop = stop
        self._taken = taken
        self._remark = remark
        self._patience = Patience(stop, remark)
        self._topic = topic_name(settings, TOPIC)
        self._store_trouble: str | None = None
        self._next_look = 0.0

    @property
    def trouble(self) -> str | None:
        """Why nothing is read."""
        return self._store_trouble or self._patience.trouble

    def begin(self, accept_loss: bool) -> None:
        """Find where to begin; RatemillError if Kafka or the topic is not there, or not as the store knows it."""
        facts = describe_topic(self._settings, self._topic)
        self._check(facts)
        first = self._offsets(facts.partitions, OffsetSpec.earliest())
        behind = self._offsets(facts.partitions, OffsetSpec.latest())
        places = first | self._store.positions()
        for partition, place in places.items():
            if place > behind.get(partition, 0):
                raise UnmendableError(
                    f"partition {partition} of {self._topic} ends at offset {behind.get(partition, 0)}, but was read up"
                    f" to {place}: the broker has lost records, or this is another topic; restore it, or {_ADVICE}"
                )
            if place < first[partition]:
                self._lose(partition, place, first[partition], accept_loss)
                places[partition] = first[partition]
        self._store.begin(self._topic, facts.topic_id, places)
        self._topic_id = facts.topic_id

    def run(self) -> None:
        """Read until told to stop; RatemillError says why that cannot go on."""
        try:
            with plain_kafka_errors(f"reading {self._topic}"):
                consumer = Consumer(
                    client_settings(self._settings, {**_OURS, "group.id": self._settings.notifications_group})
                )
                with closing(consumer):
                    self._read(consumer)
        except StoppedError:
            return

    def _read(self, consumer: Consumer) -> None:
        admin = admin_client(self._settings)
        places = self._store.positions()
        consumer.assign([TopicPartition(self._topic, partition, place) for partition, place in places.items()])
        while not self._stop.is_set():
            messages = consumer.consume(_RECORDS_PER_POLL, _SECONDS_PER_POLL)
            records = [message for message in messages if self._is_record(message)]
            if not records and time.monotonic() < self._next_look:
                continue
            # Asked after the records were read: they are of the topic that the store knows, and of no later one.
            facts = self._looked(topic=lambda: topic_facts(admin, self._topic, _SECONDS_TO_LOOK))
            self._check(facts)
            for batch in _batches(records):
                self._keep(batch)
            if records:
                self._tell_group(consumer, records)
            self._add_partitions(consumer, facts.partitions)

    def _offsets(self, partitions: int, which: OffsetSpec) -> dict[int, int]:
        """Those of all partitions; of a topic that has just been made, a broker may not know them at once."""
        admin = admin_client(self._settings)
        last = time.monotonic() + SECONDS_TO_ANSWER
        while True:
            try:
                return offsets_of(admin, self._topic, range(partitions), which)
            except RatemillError:
                if time.monotonic() > last or self._stop.wait(_SECONDS_BEFORE_AGAIN):
                    raise

    def _keep(self, batch: Sequence[Came]) -> None:
        """Keep records, as soon as the store can be written."""
        while True:
            try:
                taken = self._store.take(batch)
                break
            except UnmendableError:
                raise
            except RatemillError as error:
                if self._store_trouble is None:
                    self._remark(f"{error}; waiting, and going on by itself")
                self._store_trouble = str(error)
                if self._stop.wait(_SECONDS_BEFORE_AGAIN):
                    raise StoppedError from error
        self._store_trouble = None
        self._taken(taken)

    def _looked(self, topic: Callable[[], TopicFacts]) -> TopicFacts:
        """What the topic is, as soon as Kafka says it; StoppedError if told to stop before."""
        missing_since: float | None = None
        while True:
            try:
                facts = topic()
            except NoTopicError:
                # A broker that has just started does not know all of its topics at once.
                missing_since = missing_since or time.monotonic()
                if time.monotonic() > missing_since + _SECONDS_WITHOUT_TOPIC:
                    raise
                self._patience.wait(f"describing {self._topic}", pause=_SECONDS_BEFORE_AGAIN)
            except RatemillError:
                missing_since = None
                self._patience.wait(f"reading {self._topic}", pause=_SECONDS_BEFORE_AGAIN)
            else:
                self._patience.answered()
                self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
                return facts

    def _check(self, facts: TopicFacts) -> None:
        known = self._store.topic()
        if known is not None and known != (self._topic, facts.topic_id):
            why = (
                "was deleted and made again" if known[0] == self._topic else f"is not {known[0]}, which was read so far"
            )
            raise UnmendableError(f"the topic {self._topic} {why}: its offsets begin anew; {_ADVICE}")

    def _is_record(self, message: Message) -> bool:
        """Whether it is one, or tells of an error that passes; RatemillError for one that does not."""
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise UnmendableError(
                f"records of {self._topic}, partition {message.partition()}, were deleted before they were read: start"
                " again with --accept-loss to go on at the first that is there, and give the topic a longer retention"
            )
        if is_refusal(error) and error.code() not in _MISSING:
            raise KafkaException(error)
        self._patience.wait(f"reading {self._topic}", error)
        return False

    def _lose(self, partition: int, place: int, first: int, accept_loss: bool) -> None:
        lost = f"{first - place:,} records of {self._topic}, partition {partition}, offsets {place} to {first - 1}"
        if not accept_loss:
            raise UnmendableError(
                f"{lost}, were deleted before they were read: restore them, or go on without them by --accept-loss,"
                " and give the topic a longer retention"
            )
        self._remark(f"going on without {lost}")

    def _add_partitions(self, consumer: Consumer, partitions: int) -> None:
        known = self._store.positions()
        new = {partition: 0 for partition in range(partitions) if partition not in known}
        if new:
            self._store.begin(self._topic, self._topic_id, new)
            consumer.incremental_assign([TopicPartition(self._topic, partition, 0) for partition in new])
            self._remark(f"{self._topic} has {partitions} partitions now, and the new ones are read as well")

    def _tell_group(self, consumer: Consumer, records: Sequence[Message]) -> None:
        """For those who look at lag; nothing depends on it."""
        behind = {message.partition(): cast(int, message.offset()) + 1 for message in records}
        places = [TopicPartition(self._topic, cast(int, partition), place) for partition, place in behind.items()]
        consumer.commit(offsets=places, asynchronous=True)


def _batches(messages: Sequence[Message]) -> Iterator[list[Came]]:
    """The records in their order, of a megabyte each or a little more."""
    batch: list[Came] = []
    size = 0
    for message in messages:
        value = message.value()
        batch.append(Came(cast(int, message.partition()), cast(int, message.offset()), value))
        size += len(value or b"")
        if size > _BYTES_PER_TRANSACTION:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
