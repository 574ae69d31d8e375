"""Parked events of a topic: sent again once the catalog knows whom to charge, and charged once whatever happens."""

import json
import time
from collections import Counter
from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import ops.reinjector
from dataflows.catalog_history import CatalogHistory
from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.kafka_client import topic_name
from dataflows.ledger.published import read_table
from dataflows.moments import now
from ops.kafka_reinjection import catalog_in_effect, choose_parked, reinject_parked
from ops.reinjector import Reinjector, published_progress
from ops.topics import check_topics
from tests.flow.catalogs import catalog
from tests.flow.world import assert_conserved
from tests.kafka.catalogs import until
from tests.kafka.flows import received, running, settings_for, wait_until_received
from tests.ops.ratemill import inside, query

HOUR = 3_600_000_000


@pytest.fixture
def settings(broker, topic_prefix, monkeypatch):
    """Of a deployment whose topics are there and whose catalog knows sub-0 only; this process has them, too."""
    settings = settings_for(broker, topic_prefix, topic_partitions=2, lateness_hours=1)
    check_topics(settings, make=True)
    publish_catalog(settings, catalog("first", subscriptions=1))
    monkeypatch.setenv("RATEMILL_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("RATEMILL_TOPIC_PREFIX", topic_prefix)
    return settings


def event(name, subscription, **more):
    return {"id": name, "source": "api", "subscription": subscription, "data": {"calls": 1}} | more


def send_events(settings, *events, ago=0):
    """Events whose records are as old as said, in microseconds."""
    producer = Producer(dict(settings.kafka))
    for one in events:
        stamp = (now() - ago) // 1_000
        producer.produce(
            topic_name(settings, "metering.events"),
            json.dumps(one).encode(),
            one["subscription"].encode(),
            partition=0,
            timestamp=stamp,
        )
    assert producer.flush(60) == 0
    return len(events)


def sent_again(settings):
    """Key, origin and content of the records of the topic that were sent again."""
    consumer = Consumer({**settings.kafka, "group.id": "looking", "enable.partition.eof": True})
    topic, found, ended = topic_name(settings, "metering.events"), [], set()
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
    while len(ended) < 2:
        for message in consumer.consume(1_000, 0.5):
            if message.error() is not None:
                ended.add(message.partition())
            elif origin := dict(message.headers() or []).get("ratemill-origin"):
                found.append((message.key().decode(), origin.decode(), json.loads(message.value())))
    consumer.close()
    return found


def verdicts(ledger):
    return {
        (row["event_id"], row["verdict"]): row["n"]
        for row in query(ledger, "SELECT event_id, verdict, count(*) AS n FROM events GROUP BY ALL")
    }


def charged(ledger):
    return dict(read_table(ledger, "line_items").group_by("event_id").agg(pl.col("amount").sum()).iter_rows())


def wait_for_catalog(ledger, settings, **changes):
    """Publish a catalog and wait until it is in effect for this ledger, and all before it is published."""
    moment = publish_catalog(settings, catalog("first", **changes)).version.effective_from
    until(lambda: now() > moment)
    until(lambda: CatalogHistory(ledger).versions()[-1].effective_from == moment)
    until(lambda: (published_progress(ledger) or 0) >= moment)
    time.sleep(0.2)


def command(ledger, *options):
    return json.loads(inside("reinject", "--ledger", ledger, "--json", *options).out)


def test_parked_events_are_charged_once_their_subscription_is_known(settings, tmp_path):
    ledger = tmp_path / "ledger"
    # Of a record two hours old: late by the time it is sent again.
    sent = send_events(settings, event("old", "sub-1"), ago=2 * HOUR)
    sent += send_events(settings, event("a", "sub-0"), event("b", "sub-1"), event("b", "sub-1"), event("c", "sub-1"))
    sent += send_events(settings, event("n", "sub-never"))
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        # The same event reached us under a subscription that is known.
        sent += send_events(settings, event("c", "sub-0"))
        wait_until_received(ledger, sent, flow)
        assert command(ledger)["left"] == {"unknown_subscription": 3}
        wait_for_catalog(ledger, settings, subscriptions=2)
        wanted = {"applied": False, "events": 2, "verdicts": {}, "left": {"unknown_subscription": 1}, "amounts": []}
        assert command(ledger) == wanted
        assert sent_again(settings) == []
        assert command(ledger, "--apply") == wanted | {"applied": True}
        wait_until_received(ledger, sent + 2, flow)
        assert command(ledger, "--apply")["events"] == 0
        told = sent_again(settings)
        again = {record["id"]: (key, origin, record["ratemillorigin"]) for key, origin, record in told}
        assert set(again) == {"old", "b"}
        assert {(key, origin == named) for key, origin, named in again.values()} == {("sub-1", True)}
        wait_for_catalog(ledger, settings, subscriptions=3)
        assert command(ledger, "--apply")["events"] == 0
        assert len(sent_again(settings)) == 2
    assert verdicts(ledger) == {
        ("old", "parked"): 1,
        ("old", "late"): 1,
        ("a", "rated"): 1,
        ("b", "parked"): 2,
        ("b", "rated"): 1,
        ("c", "parked"): 1,
        ("c", "rated"): 1,
        ("n", "parked"): 1,
    }
    assert {name: str(amount.normalize()) for name, amount in charged(ledger).items()} == dict.fromkeys("abc", "0.01")
    assert_conserved(ledger, sent + 2, 3)
    refused = inside("reinject", "--ledger", ledger, "--catalog", tmp_path)
    assert (refused.code, "--catalog" in refused.err) == (2, True)


def test_what_was_chosen_is_sent_after_a_crash_and_charged_once(settings, tmp_path):
    ledger = tmp_path / "ledger"
    sent = send_events(settings, *(event(f"e{number}", "sub-1") for number in range(5)))
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        wait_for_catalog(ledger, settings, subscriptions=2)
        known = catalog_in_effect(ledger)
        away = settings.model_copy(update={"kafka": {"bootstrap.servers": "127.0.0.1:9"}})
        with pytest.raises(Exception, match="cannot reach Kafka"):
            reinject_parked(away, ledger, known)
        [chosen] = (ledger / "inputs").glob("reinject-*.ndjson")
        assert choose_parked(ledger, known).records == []
        assert reinject_parked(settings, ledger, known) == Counter(sent=5)
        # As after a kill between sending and taking note of it.
        chosen.with_suffix(".sent").unlink()
        assert reinject_parked(settings, ledger, known) == Counter(sent=5)
        wait_until_received(ledger, sent + 10, flow)
        assert reinject_parked(settings, ledger, known) == Counter()
    assert Counter(verdict for _, verdict in verdicts(ledger)) == Counter(parked=5, rated=5, duplicate=5)
    assert charged(ledger).keys() == {f"e{number}" for number in range(5)}
    assert_conserved(ledger, sent + 10, 5)


def test_what_the_old_catalog_parks_after_the_new_one_took_effect_is_sent_too(settings, tmp_path, monkeypatch):
    """A record that is late on its way, to a partition where nothing else came."""
    monkeypatch.setattr(ops.reinjector, "_SECONDS_BETWEEN_COUNTS", 0.2)
    ledger = tmp_path / "ledger"
    reinjector = Reinjector(settings, ledger, lambda sentence: None)
    with running(settings, ledger) as flow:
        until(lambda: CatalogHistory(ledger).versions())
        wait_for_catalog(ledger, settings, subscriptions=2)
        _look_for(reinjector, 2)
        effective = CatalogHistory(ledger).versions()[-1].effective_from
        sent = send_events(settings, event("x", "sub-1"), ago=now() - effective + 1_000_000)
        wait_until_received(ledger, sent, flow)
        until(lambda: reinjector.look() or received(ledger) == sent + 1)
        _look_for(reinjector, 1)
    reinjector.close()
    assert verdicts(ledger) == {("x", "parked"): 1, ("x", "rated"): 1}


def test_a_rejected_copy_does_not_stop_a_parked_event_nor_does_a_ledger_that_cannot_be_read(
    settings, tmp_path, monkeypatch
):
    ledger = tmp_path / "ledger"
    ahead = datetime.fromtimestamp(now() / 1e6 + 3_600, UTC).isoformat()
    sent = send_events(settings, event("x", "sub-1", time=ahead), event("x", "sub-1"))
    remarks = []
    reinjector = Reinjector(settings, ledger, remarks.append)
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        wait_for_catalog(ledger, settings, subscriptions=2)
        with monkeypatch.context() as patched:
            patched.setattr(ops.reinjector, "reinject_parked", _unreadable)
            until(lambda: reinjector.look() or remarks)
        reinjector.close()
        assert remarks == ["parked events were not sent again: cannot open file; trying again in 30 s"]
        assert command(ledger, "--apply")["events"] == 1
        wait_until_received(ledger, sent + 1, flow)
    assert verdicts(ledger) == {("x", "rejected"): 1, ("x", "parked"): 1, ("x", "rated"): 1}


def _unreadable(*arguments):
    raise duckdb.IOException("cannot open file\nat all")


def _look_for(reinjector, seconds):
    for _ in range(10 * seconds):
        reinjector.look()
        time.sleep(0.1)


def test_a_running_flow_does_it_by_itself_after_each_catalog(settings, tmp_path):
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    remarks = []
    reinjector = Reinjector(settings, ledger, remarks.append)
    sent = send_events(settings, event("a", "sub-1"), event("b", "sub-2"))
    with running(settings, ledger) as flow:
        for subscriptions, arrived in ((2, 1), (3, 2)):
            publish_catalog(settings, catalog("first", subscriptions=subscriptions))

            def enough(wanted=sent + arrived):
                reinjector.look()
                return received(ledger) == wanted

            until(enough)
        wait_until_received(ledger, sent + 2, flow)
        _look_for(reinjector, 2)
    reinjector.close()
    assert verdicts(ledger) == {(name, verdict): 1 for name in "ab" for verdict in ("parked", "rated")}
    assert remarks == ["1 parked events were sent to be rated again, as the catalog knows them now"] * 2
    assert len(sent_again(settings)) == 2
