"""Following the catalog topic: whole versions only, in time, through compaction and restarts of the broker."""

import time
from threading import Event, Thread

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from dataflows.catalog_entries import catalog_of
from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import SURE_AHEAD
from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.catalog_topic import CatalogReader
from dataflows.connectors.kafka_client import admin_client, answer, topic_name
from dataflows.errors import RatemillError, UnmendableError
from dataflows.moments import now
from ops.topics import check_topics
from tests.flow.catalogs import catalog, marks
from tests.kafka.catalogs import (
    following,
    make_catalog_topic,
    published,
    records,
    rewritten,
    until,
    write_record,
)
from tests.kafka.flows import settings_for

COMPACTED_AT_ONCE = {
    "segment_ms": "100",
    "min_cleanable_dirty_ratio": "0.001",
    "min_compaction_lag_ms": "0",
    "max_compaction_lag_ms": "200",
    "delete_retention_ms": "0",
}


@pytest.fixture
def settings(broker, topic_prefix):
    return settings_for(broker, topic_prefix)


@pytest.fixture
def topic(settings):
    return make_catalog_topic(settings)


def refusal(settings, folder):
    """Why following does not begin."""
    with following(settings, folder) as flow, pytest.raises(RatemillError) as raised:
        flow.follower.wait_for_first(60)
    assert "\n" not in str(raised.value)
    return raised.value


def test_the_first_version_is_there_before_anything_is_rated(settings, topic, tmp_path):
    publication = publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)
        assert flow.versions.at(0) == publication.version.digest
        assert flow.versions.latest().digest == publication.version.digest
        until(lambda: flow.follower.checked_at())
        flow.versions.wait_until_known(now() - 10_000_000, lambda: False)
    assert [stamp.effective_from for stamp in CatalogHistory(tmp_path).versions()] == [0]


def test_without_a_catalog_or_a_topic_it_says_what_to_do(settings, tmp_path):
    assert "make it with `ratemill topics`" in str(refusal(settings, tmp_path))
    make_catalog_topic(settings)
    assert "`ratemill publish CATALOG`" in str(refusal(settings, tmp_path))
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)


def test_a_topic_with_more_than_one_partition_is_refused(settings, tmp_path):
    admin, name = admin_client(settings), topic_name(settings, "catalog")
    answer(admin, admin.create_topics([NewTopic(name, 2, 1, config={"cleanup.policy": "compact"})])[name])
    until(lambda: "has 2 partitions" in str(refusal(settings, tmp_path)))
    with pytest.raises(UnmendableError, match="has 2 partitions"):
        publish_catalog(settings, catalog("first"))


def test_the_topic_keeps_versions_for_flows_that_are_down(settings):
    def warnings(make):
        [report] = [report for report in check_topics(settings, make=make) if report.topic.endswith(".catalog")]
        return report.warnings

    topic = make_catalog_topic(settings)
    assert warnings(make=False) == ("has min.compaction.lag.ms=0: a flow that is down for over 0 h misses versions",)
    admin = admin_client(settings)
    answer(admin, admin.delete_topics([topic])[topic])
    until(lambda: warnings(make=False) == ())
    assert warnings(make=True) == ()


def test_a_broker_that_cannot_be_reached_is_told(settings, tmp_path):
    away = settings.model_copy(update={"kafka": {"bootstrap.servers": "127.0.0.1:9"}})
    assert "cannot reach Kafka at 127.0.0.1:9" in str(refusal(away, tmp_path))


def test_what_is_damaged_stops_the_flow(settings, topic, tmp_path):
    version = publish_catalog(settings, catalog("first")).version
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)
        write_record(settings, "source:api", b'{"id": "api", "name": "changed by hand"}')
        write_record(settings, "version", rewritten(version, published_at=now()))
        until(flow.follower.failure)
        assert "is damaged" in str(flow.follower.failure())
        with pytest.raises(UnmendableError, match="is damaged"):
            flow.versions.wait_until_known(now() + 60_000_000, lambda: False)
        assert flow.names() == ["first"]
    assert "is damaged" in str(refusal(settings, tmp_path))
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.until_known("first")
        assert flow.follower.failure() is None


def test_readers_see_whole_versions_only_while_others_are_published(settings, topic, tmp_path):
    names = [f"v{number}" for number in range(8)]
    # Large enough for several batches, so that a version is under way for a while.
    sized = {name: catalog(name, subscriptions=1_500) for name in names}
    publish_catalog(settings, sized["v0"])
    stop, seen = Event(), []

    def look_again_and_again():
        with CatalogReader(settings) as reader:
            while not stop.is_set():
                for _ in reader.read(stop.is_set):
                    continue
                seen.append((len(reader.state.entries), marks(catalog_of(reader.state.entries))))

    looking = Thread(target=look_again_and_again)
    with following(settings, tmp_path) as flow:
        looking.start()
        try:
            for name in names[1:]:
                publish_catalog(settings, sized[name])
            flow.until_known(names[-1])
        finally:
            stop.set()
            looking.join()
        assert flow.names() == names
        assert flow.remarks == []
    whole = [seen_marks for entries, seen_marks in seen if entries == 1_505]
    assert len(whole) == len(seen), "a reader saw half a version"
    assert all(len(found) == 1 for found in whole)
    assert len({min(found) for found in whole}) > 2, "the reader did not look often enough to prove anything"
    for stamp in flow.history.versions():
        assert len(marks(flow.history.catalog(stamp.digest))) == 1


