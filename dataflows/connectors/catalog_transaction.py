"""One Kafka transaction of a publisher of catalogs: all its records, or none.

Owns: beginning, delivering, committing, undoing. Does not own: what the records say. The rule: there is one publisher;
beginning undoes what an earlier one left open, and from then on refuses whatever that one still sends.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.connectors.catalog_topic import key_bytes
from dataflows.connectors.kafka_client import client_settings
from dataflows.errors import RatemillError
from dataflows.settings import Settings

_SECONDS_TO_ANSWER = 60
_SECONDS_TO_UNDO = 10
_SECONDS_PER_WAIT = 0.1
# Kafka undoes a transaction that takes longer; nobody waits for it, for the next publisher does so at once.
_LONGEST_TRANSACTION_MS = 600_000
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


@contextmanager
def begin_publishing(settings: Settings, topic: str) -> Iterator["Transaction"]:
    """The one publisher's transaction; undone at the end of the block unless it has been committed."""
    own = {
        "transactional.id": f"{settings.topic_prefix}ratemill-publish",
        "transaction.timeout.ms": _LONGEST_TRANSACTION_MS,
        "compression.type": "zstd",
        "linger.ms": 20,
    }
    try:
        producer = Producer(client_settings(settings, own))
        producer.init_transactions(_SECONDS_TO_ANSWER)
        transaction = Transaction(producer, topic)
        try:
            yield transaction
        finally:
            transaction.undo()
    except KafkaException as error:
        if error.args[0].code() not in _FENCED:
            raise
        raise RatemillError(
            f"another `ratemill publish` to the topic {topic} has begun meanwhile, so this one published nothing:"
            " run it again, on top of what that one published"
        ) from error


class Transaction:
    """Records for one partition, under way until `commit`; `last_offset` is where the last one that arrived stands."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._refused: list[KafkaError] = []
        self._open = False
        self.last_offset = 0

    def produce(self, key: str, value: bytes | None, partition: int) -> None:
        """Send a record; the first one begins the transaction."""
        if not self._open:
            self._producer.begin_transaction()
            self._open = True
        while True:
            try:
                self._producer.produce(self._topic, value, key_bytes(key), partition, self._take_note)
            except BufferError:
                self._producer.poll(_SECONDS_PER_WAIT)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                size = len(value or b"")
                raise RatemillError(
                    f"the catalog's entry {key} has {size:,} bytes, more than Kafka takes: make it smaller, or raise"
                    f" RATEMILL_KAFKA_MESSAGE_MAX_BYTES and max.message.bytes of the topic {self._topic}"
                ) from error
            else:
                self._producer.poll(0)
                return

    def deliver(self) -> None:
        """Return when every record has arrived."""
        deadline = time.monotonic() + _LONGEST_TRANSACTION_MS / 1_000
        while self._producer.flush(_SECONDS_PER_WAIT) and not self._refused and time.monotonic() < deadline:
            continue
        if self._refused:
            raise KafkaException(self._refused[0])

    def commit(self) -> None:
        """Make all records visible at once; RatemillError if it is not known whether they are."""
        self.deliver()
        deadline = time.monotonic() + _SECONDS_TO_ANSWER
        while True:
            try:
                self._producer.commit_transaction(_SECONDS_TO_ANSWER)
            except KafkaException as error:
                cause = error.args[0]
                if cause.txn_requires_abort() or cause.code() in _FENCED:
                    raise
                if not cause.retriable() or time.monotonic() > deadline:
                    self._open = False
                    raise RatemillError(
                        f"Kafka did not say whether the catalog is published to {self._topic} ({cause.str()}): run the"
                        " same command again, which publishes it if it is not"
                    ) from error
            else:
                self._open = False
                return

    def undo(self) -> None:
        """Make no record visible, if it is not too late; what cannot be undone now, the next publisher undoes."""
        if self._open:
            self._open = False
            with suppress(KafkaException):
                self._producer.abort_transaction(_SECONDS_TO_UNDO)

    def _take_note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused.append(error)
        else:
            self.last_offset = message.offset() or 0
