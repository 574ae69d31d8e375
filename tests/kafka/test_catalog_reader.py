"""Reading the catalog topic when the consumer fails us."""

import time

from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.catalog_topic import CatalogReader
from tests.flow.catalogs import catalog
from tests.kafka.catalogs import make_catalog_topic
from tests.kafka.flows import settings_for


class StandingConsumer:
    """A consumer that is never told to go on: it answers, and fetches nothing."""

    def __init__(self, consumer):
        self._consumer = consumer
        consumer.pause(consumer.assignment())

    def resume(self, places):
        del places

    def __getattr__(self, name):
        return getattr(self._consumer, name)


def test_a_reader_whose_consumer_stands_still_begins_anew_where_it_was(broker, topic_prefix, monkeypatch):
    settings = settings_for(broker, topic_prefix)
    make_catalog_topic(settings)
    monkeypatch.setattr("dataflows.connectors.catalog_topic._SECONDS_UNTIL_ANEW", 1)
    publish_catalog(settings, catalog("first"))
    with CatalogReader(settings) as reader:
        assert len(list(reader.read(lambda: False))) == 1
        reader._consumer = StandingConsumer(reader._consumer)
        publish_catalog(settings, catalog("second"))
        reader._heard = time.monotonic()
        assert len(list(reader.read(lambda: reader.silence() > 20))) == 1
        assert reader.state.versions == 2
        assert reader.state.is_whole()


def test_a_reader_that_begins_anew_fetches_nothing_until_there_is_something(broker, topic_prefix, monkeypatch):
    """A fetch that waits for news would hold up the next look."""
    settings = settings_for(broker, topic_prefix)
    make_catalog_topic(settings)
    publish_catalog(settings, catalog("first"))
    with CatalogReader(settings) as reader:
        assert len(list(reader.read(lambda: False))) == 1
        monkeypatch.setattr(reader, "_patience", 0)
        before = reader._consumer
        time.sleep(0.01)
        assert list(reader.read(lambda: False)) == []
        assert reader._consumer is not before
        publish_catalog(settings, catalog("second"))
        assert reader._consumer.consume(1, 2) == []
        assert len(list(reader.read(lambda: False))) == 1
        assert reader.state.is_whole()


def test_a_reader_that_cannot_begin_anew_goes_on_as_it_is(broker, topic_prefix, monkeypatch):
    settings = settings_for(broker, topic_prefix)
    make_catalog_topic(settings)
    with CatalogReader(settings) as reader:
        monkeypatch.setattr(reader, "_patience", 0)
        reader._settings = settings.model_copy(update={"kafka": settings.kafka | {"no.such.setting": "1"}})
        publish_catalog(settings, catalog("first"))
        assert len(list(reader.read(lambda: False))) == 1
