"""One consumer of a topic: whole polls of several partitions, decoded; and looks at partitions where nothing comes.

Owns: the consumer and what it has seen. Does not own: places (the flow keeps them). The rule: nothing is skipped. A
position that is gone, a topic that is gone, a refused credential end the flow with one sentence; a broker that is away
is waited for.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from dataflows.catalogs import Catalogs
from dataflows.connectors.kafka_client import (
    NoTopicError,
    TopicFacts,
    admin_client,
    client_settings,
    plain_kafka_errors,
    topic_facts,
)
from dataflows.connectors.kafka_records import Records, records_of
from dataflows.connectors.kafka_standstill import Standstill
from dataflows.connectors.topic import Place, TopicInput, lost_records, offsets_of
from dataflows.errors import RatemillError, UnmendableError
from dataflows.metrics import Stage, count_read, timed
from dataflows.settings import Settings
from dataflows.steps.decode import decode
from rating.batch import DecodedBatch
from rating.resolve import NONE_YET, LaneState

# How long a poll gathers records: batches are full under load, and few records never wait longer.
_GATHERING_SECONDS = 0.1
# What is behind is read in polls of so many batches, in pieces between which their size is looked at.
BATCHES_OF_POLL = 4
_RECORDS_OF_PIECE = 10_000
# Each look at silent partitions makes a commit.
_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_LOOK = 1.0
_SECONDS_OF_PATIENCE = 30.0
# How long to stop fetching when enough is there; a second, if nothing is said, in which a fast flow runs dry.
FETCHING = {"fetch.queue.backoff.ms": 10}
_OURS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    **FETCHING,
    "max.poll.interval.ms": 86_400_000,
}


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought: batches, each with the digest of the catalog that rates it, and their size in bytes.

    `idle` are partitions read to their end: partition, next offset, and the moment when nothing stood behind it.
    """

    batches: list[tuple[str, DecodedBatch]]
    size: int
    idle: list[tuple[int, int, int]]

    @property
    def records(self) -> int:
        """The number of records."""
        return sum(len(batch.events) for _, batch in self.batches)


