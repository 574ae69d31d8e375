"""A consumer that ceases to fetch ends the flow, which begins anew; one at which nothing comes does not."""

import time
from threading import Event

import pytest
from confluent_kafka import Producer

from dataflows.catalogs import OneCatalog
from dataflows.connectors import kafka_reader, kafka_standstill
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.kafka_client import client_settings, topic_name
from dataflows.connectors.kafka_reader import TopicReader
from dataflows.connectors.topic import topic_input
from dataflows.errors import RatemillError
from dataflows.ledger.folder import open_folder
from rating.catalog import compile_catalog
from tests.flow.world import make_world
from tests.kafka.flows import lines_of, make_topics, send, settings_for

PATIENCE = 1.5


class RefusedCatalog(OneCatalog):
    """A catalog of which nothing more is learned."""

    def check(self) -> None:
        raise RatemillError("refused")


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path / "world", events_per_file=20)


@pytest.fixture
def settings(broker, topic_prefix, world):
    settings = settings_for(broker, topic_prefix, topic_partitions=3)
    make_topics(settings, world.catalog)
    return settings


@pytest.fixture
def reader(settings, world, tmp_path, monkeypatch):
    monkeypatch.setattr(kafka_reader, "_SECONDS_BETWEEN_LOOKS", 0.2)
    monkeypatch.setattr(kafka_standstill, "SECONDS_OF_PATIENCE", PATIENCE)
    folder = open_folder(tmp_path / "ledger", settings.key_groups, settings.writers)
    catalog = OneCatalog(compile_catalog(load_catalog(world.catalog)))
    reader = TopicReader(topic_input(folder, settings), 0, catalog, settings, Event().is_set)
    yield reader
    reader.close()


def read_for(reader, seconds):
    last, records = time.monotonic() + seconds, 0
    while time.monotonic() < last:
        records += reader.read().records
    return records


def test_a_consumer_that_stands_still_ends_the_flow(reader, settings, world):
    sent = send(settings, lines_of(world.events))
    assert read_for(reader, 2) == sent
    reader._consumer.pause(reader._consumer.assignment())
    assert read_for(reader, 2 * PATIENCE) == 0
    send(settings, [next(iter(lines_of(world.events)))])
    with pytest.raises(
        RatemillError, match=r"nothing more comes of .*metering.events, partition 0, offset \d+, although 1 "
    ):
        read_for(reader, 10 * PATIENCE)


def test_one_that_never_began_does_too(reader, settings, world):
    reader._consumer.pause(reader._consumer.assignment())
    send(settings, [next(iter(lines_of(world.events)))])
    with pytest.raises(RatemillError, match="partition 0, offset 0, although 1 records"):
        read_for(reader, 10 * PATIENCE)


def test_a_transaction_that_is_open_is_waited_for(reader, settings, world):
    producer = Producer(client_settings(settings, {"transactional.id": f"{settings.group}.open"}))
    producer.init_transactions(30)
    producer.begin_transaction()
    partition, key, value = next(iter(lines_of(world.events)))
    producer.produce(topic_name(settings, "metering.events"), value, key, partition)
    assert producer.flush(30) == 0
    assert read_for(reader, 3 * PATIENCE) == 0
    producer.commit_transaction(30)
    assert read_for(reader, 2) == 1


def test_what_the_catalogs_cannot_learn_any_more_ends_the_flow_in_silence_too(reader, settings, world):
    """As when Kafka refuses the password, which nobody is told who only waits for records."""
    assert read_for(reader, 1) == 0
    reader._catalogs = RefusedCatalog(reader._catalogs.catalog)
    with pytest.raises(RatemillError, match="refused"):
        reader.read()


def test_a_flow_that_takes_nothing_for_long_is_no_standstill(reader, settings, world, monkeypatch):
    monkeypatch.setattr(kafka_standstill, "_SECONDS_BETWEEN_LOOKS", 1.0)
    reader._consumer.pause(reader._consumer.assignment())
    send(settings, [next(iter(lines_of(world.events)))])
    for _ in range(4):
        reader.look_soon()
        reader.read()
        time.sleep(1.1)
    assert reader._standstill._since
