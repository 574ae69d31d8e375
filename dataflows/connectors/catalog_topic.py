"""The topic `catalog`: what is published there, read up to what is committed.

Owns: the records of the topic and reading them. Does not own: publishing (`catalog_publisher`), or following what is
published (`catalog_follower`). The rule: the entries of a version and, last of them, its `version` record come in one
transaction; what has been read is a catalog at that record only.

Compaction keeps the last record of each key, so at the end of the topic the state is always whole. Within what was
compacted, entries of a later version may already have taken the place of earlier ones: the digest of the content tells.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.catalog_entries import content_digest
from dataflows.connectors.kafka_client import (
    SECONDS_TO_ANSWER,
    client_settings,
    describe_topic,
    plain_kafka_errors,
    topic_name,
)
from dataflows.connectors.kafka_faults import HEARING
from dataflows.errors import RatemillError, UnmendableError
from dataflows.settings import Settings

CATALOG_TOPIC = "catalog"
VERSION_KEY = "version"
_PARTITION = 0
_SECONDS_OF_SILENCE = 30
# After a broker's restart a consumer was once seen to fetch nothing for a minute.
_SECONDS_UNTIL_ANEW = 10
_MOST_SECONDS_UNTIL_ANEW = 160
_SECONDS_PER_POLL = 0.2
_SECONDS_PER_LOOK = 0.02
_RECORDS_PER_POLL = 10_000
_READING = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
}
# A broker that is away comes back.
PASSING = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE})


class VersionRecord(msgspec.Struct, frozen=True):
    """The record that makes a version: moments are microseconds UTC, `number` counts versions from 1.

    `digest` is the catalog's, as on line items; `content` that of all entries as they are stored. `previous` is when
    the version before was published.
    """

    number: int
    digest: str
    content: str
    entries: int
    published_at: int
    effective_from: int
    previous: int | None


@dataclass(slots=True)
class PublishedState:
    """What has been read so far: the entries, and the last `version` record, of `versions` that there were.

    `version` is None before the first one, and if the last one cannot be read.
    """

    entries: dict[str, bytes] = field(default_factory=dict)
    version: VersionRecord | None = None
    versions: int = 0

    def take(self, key: str, value: bytes | None) -> bool:
        """Take a record; whether it was a `version` record."""
        if key == VERSION_KEY:
            self.versions += 1
            try:
                self.version = msgspec.json.decode(value or b"", type=VersionRecord)
            except msgspec.DecodeError:
                self.version = None
        elif value is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = value
        return key == VERSION_KEY

    def is_whole(self) -> bool:
        """Whether these are the entries of the last `version` record."""
        version = self.version
        if version is None or version.entries != len(self.entries):
            return False
        return version.content == content_digest(self.entries)


def check_catalog_topic(settings: Settings) -> str:
    """The topic's full name; RatemillError if there is none, or if it has more than one partition."""
    topic = topic_name(settings, CATALOG_TOPIC)
    partitions = describe_topic(settings, topic).partitions
    if partitions != 1:
        raise UnmendableError(
            f"the topic {topic} has {partitions} partitions, and the order of its records needs exactly one:"
            " delete it, make it with `ratemill topics`, and publish the catalog again"
        )
    return topic


