"""A topic of events as the input of a ledger: which one it is, how far each partition has been read, what was lost.

Owns: `topic.json` in the ledger (the topic that feeds it, for ever), and the places kept in the recovery store. Does
not own: reading (`kafka_reader`). The rule: a place that no longer exists in the topic is told and never skipped.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from dataflows.connectors.kafka_client import (
    SECONDS_TO_ANSWER,
    admin_client,
    answer,
    describe_topic,
    plain_kafka_errors,
    topic_name,
)
from dataflows.errors import UnmendableError
from dataflows.ledger.folder import RESTORE, LedgerFolder, plain_os_errors, replace_file
from dataflows.preparation import FLOW, READ_STEP
from dataflows.recovery import kept_states
from dataflows.settings import Settings

EVENTS_TOPIC = "metering.events"
_PLACES_VERSION = 1
_CONSUMER = "consumer-"


class FedBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The topic that a ledger is fed by: its name, its id, and how many partitions it had at the last start.

    `begins` is the offset at which the ledger begins to take each partition's records.
    """

    topic: str
    topic_id: str
    partitions: int
    begins: dict[int, int] = {}


class Place(msgspec.Struct, frozen=True, array_like=True):
    """How far one partition has been read: the next offset, and its lane as bytes, none before the first record."""

    next_offset: int
    lane: bytes


class Places(msgspec.Struct, frozen=True, array_like=True):
    """What one consumer keeps in the recovery store."""

    version: int
    of_partitions: dict[int, Place]


class TopicInput(msgspec.Struct, frozen=True):
    """A topic, the places its partitions are at, all of them, and the number of consumers that share them.

    `resting` are the inputs of earlier runs that the recovery store knows, by name.
    """

    topic: str
    topic_id: str
    partitions: int
    consumers: int
    places: dict[int, Place]
    resting: list[str]

    def partitions_of(self, consumer: int) -> range:
        """The partitions that a consumer reads."""
        return range(consumer, self.partitions, self.consumers)


def consumer_name(consumer: int) -> str:
    """The name of a consumer in the recovery state; sorts as the numbers do."""
    return f"{_CONSUMER}{consumer:03d}"


def save_places(places: Mapping[int, Place]) -> bytes:
    """The places as plain bytes."""
    return msgspec.msgpack.encode(Places(_PLACES_VERSION, dict(places)))


def topic_input(
    folder: LedgerFolder,
    settings: Settings,
    *,
    accept_loss: bool = False,
    remark: Callable[[str], None] = lambda sentence: None,
) -> TopicInput:
    """The topic of the settings as the input of a prepared ledger; UnmendableError if it is not the one that fed it.

    With `accept_loss`, reading goes on at the first record there is where the next ones were deleted, and says so.
    """
    topic = topic_name(settings, EVENTS_TOPIC)
    facts = describe_topic(settings, topic)
    now = FedBy(topic, facts.topic_id, facts.partitions)
    before = _fed_before(folder)
    if before is not None:
        _compare(folder, before, now)
    admin = admin_client(settings)
    first = offsets_of(admin, topic, range(facts.partitions), OffsetSpec.earliest())
    begins = _begins(before, first)
    with plain_os_errors(f"cannot use {folder.topic}"):
        replace_file(
            folder.topic, msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(now, begins=begins)))
        )
    kept = kept_states(folder.recovery, f"{FLOW}.{READ_STEP}")
    consumers = min(settings.workers * settings.processes, facts.partitions)
    active = {consumer_name(number) for number in range(consumers)}
    places = _newest(states for name, states in kept.items() if name.startswith(_CONSUMER))
    begun = {partition: Place(offset, b"") for partition, offset in begins.items()}
    return TopicInput(
        topic,
        facts.topic_id,
        facts.partitions,
        consumers,
        _places_that_exist(admin, topic, begun | places, first, remark if accept_loss else None),
        sorted(set(kept) - active),
    )


def resting_consumers(folder: LedgerFolder) -> list[str]:
    """The consumers that the recovery store of a ledger knows, by name."""
    if not folder.topic.exists():
        return []
    return sorted(name for name in kept_states(folder.recovery, f"{FLOW}.{READ_STEP}") if name.startswith(_CONSUMER))


