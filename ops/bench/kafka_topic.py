"""Topics of the benchmark: made with a catalog published, and filled with the events of a scenario.

The rule: a record has its event's time, its key is the subscription, and a subscription's records are on one partition,
its number modulo theirs. Records are not compressed: what reads them is measured, and the bare limit is hardest then.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.kafka_client import admin_client, answer, client_settings, topic_name
from dataflows.connectors.topic import EVENTS_TOPIC
from dataflows.settings import Settings
from ops.bench.scenario import KEY_GROUPS, MILLISECONDS_PER_EVENT, START_MILLISECONDS, bench_catalog

PARTITIONS = 4
_BEFORE_SUBSCRIPTION = b'"subscription":"'
_SUBSCRIPTION_LENGTH = len("sub-00000000")
_SECONDS_TO_DELIVER = 120
_RECORDS_BETWEEN_POLLS = 1_000
_LONGEST_TRANSACTION_MS = 900_000
_FAST = {
    "enable.idempotence": True,
    "linger.ms": 20,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 512 << 10,
}

Record = tuple[int, bytes, bytes]


def settings_for(bootstrap: str, prefix: str, **stated: object) -> Settings:
    """The default settings but for what is stated; `prefix` keeps the topics of measurements apart."""
    values = {
        "kafka": {"bootstrap.servers": bootstrap},
        "topic_prefix": prefix,
        "topic_partitions": PARTITIONS,
        "group": f"{prefix}rating",
        "key_groups": KEY_GROUPS,
        "catalog_lead_seconds": 1,
        "metrics_port": 0,
    }
    return Settings.model_validate(values | stated)


def make_full_topic(bootstrap: str, prefix: str, path: str, subscriptions: int) -> dict[str, Any]:
    """A topic with all the events of a file, and what filling it took."""
    settings = settings_for(bootstrap, prefix)
    topic = make_topics(settings, subscriptions)
    begun = perf_counter()
    events = fill(settings, records_of(Path(path)))
    return {"topic": topic, "events": events, "per_second": events / (perf_counter() - begun)}


def make_topics(settings: Settings, subscriptions: int) -> str:
    """The topics that the rating flow reads, the catalog published; gives the name of the topic of events."""
    events, catalog = (topic_name(settings, name) for name in (EVENTS_TOPIC, "catalog"))
    admin = admin_client(settings)
    wanted = [
        NewTopic(events, settings.topic_partitions, 1),
        NewTopic(catalog, 1, 1, config={"cleanup.policy": "compact"}),
    ]
    for made in admin.create_topics(wanted).values():
        answer(admin, made)
    publish_catalog(settings, bench_catalog(subscriptions))
    return events


def fill(settings: Settings, records: Iterable[Record]) -> int:
    """Sends records (number, key, value) as fast as it goes; gives how many, all of them on the broker's disk."""
    producer = Producer(client_settings(settings, _FAST))
    topic, partitions = topic_name(settings, EVENTS_TOPIC), settings.topic_partitions
    sent = 0
    for number, key, value in records:
        moment = START_MILLISECONDS + number * MILLISECONDS_PER_EVENT
        send(producer, topic, key, value, partitions, moment)
        sent += 1
        if sent % _RECORDS_BETWEEN_POLLS == 0:
            producer.poll(0)
    left = producer.flush(_SECONDS_TO_DELIVER)
    assert left == 0, f"{left} records were not taken in {_SECONDS_TO_DELIVER} s"
    return sent


def send(producer: Producer, topic: str, key: bytes, value: bytes, partitions: int, moment: int) -> None:
    """Sends one record; `moment` is in milliseconds. Waits while the producer is full."""
    partition = partition_of(key, partitions)
    while True:
        try:
            producer.produce(topic, value, key, partition, timestamp=moment)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def as_message(key: bytes, value: bytes, partitions: int) -> dict[str, object]:
    """A record for `Producer.produce_batch`, whose time is that of its sending."""
    return {"key": key, "value": value, "partition": partition_of(key, partitions)}


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a subscription, of which `key` is the id."""
    return int(key[-8:]) % partitions


def records_of(path: Path, fillers: Sequence[bytes] = (b"",)) -> Iterator[Record]:
    """The events of a file with their keys; fillers are put behind the elements of their data, in turns."""
    with path.open("rb") as file:
        for number, (line, filler) in enumerate(zip(file, cycle(fillers), strict=False)):
            value = line.rstrip(b"\n")
            yield number, key_of(value), value[:-2] + filler + value[-2:]


def key_of(value: bytes) -> bytes:
    """The subscription that an event states."""
    first = value.index(_BEFORE_SUBSCRIPTION) + len(_BEFORE_SUBSCRIPTION)
    return value[first : first + _SUBSCRIPTION_LENGTH]


def close_gate(settings: Settings) -> Callable[[], None]:
    """From now on nobody who reads what is committed sees anything of the topic, until what this gives is called.

    The first record of each partition belongs to a transaction, and no such reader passes an open one. It is undone in
    the end, so its records are never seen.
    """
    own = {"transactional.id": f"{settings.topic_prefix}gate", "transaction.timeout.ms": _LONGEST_TRANSACTION_MS}
    producer = Producer(client_settings(settings, own))
    producer.init_transactions(_SECONDS_TO_DELIVER)
    producer.begin_transaction()
    for partition in range(settings.topic_partitions):
        producer.produce(topic_name(settings, EVENTS_TOPIC), b"gate", partition=partition)
    assert producer.flush(_SECONDS_TO_DELIVER) == 0, "the gate could not be closed"
    return lambda: producer.abort_transaction(_SECONDS_TO_DELIVER)