class CatalogReader:
    """Reads the topic from its start; errors of Kafka come as KafkaException."""

    def __init__(self, settings: Settings) -> None:
        self.topic = topic_name(settings, CATALOG_TOPIC)
        self.state = PublishedState()
        self._settings = settings
        self._place = TopicPartition(self.topic, _PARTITION)
        self._read_to = 0
        self._next_offset = OFFSET_BEGINNING
        self._patience = _SECONDS_UNTIL_ANEW
        self._heard = self._begun = time.monotonic()
        self._consumer = self._new_consumer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def silence(self) -> float:
        """For how many seconds nothing has been heard of Kafka."""
        return time.monotonic() - self._heard

    def read(self, give_up: Callable[[], bool]) -> Iterator[None]:
        """Read all that is committed now into `state`, which is to be looked at after each `version` record.

        Ends at the end, or on `give_up`. May be called again, also after an error.
        """
        self._begin_anew_after_silence()
        end = self._consumer.get_watermark_offsets(self._place, timeout=SECONDS_TO_ANSWER)[1]
        HEARING.forget()
        self._heard = time.monotonic()
        if self._read_to >= end:
            return
        self._consumer.resume([self._place])
        while self._read_to < end and not give_up():
            if self._begin_anew_after_silence():
                self._consumer.resume([self._place])
            messages = self._consumer.consume(_RECORDS_PER_POLL, _SECONDS_PER_POLL)
            for message in messages:
                if message.error() is None and self._take(message):
                    yield
                # Whoever looks at a version may take his time.
                self._heard, self._patience = time.monotonic(), _SECONDS_UNTIL_ANEW
            for message in messages:
                self._heed(message)
        # A broker answers the requests of a connection in turn, and a fetch that waits for news holds up the next look.
        self._consumer.pause([self._place])

    def _new_consumer(self) -> Consumer:
        """One that stands at the next record, and fetches nothing yet."""
        consumer = _consumer(self._settings)
        consumer.assign([TopicPartition(self.topic, _PARTITION, self._next_offset)])
        consumer.pause([self._place])
        return consumer

    def _begin_anew_after_silence(self) -> bool:
        """Whether there is another consumer now; each waits for twice as long as the one before it."""
        if min(self.silence(), time.monotonic() - self._begun) <= self._patience:
            return False
        self._begun = time.monotonic()
        self._patience = min(2 * self._patience, _MOST_SECONDS_UNTIL_ANEW)
        # As long as none can be made, the one before goes on.
        with suppress(KafkaException, RatemillError):
            before, self._consumer = self._consumer, self._new_consumer()
            before.close()
            return True
        return False

    def _take(self, message: Message) -> bool:
        """Take a record; whether it was a `version` record."""
        self._next_offset = cast(int, message.offset()) + 1
        return self.state.take(key_of(message), message.value())

    def _heed(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._read_to = message.offset() or 0
        elif error.code() not in PASSING:
            raise KafkaException(error)


def read_published(settings: Settings) -> PublishedState:
    """What is in the topic now; RatemillError if Kafka is away."""
    what = f"reading the topic {topic_name(settings, CATALOG_TOPIC)}"
    with plain_kafka_errors(what), CatalogReader(settings) as reader:
        for _ in reader.read(lambda: reader.silence() > _SECONDS_OF_SILENCE):
            continue
        if reader.silence() > _SECONDS_OF_SILENCE:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing came for {_SECONDS_OF_SILENCE} s"))
    return reader.state


def wait_until_visible(settings: Settings, offset: int) -> bool:
    """Wait until readers see the committed record at an offset, which Kafka shows a moment later; whether they do."""
    place = TopicPartition(topic_name(settings, CATALOG_TOPIC), _PARTITION)
    deadline = time.monotonic() + _SECONDS_OF_SILENCE
    consumer = _consumer(settings)
    try:
        while time.monotonic() < deadline:
            # A broker that goes away now does not undo what is committed.
            with suppress(KafkaException):
                if consumer.get_watermark_offsets(place, timeout=SECONDS_TO_ANSWER)[1] > offset:
                    return True
            time.sleep(_SECONDS_PER_LOOK)
        return False
    finally:
        consumer.close()


def _consumer(settings: Settings) -> Consumer:
    # A consumer must name a group, though it never joins it.
    return Consumer(client_settings(settings, {**_READING, "group.id": settings.group}))


def damaged(topic: str) -> UnmendableError:
    """The sentence for a topic whose end is no catalog."""
    return UnmendableError(
        f"the topic {topic} is damaged: its entries are not those that its last `version` record was published with;"
        " something else has written there, or its cleanup policy is not compact: see what `ratemill topics` says, and"
        " publish the catalog again with --force, which puts it right"
    )


def key_of(message: Message) -> str:
    """The key of a record; of one that is not ours, text that `key_bytes` turns into the same bytes."""
    return (message.key() or b"").decode(errors="surrogateescape")


def key_bytes(key: str) -> bytes:
    """The key as it stands in the topic."""
    return key.encode(errors="surrogateescape")