class TopicReader:
    """Reads its partitions from their places on; `read` is called by one thread, `keep` by another."""

    def __init__(
        self, given: TopicInput, consumer: int, catalogs: Catalogs, settings: Settings, give_up: Callable[[], bool]
    ) -> None:
        self._topic = given.topic
        self._topic_id = given.topic_id
        self._partitions = given.partitions
        self._catalogs = catalogs
        self._settings = settings
        self._give_up = give_up
        partitions = given.partitions_of(consumer)
        self._clocks = {number: _clock(given.places[number]) for number in partitions}
        self._next_offsets = {number: given.places[number].next_offset for number in partitions}
        self._at_end: set[int] = set()
        self._next_look = 0.0
        self._to_tell: dict[int, int] = {}
        self._told = self._to_tell
        self._admin = admin_client(settings)
        self._standstill = Standstill(self._topic, self._admin)
        with plain_kafka_errors(f"reading {self._topic}"):
            self._consumer = Consumer(client_settings(settings, {**_OURS, "group.id": settings.group}))
            self._consumer.assign(
                [TopicPartition(self._topic, number, given.places[number].next_offset) for number in partitions]
            )

    def read(self) -> Poll:
        """The next records, gathered for a tenth of a second, or what is waiting; empty when there are none."""
        with plain_kafka_errors(f"reading {self._topic}"), timed(Stage.READ):
            self._tell_group()
            self._catalogs.check()
            messages = self._gather()
        batches: list[tuple[str, DecodedBatch]] = []
        size = 0
        errors = [message for message in messages if message.error() is not None]
        records_alone = [message for message in messages if message.error() is None] if errors else messages
        if records_alone and not self._is_still_the_topic():
            return Poll([], 0, [])
        for partition, own in _of_partitions(records_alone).items():
            self._at_end.discard(partition)
            with timed(Stage.DECODE):
                records = records_of(own)
            size += records.size
            self._next_offsets[partition] = int(records.offsets[-1]) + 1
            batches += self._decoded(partition, records)
        for message in errors:
            self._heed(message)
        if self._give_up():
            # What was waited for may not have come.
            return Poll([], 0, [])
        count_read(size)
        return Poll(batches, size, self._look())

    def keep(self, next_offsets: dict[int, int]) -> None:
        """With the next poll, tell the group how far we are; a call of its own would wait until a poll has ended."""
        self._to_tell = next_offsets

    def look_soon(self) -> None:
        """Look at silent partitions with the next poll."""
        self._next_look = 0.0

    def close(self) -> None:
        """Let go of the broker; nothing is being read any more."""
        self._tell_group()
        self._consumer.close()

    def _gather(self) -> list[Message]:
        """What comes in a tenth of a second, and while there is more at once, a batch for each partition.

        What a poll costs, it costs for each of them.
        """
        settings, patience = self._settings, _GATHERING_SECONDS
        most = settings.batch_records * min(len(self._clocks), BATCHES_OF_POLL)
        messages: list[Message] = []
        size = 0
        while len(messages) < most and size < settings.batch_bytes * BATCHES_OF_POLL:
            wanted = min(_RECORDS_OF_PIECE, most - len(messages))
            piece = self._consumer.consume(wanted, patience)
            patience = 0.0
            messages += piece
            size += sum(map(len, piece))
            if len(piece) < wanted:
                return messages
        self._standstill.forget()
        return messages

    def _tell_group(self) -> None:
        """For those who look at lag; nothing depends on it, so nobody waits for it."""
        # `keep` may bring other ones meanwhile; equal ones are told again, lest the group forgets them.
        next_offsets = self._to_tell
        if next_offsets is self._told:
            return
        self._told = next_offsets
        places = [TopicPartition(self._topic, number, offset) for number, offset in next_offsets.items()]
        if places:
            self._consumer.commit(offsets=places, asynchronous=True)

    def _is_still_the_topic(self) -> bool:
        """Whether what was read is of the topic that feeds the ledger; asked afterwards, so that there is no doubt.

        One made anew under its name has other records at our offsets. False if we shall stop before anybody can tell.
        """
        last = time.monotonic() + _SECONDS_OF_PATIENCE
        while not self._give_up():
            try:
                found = topic_facts(self._admin, self._topic, _SECONDS_TO_LOOK)
            except NoTopicError:
                # A broker that has just started does not know all of its topics at once.
                if time.monotonic() > last:
                    raise
                time.sleep(_GATHERING_SECONDS)
            except RatemillError:
                # It is away, and comes back.
                last = time.monotonic() + _SECONDS_OF_PATIENCE
            else:
                self._check(found)
                return True
        return False

    def _check(self, found: TopicFacts) -> None:
        if found.topic_id != self._topic_id:
            raise UnmendableError(
                f"the topic {self._topic} was deleted and made again while it was read: its offsets begin anew,"
                " so it needs a new ledger"
            )
        if found.partitions > self._partitions:
            raise RatemillError(
                f"the topic {self._topic} has {found.partitions} partitions now and had {self._partitions}: reading all"
                " of them needs a new start"
            )

    def _heed(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        match error.code():
            case KafkaError._PARTITION_EOF:
                self._at_end.add(_partition(message))
                self._next_offsets[_partition(message)] = cast(int, message.offset())
            case KafkaError._AUTO_OFFSET_RESET:
                raise UnmendableError(self._what_was_lost(_partition(message)))
            case _ if error.retriable() or error.code() in _PASSING:
                return
            case _:
                with plain_kafka_errors(f"reading {self._topic}"):
                    raise KafkaException(error)

    def _what_was_lost(self, partition: int) -> str:
        place = self._consumer.position([TopicPartition(self._topic, partition)])[0].offset
        first = offsets_of(self._admin, self._topic, [partition], OffsetSpec.earliest())[partition]
        if first > place >= 0:
            return lost_records(self._topic, partition, place, first)
        return f"the place of {self._topic}, partition {partition}, is gone: run the same command again to see why"

    def _decoded(self, partition: int, records: Records) -> Iterator[tuple[str, DecodedBatch]]:
        """The records as batches, cut where another catalog takes effect."""
        clocks = np.maximum.accumulate(np.concatenate([[self._clocks[partition]], records.times]))[1:]
        self._clocks[partition] = int(clocks[-1])
        # A producer's clock may be ahead of the world's, and must not hold up the partition until then.
        self._catalogs.wait_until_known(min(int(clocks[-1]), time.time_ns() // 1_000), self._give_up)
        for first, behind in _between_changes(clocks, self._catalogs.changes()):
            catalog = self._catalogs.compiled(self._catalogs.at(int(clocks[first])))
            with timed(Stage.DECODE):
                batch = decode(
                    records.values[first:behind],
                    partition,
                    records.offsets[first:behind],
                    catalog,
                    records.times[first:behind],
                )
                batch = records.with_origin(batch, first)
            yield catalog.digest, batch

    def _look(self) -> list[tuple[int, int, int]]:
        """Now and then, which of the partitions that were read to their end still are; and whether all of them move."""
        if time.monotonic() < self._next_look:
            return []
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        moment = time.time_ns() // 1_000
        if not self._is_still_the_topic():
            return []
        try:
            ends = offsets_of(self._admin, self._topic, self._next_offsets, OffsetSpec.latest(), _SECONDS_TO_LOOK)
        except RatemillError:
            # The broker is away, so nobody knows whether something stands there: progress waits.
            self._standstill.forget()
            return []
        self._standstill.check({number: at for number, at in self._next_offsets.items() if ends[number] > at})
        return [
            (number, ends[number], moment)
            for number in sorted(self._at_end)
            if ends[number] == self._next_offsets[number]
        ]


_PASSING = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE})


def _partition(message: Message) -> int:
    return cast(int, message.partition())


def _of_partitions(records: Sequence[Message]) -> dict[int, list[Message]]:
    """The records of each partition, in their order; a poll brings them in long runs of one partition."""
    found: dict[int, list[Message]] = {}
    for partition, run in groupby(records, cast(Callable[[Message], int], Message.partition)):
        found.setdefault(partition, []).extend(run)
    return found


def _clock(place: Place) -> int:
    return LaneState.load(place.lane).latest_time if place.lane else NONE_YET


def _between_changes(clocks: npt.NDArray[np.int64], changes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First row and the row behind the last, of each stretch that one catalog rates."""
    versions = np.searchsorted(np.array(changes, np.int64), clocks, side="right")
    bounds = [0, *(np.flatnonzero(np.diff(versions)) + 1).tolist(), len(clocks)]
    yield from pairwise(bounds)
