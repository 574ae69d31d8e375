"""Sending files of events to the topic that rating reads.

Owns: the record's key, its header, the pace, and which records did not arrive. Does not own: what a record says; a bad
one is sent as it is, for the flow gives it its verdict. The rule: every line is delivered, or named with its reason.

>>> key_of(b'{"id": "1", "subscription": "acme", "credential": "key1"}')
'acme'
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.connectors.kafka_client import client_settings, describe_topic, plain_kafka_errors, topic_name
from dataflows.connectors.kafka_faults import HEARING, cause_of
from dataflows.connectors.records import Records, open_records
from dataflows.launcher import Progress
from dataflows.settings import Settings

_TOPIC = "metering.events"
_HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json")]
_LINES_AT_ONCE = 10_000
_BYTES_AT_ONCE = 4 << 20
_SLICES_PER_SECOND = 20
_SECONDS_TO_WAIT = 0.1
_SECONDS_TO_FINISH = 10
_NAMED_FAILURES = 1_000
# A deployment may set these; the partitioner is that of the Java clients, so that all producers agree on a key's place.
_USUAL = {
    "linger.ms": "5",
    "batch.size": "131072",
    "compression.type": "lz4",
    "message.timeout.ms": "60000",
    "partitioner": "murmur2_random",
}
_OWN = {"enable.idempotence": True, "acks": "all", "delivery.report.only.error": True}


class _Head(msgspec.Struct):
    subscription: str | None = None
    subject: str | None = None
    credential: str | None = None


_decode = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that did not arrive; `line` is the number of a row in a Parquet file."""

    file: Path
    line: int
    reason: str


@dataclass(slots=True)
class Delivery:
    """What became of the events; the first failures by name."""

    topic: str
    sent: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0
    interrupted: bool = False

    @property
    def delivered(self) -> int:
        """How many arrived, once nothing is under way."""
        return self.sent - self.failed

    def fail(self, failure: Failure) -> None:
        """Take note of a record that did not arrive."""
        self.failed += 1
        if len(self.failures) < _NAMED_FAILURES:
            self.failures.append(failure)


def key_of(record: bytes) -> str | None:
    """What keeps the events of one subscription in their order; None where a record does not say."""
    try:
        head = _decode(record)
    except msgspec.DecodeError:
        return None
    return head.subscription or head.subject or head.credential or None


def send_files(
    files: Sequence[Path], settings: Settings, rate: int | None, on_progress: Callable[[Progress], None]
) -> Delivery:
    """Send all records of the files, at most `rate` a second; RatemillError if Kafka cannot be used at all."""
    topic = topic_name(settings, _TOPIC)
    _check_files(files)
    describe_topic(settings, topic)
    usual = {name: value for name, value in _USUAL.items() if name not in settings.kafka}
    with plain_kafka_errors(f"sending to the topic {topic}"):
        sender = _Sender(Producer(client_settings(settings, usual | _OWN)), Delivery(topic), rate)
        total = sum(path.stat().st_size for path in files)
        began = time.monotonic()
        try:
            for sent, read in _send_all(sender, files):
                on_progress(Progress({"sent": sent}, 0, read, total))
            sender.finish()
        except KeyboardInterrupt:
            sender.delivery.interrupted = True
            sender.abandon()
        sender.delivery.seconds = time.monotonic() - began
    return sender.delivery


def _check_files(files: Sequence[Path]) -> None:
    """Nothing is sent of any file where one of them is none."""
    for path in files:
        open_records(path, 0).close()


def _send_all(sender: "_Sender", files: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """Sends the files one after the other; gives the events sent so far, and the bytes read."""
    before = 0
    for path in files:
        records = open_records(path, 0)
        try:
            for chunk in _chunks(path, records):
                for start in range(0, len(chunk.records), sender.at_once):
                    sender.send(chunk, chunk.records[start : start + sender.at_once])
                    yield sender.delivery.sent, before + records.bytes_read()
        finally:
            records.close()
        before += path.stat().st_size


class _Chunk:
    """Lines of a file that are under way; finds the number of one that did not arrive."""

    def __init__(self, path: Path, first: int, lines: list[bytes]) -> None:
        self.path = path
        self._first = first
        self._lines = lines
        self._numbers: dict[bytes, deque[int]] | None = None
        self.records = [line for line in lines if line and not line.isspace()]

    def number_of(self, line: bytes) -> int:
        """The line's number in the file; the next one of those that are the same, if it is asked for again."""
        if self._numbers is None:
            self._numbers = defaultdict(deque)
            for number, each in enumerate(self._lines, self._first):
                self._numbers[each].append(number)
        return self._numbers[line].popleft()


def _chunks(path: Path, records: Records) -> Iterator[_Chunk]:
    first = 1
    while len(text := records.read(_LINES_AT_ONCE, _BYTES_AT_ONCE)):
        lines = text.tobytes().removesuffix(b"\n").split(b"\n")
        yield _Chunk(path, first, lines)
        first += len(lines)


class _Sender:
    """A producer at a pace, which takes note of what does not arrive."""

    def __init__(self, producer: Producer, delivery: Delivery, rate: int | None) -> None:
        self.delivery = delivery
        self.at_once = _LINES_AT_ONCE if rate is None else max(1, rate // _SLICES_PER_SECOND)
        self._producer = producer
        self._rate = rate
        self._began = time.monotonic()

    def send(self, chunk: _Chunk, lines: Sequence[bytes]) -> None:
        """Send these lines of a chunk, as soon as the pace allows."""
        self._wait_for_turn()
        produce, topic = self._producer.produce, self.delivery.topic
        failed = self._reporter(chunk)
        for line in lines:
            try:
                while True:
                    try:
                        produce(topic, line, key_of(line), headers=_HEADERS, on_delivery=failed)
                        break
                    except BufferError:
                        self._producer.poll(_SECONDS_TO_WAIT)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    # What ended the producer waits to be heard.
                    self._producer.poll(_SECONDS_TO_WAIT)
                    raise
                self._fail(chunk, line, error.args[0])
            self.delivery.sent += 1
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait until each record has arrived or failed; librdkafka's own limit of time applies to each."""
        while len(self._producer):
            self._producer.poll(_SECONDS_TO_WAIT)

    def abandon(self) -> None:
        """Wait a little for what is under way; what is left counts as not sent."""
        self._producer.flush(_SECONDS_TO_FINISH)
        self.delivery.sent -= len(self._producer)

    def _wait_for_turn(self) -> None:
        if self._rate is None:
            return
        turn = self._began + self.delivery.sent / self._rate
        while (left := turn - time.monotonic()) > 0:
            self._producer.poll(min(left, _SECONDS_TO_WAIT))

    def _reporter(self, chunk: _Chunk) -> Callable[[KafkaError | None, Message], Any]:
        def failed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._fail(chunk, message.value() or b"", error)

        return failed

    def _fail(self, chunk: _Chunk, line: bytes, error: KafkaError) -> None:
        reason = HEARING.reason(cause_of(error))
        self.delivery.fail(Failure(chunk.path, chunk.number_of(line), reason))
