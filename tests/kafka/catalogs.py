"""The catalog topic in tests: made, looked into record by record, and followed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.connectors.catalog_follower import CatalogFollower
from dataflows.connectors.catalog_topic import PublishedState, VersionRecord, read_published
from dataflows.connectors.kafka_client import NoTopicError, admin_client, answer, describe_topic, topic_name
from dataflows.settings import Settings

SECONDS = 60


def make_catalog_topic(settings: Settings, **config: str) -> str:
    """The topic with these settings, compacted unless they say otherwise; gives its name."""
    topic, admin = topic_name(settings, "catalog"), admin_client(settings)
    stated = {"cleanup.policy": "compact"} | {name.replace("_", "."): value for name, value in config.items()}
    answer(admin, admin.create_topics([NewTopic(topic, 1, 1, config=stated)])[topic])
    # The controller answers before the broker knows.
    until(lambda: _is_known(settings, topic))
    return topic


def _is_known(settings: Settings, topic: str) -> bool:
    try:
        return describe_topic(settings, topic).partitions == 1
    except NoTopicError:
        return False


def records(settings: Settings) -> list[tuple[str, bytes | None]]:
    """Every committed record that the topic still holds, in order."""
    topic = topic_name(settings, "catalog")
    consumer = Consumer(
        {
            **settings.kafka,
            "group.id": "looking",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[Message] = []
    while not found or found[-1].error() is None:
        found += consumer.consume(1_000, 0.5)
    consumer.close()
    assert found[-1].error().code() == KafkaError._PARTITION_EOF
    return [(message.key().decode(), message.value()) for message in found[:-1]]


def published(settings: Settings) -> PublishedState:
    """What is published, which must be whole."""
    state = read_published(settings)
    assert state.version is None or state.is_whole()
    return state


def write_record(settings: Settings, key: str, value: bytes | None) -> None:
    """A record as somebody else might write it."""
    producer = Producer(dict(settings.kafka))
    producer.produce(topic_name(settings, "catalog"), value, key.encode())
    assert producer.flush(SECONDS) == 0


def rewritten(version: VersionRecord, **changes: object) -> bytes:
    """A `version` record with changes."""
    return msgspec.json.encode(msgspec.structs.replace(version, **changes))


def until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something holds."""
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it never came to hold"
        time.sleep(0.02)


@dataclass
class Following:
    """A follower at work, what it remarked, and the history that it writes."""

    follower: CatalogFollower
    versions: CatalogVersions
    history: CatalogHistory
    remarks: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """The marks of the versions in force, in their order."""
        return [self.history.catalog(stamp.digest).sources[0].name for stamp in self.history.versions()]

    def until_known(self, mark: str, seconds: float = SECONDS) -> None:
        """Wait until the newest version is the one with this mark, in the ledger and for those who rate."""
        until(lambda: self.follower.failure() or self._newest_is(mark), seconds)
        assert self.follower.failure() is None, self.follower.failure()

    def _newest_is(self, mark: str) -> bool:
        kept = [stamp.effective_from for stamp in self.history.versions()[1:]]
        return self.names()[-1:] == [mark] and self.versions.changes() == kept


@contextmanager
def following(settings: Settings, ledger: Path) -> Iterator[Following]:
    """A follower that runs during the block."""
    history = CatalogHistory(ledger)
    versions = CatalogVersions(history)
    remarks: list[str] = []
    follower = CatalogFollower(settings, versions, remarks.append)
    follower.start()
    try:
        yield Following(follower, versions, history, remarks)
    finally:
        follower.stop()
