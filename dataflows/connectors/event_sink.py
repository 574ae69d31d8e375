"""Sends messages to the topic of events: each arrives once and in order, or the flow ends and says why.

Owns the producer of one worker. Does not own what is sent. The rule: what does not arrive ends the flow, for whoever
starts it again sends it again.
"""

from dataclasses import dataclass, field

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka import KafkaError, Message, Producer

from dataflows.connectors.kafka_client import client_settings
from dataflows.connectors.kafka_faults import kafka_fault
from dataflows.settings import Settings

_HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json")]
_SECONDS_TO_WAIT = 0.1
_SECONDS_TO_FINISH = 30
# A deployment may set these; the partitioner is that of the Java clients, so that all producers agree on a key's place.
_USUAL = {"linger.ms": "5", "compression.type": "lz4", "partitioner": "murmur2_random"}
_OWN = {"enable.idempotence": True, "acks": "all", "delivery.report.only.error": True}

# The key and the value of a message.
Outgoing = tuple[str, bytes]


@dataclass(slots=True)
class SendingProgress:
    """How many messages were sent, by worker; a worker is there from its start."""

    sent: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Those of all workers."""
        return sum(self.sent.copy().values())


@dataclass(frozen=True, slots=True)
class EventSink(DynamicSink[Outgoing]):
    """A producer for each worker."""

    settings: Settings
    topic: str
    progress: SendingProgress

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "EventSinkPartition":
        """That of one worker."""
        return EventSinkPartition(self, worker_index)


class EventSinkPartition(StatelessSinkPartition[Outgoing]):
    """One worker's producer."""

    def __init__(self, sink: EventSink, worker: int) -> None:
        self._sink, self._worker = sink, worker
        self._failures: list[KafkaError] = []
        sink.progress.sent.setdefault(worker, 0)
        usual = {name: value for name, value in _USUAL.items() if name not in sink.settings.kafka}
        own = {**usual, **_OWN, "on_delivery": self._take_note}
        self._producer = Producer(client_settings(sink.settings, own))

    def write_batch(self, items: list[Outgoing]) -> None:
        """Hand messages over; RatemillError if an earlier one did not arrive."""
        for key, value in items:
            while True:
                try:
                    self._producer.produce(self._sink.topic, value, key, headers=_HEADERS)
                    break
                except BufferError:
                    self._producer.poll(_SECONDS_TO_WAIT)
                    self._check()
            self._sink.progress.sent[self._worker] += 1
        self._producer.poll(0)
        self._check()

    def close(self) -> None:
        """Wait until each message has arrived."""
        self._producer.flush(_SECONDS_TO_FINISH)
        self._sink.progress.sent[self._worker] -= len(self._producer)
        self._check()

    def _take_note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error)

    def _check(self) -> None:
        if self._failures:
            raise kafka_fault(self._failures[0], f"sending to the topic {self._sink.topic}")
