"""A topic as the input of the flow: one source partition per consumer, whole polls as items.

Owns: what the engine's epoch means to a consumer. Does not own: the consumer (`kafka_reader`) or where it begins
(`topic`). The rule: the recovery store owns the places; the group's offsets are for those who look at lag.

What comes next is read and decoded in a thread while the flow rates this (`read_ahead`). What may be read between two
commits is bounded, because the engine holds a source back only between epochs.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from threading import Event

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.catalogs import Catalogs
from dataflows.connectors.kafka_reader import Poll, TopicReader
from dataflows.connectors.read_ahead import ReadAhead
from dataflows.connectors.resting import RestingPartition
from dataflows.connectors.topic import Place, TopicInput, consumer_name, save_places
from dataflows.failures import noted
from dataflows.items import EpochEnds, Idle
from dataflows.kept_epochs import KeptEpochs
from dataflows.metrics import Stage, Step, count_snapshot, timed
from dataflows.settings import Settings
from dataflows.steps.give_way import Backpressure
from rating.engine import Admitted, LaneState, RatingSettings, admit

_UNTIL_NEXT_LOOK = timedelta(milliseconds=5)
# Where nothing comes, what costs most is the engine, which turns a thousand times a second while it waits for a look.
_UNTIL_NEXT_LOOK_IN_SILENCE = timedelta(milliseconds=50)


class KafkaSource(FixedPartitionedSource):
    """The consumers of a topic; the inputs of earlier runs rest."""

    def __init__(
        self,
        given: TopicInput,
        catalogs: Catalogs,
        rating_settings: RatingSettings,
        settings: Settings,
        stopping: Event,
        epochs: KeptEpochs,
    ) -> None:
        self.given = given
        self.epochs = epochs
        self.catalogs = catalogs
        self.rating_settings = rating_settings
        self.settings = settings
        self.stopping = stopping
        self._consumers = {consumer_name(number): number for number in range(given.consumers)}

    def list_parts(self) -> list[str]:
        return [*self._consumers, *self.given.resting]

    @noted
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "StatefulSourcePartition":
        if for_part not in self._consumers:
            assert resume_state is not None, f"{for_part} rests, so it has a state"
            return RestingPartition(resume_state)
        return ConsumerPartition(self, self._consumers[for_part])


class ConsumerPartition(StatefulSourcePartition):
    """One consumer and the lanes of its partitions."""

    def __init__(self, source: KafkaSource, consumer: int) -> None:
        self._source = source
        given = source.given
        own = given.partitions_of(consumer)
        self._places = {number: given.places[number] for number in own}
        self._lanes = {number: LaneState.load(place.lane) for number, place in self._places.items() if place.lane}
        self._next_offsets = {number: place.next_offset for number, place in self._places.items()}
        self._bytes_in_epoch = 0
        self._reader = TopicReader(given, consumer, source.catalogs, source.settings, source.stopping.is_set)
        self._ahead: ReadAhead | None = None
        self._next_awake: datetime | None = None
        self._is_alone = source.settings.workers == source.settings.processes == 1
        self._backpressure = Backpressure(source.settings.epoch_seconds)

    @noted
    def next_batch(self) -> Iterable[Admitted | Idle | EpochEnds]:
        if self._backpressure.asked():
            self._source.epochs.kept()
        items = self._next_items()
        # A worker that is alone waits for nobody.
        return [*items, EpochEnds()] if self._backpressure.ends_epoch() and not self._is_alone else items

    def _next_items(self) -> list[Admitted | Idle]:
        if self._source.stopping.is_set():
            raise StopIteration
        if self._ahead is None:
            self._ahead = ReadAhead(self._reader.read, self._source.settings)
        if self._bytes_in_epoch >= self._source.settings.epoch_bytes:
            self._next_awake = datetime.now(UTC) + _UNTIL_NEXT_LOOK
            return []
        if not self._has_come(self._ahead):
            self._next_awake = None if self._is_alone else datetime.now(UTC) + _until_next_look(self._ahead)
            return []
        self._next_awake = None
        items: list[Admitted | Idle] = []
        for poll in self._ahead.take():
            self._bytes_in_epoch += poll.size
            items += self._admitted(poll)
            items += self._idle(poll)
        return items

    def next_awake(self) -> datetime | None:
        return self._next_awake

    @noted
    @timed(Stage.SNAPSHOT)
    def snapshot(self) -> bytes:
        self._backpressure.ended()
        # The commit of the epoch before is certain by now, that of this one is not.
        self._reader.keep({number: place.next_offset for number, place in self._places.items()})
        if self._bytes_in_epoch:
            # A commit is published by the next one, and these may have been the last records for a while.
            self._reader.look_soon()
        self._bytes_in_epoch = 0
        self._places = {
            number: Place(offset, self._lanes[number].snapshot() if number in self._lanes else b"")
            for number, offset in self._next_offsets.items()
        }
        return count_snapshot(Step.READ, save_places(self._places))

    def close(self) -> None:
        self._backpressure.closed()
        if self._ahead is not None:
            self._ahead.close()
        self._reader.close()

    def _has_come(self, ahead: ReadAhead) -> bool:
        # A worker that is alone may wait here: nobody else's work is held up, and what comes is seen at once.
        return ahead.wait(_until_next_look(ahead).total_seconds() if self._is_alone else 0.0)

    def _admitted(self, poll: Poll) -> Iterable[Admitted]:
        source = self._source
        for digest, batch in poll.batches:
            lane = self._lanes.get(batch.partition) or LaneState.new()
            catalog = source.catalogs.compiled(digest)
            with timed(Stage.ADMIT):
                self._lanes[batch.partition], admitted = admit(lane, batch, catalog, source.rating_settings)
            self._next_offsets[batch.partition] = batch.next_offset
            yield admitted

    def _idle(self, poll: Poll) -> Iterable[Idle]:
        for partition, next_offset, moment in poll.idle:
            yield Idle(partition, next_offset, moment, self._source.catalogs.at(moment))


def _until_next_look(ahead: ReadAhead) -> timedelta:
    return _UNTIL_NEXT_LOOK_IN_SILENCE if ahead.silent else _UNTIL_NEXT_LOOK