def test_a_lane_does_not_pass_a_moment_before_the_version_that_takes_effect_there(settings, topic, tmp_path):
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)
        for number in range(3):
            version = publish_catalog(settings, catalog(f"n{number}")).version
            # A record as young as can be: its lane waits, and then knows the version.
            flow.versions.wait_until_known(version.effective_from, lambda: False)
            assert flow.versions.at(version.effective_from) == version.digest
            assert flow.versions.at(version.effective_from - 1) != version.digest
        assert flow.remarks == []


def test_lanes_at_the_present_do_not_wait_for_each_look(settings, topic, tmp_path):
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)
        ages = []
        for _ in range(200):
            time.sleep(0.01)
            ages.append(now() - flow.follower.checked_at())
        assert sorted(ages)[100] < SURE_AHEAD


def test_a_version_that_came_too_late_is_remarked(settings, topic, tmp_path):
    version = publish_catalog(settings, catalog("first")).version
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)
        until(lambda: flow.follower.checked_at() > version.published_at)
        late = rewritten(
            version,
            number=2,
            published_at=now(),
            effective_from=version.published_at + 1,
            digest="0a",
            previous=version.published_at,
        )
        write_record(settings, "version", late)
        until(lambda: flow.remarks)
        assert "catalog number 2 came after the moment" in flow.remarks[0]
        assert flow.follower.failure() is None


def compact(settings, before):
    """Wait until the topic holds less than it did, and one `version` record besides that of the last segment."""
    admin = admin_client(settings)
    changed = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[changed])
    answer(admin, admin.incremental_alter_configs([resource])[resource])
    until(lambda: len(records(settings)) < before, 90)
    # The cleaner may still be at work.
    until(lambda: len(records(settings)) == (time.sleep(1), len(records(settings)))[1])


def publish_and_compact(settings, names):
    for name in names:
        publish_catalog(settings, catalog(name))
        # A segment ends when something is written after its time.
        time.sleep(0.3)
    compact(settings, 9 * len(names))


def test_a_follower_that_begins_after_compaction_has_the_newest_version(settings, tmp_path):
    make_catalog_topic(settings, **COMPACTED_AT_ONCE)
    publish_and_compact(settings, ["first", "second", "third", "fourth"])
    assert sum(key == "version" for key, _ in records(settings)) < 4
    assert marks(catalog_of(published(settings).entries)) == {"fourth"}
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(60)
        assert flow.names()[-1] == "fourth"
        assert flow.history.versions()[0].effective_from == 0
        # Versions in the part that was compacted are mixed with later ones: none of them was taken for whole.
        for stamp in flow.history.versions():
            assert len(marks(flow.history.catalog(stamp.digest))) == 1
        assert flow.remarks == []


def test_a_follower_that_missed_versions_says_so_and_goes_on_with_the_newest(settings, tmp_path):
    make_catalog_topic(settings, **COMPACTED_AT_ONCE)
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.until_known("first")
    names = ["second", "third", "fourth", "fifth"]
    publish_and_compact(settings, names)
    newest = published(settings).version
    with following(settings, tmp_path) as flow:
        flow.until_known("fifth")
        known = flow.names()
        assert known[0] == "first"
        assert flow.history.versions()[-1].effective_from == newest.effective_from
        assert flow.history.versions()[-1].digest == newest.digest
        assert len(known) < 5, "nothing was compacted away"
        assert len(flow.remarks) == 1
        assert "that this ledger never saw" in flow.remarks[0]


def test_a_follower_that_was_down_takes_every_version_in_its_order(settings, topic, tmp_path):
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.until_known("first")
    moments = [publish_catalog(settings, catalog(name)).version.effective_from for name in ("second", "third")]
    with following(settings, tmp_path) as flow:
        flow.until_known("third")
        assert flow.names() == ["first", "second", "third"]
        assert flow.versions.changes() == moments
        assert flow.remarks == []


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_is_followed_on(broker, settings, topic, tmp_path, way):
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.until_known("first")
        try:
            getattr(broker, way)()
            time.sleep(2)
            away = flow.follower.checked_at()
            assert now() - away > 1_000_000
        finally:
            broker.start()
        until(lambda: flow.follower.checked_at() > away)
        publish_catalog(settings, catalog("second"))
        flow.until_known("second")
        assert flow.follower.failure() is None
        assert flow.remarks == []


def test_two_processes_of_a_flow_write_one_history(settings, topic, tmp_path):
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as one, following(settings, tmp_path) as other:
        for follower in (one, other):
            follower.follower.wait_for_first(60)
        for name in ("second", "third"):
            publish_catalog(settings, catalog(name))
        for follower in (one, other):
            until(lambda known=follower.versions: known.at(10**18) == published(settings).version.digest)
        assert one.names() == ["first", "second", "third"]
        assert one.versions.changes() == other.versions.changes()
        assert one.remarks == other.remarks == []
