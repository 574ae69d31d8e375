"""The topic `relay.positions`: how far the relay of each ledger has come, in the transactions of what it sent.

Owns: the records of that topic. Does not own: sending them (`relay_producer`), or what a position means (`relay`). The
rule: the topic is compacted and has one partition; the last committed record of a ledger's writer is its position.

Kafka keeps such positions in consumer groups as well. There they are forgotten when a relay rests for a week, and
librdkafka may wait for ever when it writes one while a broker goes away (docs/decisions/0016-relay.md).
"""

import time
from contextlib import closing

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from dataflows.connectors.kafka_client import admin_client, answer, client_settings, describe_topic, topic_name
from dataflows.connectors.patience import Patience, is_refusal
from dataflows.errors import UnmendableError
from dataflows.settings import Settings
from dataflows.steps.messages import Message as Row

POSITIONS_TOPIC = "relay.positions"
PARTITION = 0
_RECORDS_PER_POLL = 10_000
_SECONDS_PER_POLL = 0.2
_SECONDS_OF_SILENCE = 10.0
_READING = {
    # A consumer must name a group, though it never joins it.
    "group.id": "ratemill-relay",
    "enable.auto.commit": False,
    # All is read from the start; whatever makes a consumer begin again, it may.
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
}


class Position(msgspec.Struct, frozen=True):
    """How far the commits of one writer have been sent.

    `next` is the first that has not, `digest` that of the commit before it, and `relay` names the run that wrote this.
    """

    next: int = 0
    digest: str = ""
    relay: str = ""


def position_record(ledger: str, writer: int, position: Position) -> Row:
    """The record that says it."""
    return msgspec.json.encode(position), _key(ledger, writer), None


def check_positions_topic(settings: Settings) -> str:
    """The topic's full name; RatemillError if there is none, or if it has more than one partition."""
    topic = topic_name(settings, POSITIONS_TOPIC)
    partitions = describe_topic(settings, topic).partitions
    if partitions != 1:
        raise UnmendableError(
            f"the topic {topic} has {partitions} partitions, and positions need exactly one, to be read in their order:"
            " stop all relays, delete it, and make it with `ratemill topics`"
        )
    return topic


def read_positions(settings: Settings, ledger: str, writers: int, patience: Patience) -> dict[int, Position]:
    """The position of each writer that has one, as committed when this is called; KafkaException if Kafka refuses.

    Waits for transactions that are under way, of relays of other ledgers too: what is committed behind them is shown
    after them. StoppedError ends the waiting.
    """
    place = TopicPartition(topic_name(settings, POSITIONS_TOPIC), PARTITION)
    admin = admin_client(settings)
    end = answer(admin, admin.list_offsets({place: OffsetSpec.latest()})[place]).offset
    writer_of = {_key(ledger, writer): writer for writer in range(writers)}
    found: dict[int, Position] = {}
    while not _read(settings, place, end, writer_of, found, patience):
        continue
    return found


def _read(
    settings: Settings,
    place: TopicPartition,
    end: int,
    writer_of: dict[bytes, int],
    found: dict[int, Position],
    patience: Patience,
) -> bool:
    """Read from the start up to `end` into `found`; False if nothing comes for a while, so that a new consumer may."""
    read_to, heard, hidden = 0, time.monotonic(), None
    with closing(Consumer(client_settings(settings, _READING))) as consumer:
        consumer.assign([TopicPartition(place.topic, PARTITION, OFFSET_BEGINNING)])
        while read_to < end:
            messages = consumer.consume(_RECORDS_PER_POLL, _SECONDS_PER_POLL)
            for message in messages:
                read_to = max(read_to, _read_to(message))
                hidden = _hidden_behind(read_to) if _is_end(message) else None
                writer = writer_of.get(message.key() or b"")
                if message.error() is None and writer is not None:
                    found[writer] = msgspec.json.decode(message.value() or b"", type=Position)
            if messages:
                heard = time.monotonic()
            if read_to < end:
                patience.wait(f"reading the topic {place.topic}", hidden)
                if time.monotonic() > heard + _SECONDS_OF_SILENCE:
                    return False
    return True


def _read_to(message: Message) -> int:
    """Up to where the partition has been read; 0 if Kafka is away, KafkaException if it refuses."""
    error = message.error()
    if error is not None and not _is_end(message):
        if is_refusal(error):
            raise KafkaException(error)
        return 0
    return (message.offset() or 0) + (error is None)


def _is_end(message: Message) -> bool:
    """Whether it says that a reader of committed records has reached the last one it may see."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _hidden_behind(offset: int) -> KafkaError:
    """Why nothing comes though Kafka answers."""
    return KafkaError(KafkaError.CONCURRENT_TRANSACTIONS, f"it shows nothing from offset {offset} on")


def _key(ledger: str, writer: int) -> bytes:
    return msgspec.json.encode([ledger, writer])