def _fed_before(folder: LedgerFolder) -> FedBy | None:
    """What fed the ledger so far; None for a new one."""
    path = folder.topic
    with plain_os_errors(f"cannot use {path}"):
        if not path.exists():
            if folder.inputs.exists():
                raise UnmendableError(f"the ledger {folder.root} is fed by files; a topic needs a ledger of its own")
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=FedBy)
        except msgspec.DecodeError as error:
            raise UnmendableError(f"{path} is damaged ({error}): {RESTORE}") from error


def _begins(before: FedBy | None, first: Mapping[int, int]) -> dict[int, int]:
    """Where the ledger begins in each partition: at its first record when the ledger was made.

    A partition that was added since has no record that nobody was to rate, so there it begins at 0.
    """
    known = first if before is None else {number: first[number] for number in range(before.partitions)} | before.begins
    return {number: known.get(number, 0) for number in first}


def _compare(folder: LedgerFolder, before: FedBy, now: FedBy) -> None:
    if before.topic != now.topic:
        raise UnmendableError(
            f"the ledger {folder.root} is fed by the topic {before.topic}, the settings say {now.topic}:"
            " set RATEMILL_TOPIC_PREFIX as it was, or choose another ledger"
        )
    if before.topic_id != now.topic_id:
        raise UnmendableError(
            f"the topic {now.topic} was deleted and made again since the ledger {folder.root} was last written:"
            " its offsets begin anew, so it needs a new ledger"
        )
    if before.partitions > now.partitions:
        raise UnmendableError(
            f"the topic {now.topic} has {now.partitions} partitions and had {before.partitions} when the ledger"
            f" {folder.root} was last written: this is another topic, which needs a new ledger"
        )


def _newest(kept: Iterable[bytes]) -> dict[int, Place]:
    """The furthest place of each partition: with other consumers than before, it may stand in several states."""
    newest: dict[int, Place] = {}
    for state in kept:
        loaded = msgspec.msgpack.decode(state, type=Places)
        assert loaded.version == _PLACES_VERSION, f"places in a topic of version {loaded.version} are not known"
        for partition, place in loaded.of_partitions.items():
            if partition not in newest or place.next_offset > newest[partition].next_offset:
                newest[partition] = place
    return newest


def _places_that_exist(
    admin: AdminClient,
    topic: str,
    places: Mapping[int, Place],
    first: Mapping[int, int],
    accept: Callable[[str], None] | None,
) -> dict[int, Place]:
    """The places, if the next record of each is there; `first` are the offsets of the first records."""
    behind = offsets_of(admin, topic, places, OffsetSpec.latest())
    kept = dict(places)
    for partition, place in places.items():
        if place.next_offset > behind[partition]:
            raise UnmendableError(
                f"partition {partition} of {topic} ends at offset {behind[partition]}, but the ledger was rated up to"
                f" {place.next_offset}: the broker has lost records, or this is another topic; restore the topic,"
                " or begin a new ledger"
            )
        if place.next_offset < first[partition]:
            if accept is None:
                raise UnmendableError(lost_records(topic, partition, place.next_offset, first[partition]))
            accept(f"going on without {_lost(topic, partition, place.next_offset, first[partition])}")
            kept[partition] = msgspec.structs.replace(place, next_offset=first[partition])
    return kept


def lost_records(topic: str, partition: int, next_offset: int, first_offset: int) -> str:
    """What to say of records that were deleted before they were rated."""
    return (
        f"{_lost(topic, partition, next_offset, first_offset)}, were deleted before they were rated: restore them, or"
        " go on without them by `ratemill run rating --accept-loss`, and give the topic a longer retention"
    )


def _lost(topic: str, partition: int, next_offset: int, first_offset: int) -> str:
    count = first_offset - next_offset
    return f"{count:,} records of {topic}, partition {partition}, offsets {next_offset} to {first_offset - 1}"


def offsets_of(
    admin: AdminClient,
    topic: str,
    partitions: Iterable[int],
    which: OffsetSpec,
    seconds: float = SECONDS_TO_ANSWER,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[int, int]:
    """The offset of the first record, or the one behind the last, of these partitions, asked of the broker."""
    asked = {TopicPartition(topic, partition): which for partition in partitions}
    if not asked:
        return {}
    with plain_kafka_errors(f"asking for the offsets of {topic}"):
        answers = admin.list_offsets(asked, isolation_level=isolation)
        return {place.partition: answer(admin, offset, seconds).offset for place, offset in answers.items()}
