"""The one producer of a relay: Kafka transactions that end committed, or are sent again, however often Kafka is away.

Owns: beginning, sending, committing, undoing, and which of Kafka's errors means what. Does not own: what is sent. The
rule: an error that undoes a transaction is answered by sending all of it again; one that ends the producer by a new
producer, which must go on from the position that Kafka holds; what will not be otherwise next time is told and ends it.
"""

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import ConfigResource, ResourceType

from dataflows.connectors.kafka_client import admin_client, answer, client_settings, plain_kafka_errors
from dataflows.connectors.kafka_faults import kafka_fault
from dataflows.connectors.patience import Patience, is_refusal
from dataflows.settings import Settings
from dataflows.steps.messages import Message as Row

_SECONDS_PER_CALL = 0.5
_SECONDS_BEFORE_AGAIN = 0.2
_SECONDS_PER_LOOK = 0.02
_SECONDS_OF_STANDSTILL = 60.0
# librdkafka's own limits: the least and the usual largest message; a batch is a little larger than its messages.
_SMALLEST_LIMIT, _USUAL_LIMIT, _OVERHEAD = 1_000, 1_000_000, 512
_DEFAULTS = {
    # Kafka undoes a transaction that takes longer: a commit of the ledger may have tens of millions of rows.
    "transaction.timeout.ms": 600_000,
    "compression.type": "lz4",
    # As Kafka's Java clients choose the partition of a key, so that events and what comes of them lie alike.
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": 65_536,
    # Kafka closes a transaction a moment after it says so; the next one asks again after so long.
    "retry.backoff.ms": 10,
}
_UNDONE = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


def largest_message(settings: Settings, topics: Collection[str]) -> int:
    """The bytes that a message to any of these topics may have, by their settings and the deployment's."""
    admin = admin_client(settings)
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    with plain_kafka_errors("reading the settings of topics"):
        configs = [answer(admin, future) for future in admin.describe_configs(resources).values()]
    taken = min(int(config["max.message.bytes"].value or 0) for config in configs)
    return max(_SMALLEST_LIMIT, min(taken - _OVERHEAD, int(settings.kafka.get("message.max.bytes", _USUAL_LIMIT))))


class ProducerEndedError(Exception):
    """This producer can do nothing any more; `fenced` says that another one with its name may have begun."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.error = error
        self.fenced = error.code() in _FENCED


class RelayProducer:
    """A transactional producer; made, it has ended whatever an earlier one of that name left open, and fenced it off.

    Its methods raise RatemillError for what Kafka refuses, StoppedError when told to stop, ProducerEndedError.
    """

    def __init__(self, settings: Settings, name: str, largest: int, patience: Patience) -> None:
        own = {
            **{key: value for key, value in _DEFAULTS.items() if key not in settings.kafka},
            "transactional.id": name,
            # Bounds what is sent at once, too, which a topic may refuse as it does a large message.
            "message.max.bytes": largest,
            "delivery.report.only.error": True,
            "on_delivery": self._take_note,
        }
        self._patience = patience
        self._failed: list[tuple[KafkaError, str]] = []
        self._what = "relaying"
        self._producer = Producer(client_settings(settings, own))
        self._until_done(self._producer.init_transactions)

    def transaction(self, send_all: Callable[[], object]) -> None:
        """Commit one transaction with all that `send_all` sends; it is called again as often as one is undone."""
        while True:
            try:
                self._begin()
                send_all()
                self._until_done(self._producer.commit_transaction, finishing=True)
            except KafkaException as error:
                self._undo(error.args[0])
            except BaseException:
                self._give_up()
                raise
            else:
                self._patience.answered()
                return

    def send(self, topic: str, rows: Iterable[Row], partition: int = -1) -> int:
        """Send messages in the open transaction; gives how many. Without a partition, the key decides on it."""
        self._patience.check()
        self._what = f"relaying to the topic {topic}"
        produce, sent = self._producer.produce, 0
        for value, key, headers in rows:
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers)
                    break
                except BufferError:
                    self._make_room()
            sent += 1
        return sent

    def serve(self) -> None:
        """Take note of what Kafka says while nothing is sent."""
        self._producer.poll(0)

    def _begin(self) -> None:
        self._failed.clear()
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise ProducerEndedError(error.args[0]) from error

    def _make_room(self) -> None:
        waiting = len(self._producer)
        self._producer.poll(_SECONDS_PER_LOOK)
        if self._failed:
            raise KafkaException(self._failed[0][0])
        if len(self._producer) < waiting:
            self._patience.answered()
        self._patience.wait(self._what)

    def _until_done(self, call: Callable[[float], None], *, finishing: bool = False) -> None:
        """Call until it comes to its end. KafkaException if it failed.

        ProducerEndedError if nothing moves for so long that a new producer had better ask Kafka how it ended.
        """
        waiting, moved = len(self._producer), time.monotonic()
        while (error := self._unfinished(call, finishing)) is not None:
            if len(self._producer) < waiting:
                waiting, moved = len(self._producer), time.monotonic()
            elif time.monotonic() > moved + _SECONDS_OF_STANDSTILL:
                raise ProducerEndedError(error)

    def _unfinished(self, call: Callable[[float], None], finishing: bool) -> KafkaError | None:
        """Why a call has not come to its end and is to be called again; None if it has."""
        waiting = len(self._producer)
        try:
            call(_SECONDS_PER_CALL)
        except KafkaException as error:
            cause = error.args[0]
            if cause.fatal():
                raise ProducerEndedError(cause) from error
            if not cause.retriable() or cause.txn_requires_abort():
                raise
            if len(self._producer) < waiting:
                self._patience.answered()
            self._patience.wait(self._what, cause, pause=_SECONDS_PER_LOOK, finishing=finishing)
            return cause
        return None

    def _undo(self, error: KafkaError) -> None:
        """Abort the transaction, so that it can be sent again; raises what forbids that."""
        cause, what = self._failed[0] if self._failed else (error, self._what)
        if cause.fatal() or cause.code() in _FENCED:
            raise ProducerEndedError(cause)
        try:
            self._until_done(self._producer.abort_transaction, finishing=True)
        except KafkaException as failure:
            raise ProducerEndedError(failure.args[0]) from failure
        if is_refusal(cause):
            raise kafka_fault(cause, what)
        self._patience.wait(what, cause, pause=_SECONDS_BEFORE_AGAIN)

    def _give_up(self) -> None:
        """Abort if Kafka is there; if not, the next relay does it when it starts."""
        with suppress(KafkaException):
            self._producer.abort_transaction(_SECONDS_PER_CALL)

    def _take_note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() not in _UNDONE:
            self._failed.append((error, f"relaying to the topic {message.topic()}"))
