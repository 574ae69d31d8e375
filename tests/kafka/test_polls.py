"""What one poll takes of a topic on which much is waiting."""

import time
from threading import Event

import pytest

from dataflows.catalogs import OneCatalog
from dataflows.connectors import kafka_reader
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.kafka_reader import TopicReader
from dataflows.connectors.topic import topic_input
from dataflows.ledger.folder import open_folder
from rating.catalog import compile_catalog
from tests.flow.world import make_world
from tests.kafka.flows import lines_of, make_topics, send, settings_for

PIECE = 50
SECONDS_TO_FETCH = 2


@pytest.fixture
def polls(broker, topic_prefix, tmp_path, monkeypatch):
    """A function that gives, under some settings, the sizes in records of the polls that read all of a topic."""
    monkeypatch.setattr(kafka_reader, "_RECORDS_OF_PIECE", PIECE)
    world = make_world(tmp_path / "world", events_per_file=4_000)
    settings = settings_for(broker, topic_prefix, topic_partitions=3)
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events))
    catalog = compile_catalog(load_catalog(world.catalog))

    def read(**stated):
        ours = settings.model_copy(update=stated)
        folder = open_folder(tmp_path / f"ledger-{len(stated)}", settings.key_groups, settings.writers)
        reader = TopicReader(topic_input(folder, ours), 0, OneCatalog(catalog), ours, Event().is_set)
        try:
            time.sleep(SECONDS_TO_FETCH)
            found = []
            while sum(found) < sent:
                found.append(reader.read().records)
        finally:
            reader.close()
        assert sum(found) == sent
        return found

    return read


def test_what_waits_comes_as_a_batch_for_each_partition(polls):
    assert polls(batch_records=200)[0] == 3 * 200


def test_bytes_bound_a_poll(polls):
    taken = polls(batch_records=100_000, batch_bytes=1 << 17)
    assert PIECE < taken[0] < sum(taken) / 2
