"""What may happen to the topic, and to the folder, between two runs and during one: it is told, nothing is skipped."""

import asyncio
import shutil
import sqlite3
import time

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions

from dataflows.connectors.kafka_client import admin_client, answer, topic_name
from dataflows.errors import RatemillError
from ops.topics import check_topics
from tests.kafka.relaying import wait_until
from tests.notifications.flows import (
    Running,
    counts,
    notification,
    running,
    send,
    settings_for,
    wait_for_counts,
)
from tests.notifications.servers import Endpoint


def delete_records(settings, before: int) -> None:
    """Those of partition 0 up to an offset, as a short retention does."""
    admin = admin_client(settings)
    place = TopicPartition(topic_name(settings, "notifications"), 0, before)
    for future in admin.delete_records([place]).values():
        answer(admin, future)


def test_records_that_were_deleted_are_told(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, topic_partitions=1)
        send(settings, [notification("n0")])
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, webhook_delivered=1)
        send(settings, [notification(f"n{number}") for number in range(1, 5)])
        delete_records(settings, 3)
        lost = (
            f"2 records of {topic_prefix}notifications, partition 0, offsets 1 to 2, were deleted before they were read"
        )
        with pytest.raises(RatemillError, match=lost), running(settings, tmp_path):
            pass
        with running(settings, tmp_path, accept_loss=True) as flow:
            wait_for_counts(tmp_path, webhook_delivered=3)
    assert set(endpoint.ids) == {"n0", "n3", "n4"}
    assert flow.remarks == [f"going on without 2 records of {topic_prefix}notifications, partition 0, offsets 1 to 2"]


def test_a_topic_made_again_is_another_one(broker, topic_prefix, tmp_path):
    """It has other records at the places that are known; the flow ends while it runs, too."""
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, topic_partitions=1)
        send(settings, [notification("n0")])
        flow = Running(settings, tmp_path)
        wait_for_counts(tmp_path, webhook_delivered=1)
        admin, topic = admin_client(settings), topic_name(settings, "notifications")
        answer(admin, admin.delete_topics([topic])[topic])
        wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, "it is gone")
        check_topics(settings, make=True)
        send(settings, [notification("n1"), notification("n2")])
        wait_until(flow.has_ended, "it noticed")
        with pytest.raises(
            RatemillError, match="was deleted and made again: its offsets begin anew; begin anew with an"
        ):
            flow.end()
        with pytest.raises(RatemillError, match="was deleted and made again"), running(settings, tmp_path):
            pass
        with running(settings, tmp_path / "another"):
            wait_for_counts(tmp_path / "another", webhook_delivered=2)


def test_partitions_that_are_added_are_read(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, topic_partitions=1)
        with running(settings, tmp_path) as flow:
            wait_until(lambda: flow.progress.trouble() is None, "it runs")
            admin, topic = admin_client(settings), topic_name(settings, "notifications")
            answer(admin, admin.create_partitions([NewPartitions(topic, 4)])[topic])
            wait_until(lambda: flow.remarks, "it noticed")
            send(settings, [notification(f"n{number}", subscription_id=f"sub-{number}") for number in range(20)])
            wait_for_counts(tmp_path, webhook_delivered=20)
    assert flow.remarks == [f"{topic} has 4 partitions now, and the new ones are read as well"]


def test_a_broker_that_is_away_delays_what_is_new_and_nothing_else(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: 500) as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, topic_partitions=1, circuit_seconds=0.1)
        send(settings, [notification("n0")])
        with running(settings, tmp_path):
            wait_until(lambda: len(endpoint.requests) > 1, "it is tried")
            broker.stop()
            try:
                tried = len(endpoint.requests)
                wait_until(lambda: len(endpoint.requests) > tried + 3, "it is tried although Kafka is away")
                endpoint.answer = lambda number, request: 204
                wait_for_counts(tmp_path, webhook_delivered=1)
            finally:
                broker.start()
            send(settings, [notification("n1")])
            wait_for_counts(tmp_path, webhook_delivered=2)
    assert set(endpoint.ids) == {"n0", "n1"}


def test_a_full_disk_is_waited_for(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint)
        with running(settings, tmp_path) as flow:
            wait_until(lambda: flow.progress.trouble() is None, "it runs")
            store = flow.progress.lanes[0]._store._connection
            (pages,) = store.execute("PRAGMA page_count").fetchone()
            store.execute(f"PRAGMA max_page_count = {pages}")
            send(settings, [notification("n0", *(f"person-{number}@acme.example" for number in range(3_000)))])
            wait_until(lambda: flow.progress.trouble() is not None, "it says so")
            assert "database or disk is full" in flow.progress.trouble()
            assert endpoint.requests == []
            store.execute("PRAGMA max_page_count = 1000000")
            wait_for_counts(tmp_path, webhook_delivered=1, mail_pending=3_000)
            wait_until(lambda: flow.progress.trouble() is None, "all is well")


def test_nothing_is_delivered_that_nobody_would_remember(broker, topic_prefix, tmp_path):
    """Outcomes that cannot be kept are kept later; until then no endpoint hears of anything."""
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, webhook_connections=1)
        with running(settings, tmp_path) as flow:
            wait_until(lambda: flow.progress.trouble() is None, "it runs")
            store = flow.progress.lanes[0]._store._connection

            async def lock(number, request):
                if number == 0:
                    store.execute("PRAGMA query_only = ON")
                await asyncio.sleep(0.05)
                return 204

            endpoint.answer = lock
            send(settings, [notification(f"n{number}", subscription_id="sub") for number in range(50)])
            wait_until(lambda: flow.progress.trouble() is not None, "it says so")
            # What was under way ends.
            time.sleep(0.3)
            heard = len(endpoint.requests)
            time.sleep(0.5)
            assert len(endpoint.requests) == heard < 50
            store.execute("PRAGMA query_only = OFF")
            wait_for_counts(tmp_path, webhook_delivered=50)
    assert endpoint.ids.total() == len(endpoint.ids) == 50
    assert flow.remarks[-1] == "the store of deliveries can be written again"


def test_what_a_flow_cannot_have_it_says(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint)
        with running(settings, tmp_path / "good"):
            wait_until(lambda: counts(tmp_path / "good") == {}, "a store is made")
    other = settings.model_copy(update={"topic_prefix": f"{topic_prefix}other."})
    missing = f"has no topic {topic_prefix}other.notifications"
    newer = tmp_path / "newer"
    shutil.copytree(tmp_path / "good", newer)
    with sqlite3.connect(newer / "deliveries.sqlite") as store:
        store.execute("PRAGMA user_version = 2")
    store.close()
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "deliveries.sqlite").write_bytes(b"no database" * 1_000)
    for chosen, folder, sentence in [
        (other, tmp_path / "new", missing),
        (settings, newer, "has version 2, and this Ratemill knows 1"),
        (settings, tmp_path / "file", "cannot use the folder"),
        (settings, tmp_path / "damaged", "restore it from a backup, or begin anew with another folder"),
    ]:
        with pytest.raises(RatemillError, match=sentence), running(chosen, folder):
            pass
    check_topics(other, make=True)
    another = f"is not {topic_prefix}notifications, which was read so far"
    with pytest.raises(RatemillError, match=another), running(other, tmp_path / "good"):
        pass
