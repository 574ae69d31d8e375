"""`ratemill topics` on a real broker: what is missing is made, what is wrong is said, nothing is changed."""

import time

import pytest
from confluent_kafka.admin import NewTopic

from dataflows.connectors.kafka_client import admin_client, answer
from dataflows.settings import Settings
from ops.topics import PLANS, check_topics
from tests.ops.ratemill import inside

PARTITIONS = {"metering.events": 3, "catalog": 1, "rated.line-items": 3, "notifications": 3, "quota.verdicts": 3}
PARTITIONS |= {"invoices": 3, "metering.rejected": 3, "relay.positions": 1}
COMPACTED = {"catalog", "quota.verdicts", "relay.positions"}


@pytest.fixture
def run_topics(broker, topic_prefix, monkeypatch):
    stated = {
        "RATEMILL_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        "RATEMILL_TOPIC_PREFIX": topic_prefix,
        "RATEMILL_TOPIC_PARTITIONS": "3",
    }

    def run(*options, **changes):
        for name, value in (stated | changes).items():
            monkeypatch.setenv(name, value)
        return inside("topics", *options)

    return run


@pytest.fixture
def settings(broker, topic_prefix):
    return Settings(kafka={"bootstrap.servers": broker.bootstrap}, topic_prefix=topic_prefix, topic_partitions=3)


def make(settings, name, partitions, **config):
    admin = admin_client(settings)
    topic = settings.topic_prefix + name
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    answer(admin, admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic])
    end = time.monotonic() + 10
    while report_on(settings, name).state == "missing" and time.monotonic() < end:
        time.sleep(0.1)


def report_on(settings, name):
    [report] = [report for report in check_topics(settings, make=False) if report.topic == settings.topic_prefix + name]
    return report


def test_what_is_missing_is_made_and_found_again(run_topics, topic_prefix):
    looked = run_topics("--check", "--json")
    assert looked.code == 1
    assert {topic["state"] for topic in looked.json()["topics"]} == {"missing"}
    assert run_topics("--check", "--json").json() == looked.json(), "looking makes nothing"
    made = run_topics("--json")
    assert made.code == 0, made.err
    assert made.json()["problems"] == made.json()["warnings"] == 0
    assert {
        topic["topic"]: (topic["state"], topic["partitions"], topic["replication"], topic["cleanup_policy"])
        for topic in made.json()["topics"]
    } == {
        topic_prefix + name: ("made", partitions, 1, "compact" if name in COMPACTED else "delete")
        for name, partitions in PARTITIONS.items()
    }
    again = run_topics("--check", "--json")
    assert again.code == 0
    assert {topic["state"] for topic in again.json()["topics"]} == {"there"}
    shown = run_topics()
    assert shown.code == 0
    assert f"{topic_prefix}metering.events" in shown.out
    assert "All topics are there" in shown.out


def test_the_topics_are_those_of_the_contract():
    assert {plan.name for plan in PLANS} == set(PARTITIONS)


def test_topics_that_cannot_be_used_are_said_and_left_alone(run_topics, settings):
    make(settings, "metering.events", 3, max_message_bytes=20_000)
    make(settings, "catalog", 2, cleanup_policy="delete")
    make(settings, "invoices", 3, cleanup_policy="compact")
    ran = run_topics()
    assert ran.code == 1
    prefix = settings.topic_prefix
    assert f"- {prefix}metering.events has max.message.bytes=20000 and needs 69632" in ran.out
    assert f"- {prefix}catalog has cleanup.policy=delete and needs compact" in ran.out
    assert f"- {prefix}catalog has 2 partitions and needs 1" in ran.out
    assert f"- {prefix}invoices has cleanup.policy=compact and needs delete" in ran.out
    assert report_on(settings, "notifications").problems == ()
    assert report_on(settings, "catalog").found.partitions == 2


def test_what_is_odd_is_said_and_is_no_failure(run_topics, settings):
    make(settings, "metering.events", 2, retention_ms=24 * 3_600_000)
    ran = run_topics("--json", RATEMILL_LATENESS_HOURS="48", RATEMILL_TOPIC_REPLICATION="1")
    assert ran.code == 0, ran.out
    assert ran.json()["problems"] == 0
    [events] = [topic for topic in ran.json()["topics"] if topic["topic"].endswith("metering.events")]
    assert events["warnings"] == [
        "has 2 partitions, fewer than RATEMILL_TOPIC_PARTITIONS=3",
        "keeps records for 24 hours, less than RATEMILL_LATENESS_HOURS=48",
    ]
    assert ran.json()["warnings"] == 2
    assert report_on(settings, "metering.events").warnings == (events["warnings"][0],), "no lateness, no such warning"
    copies = settings.model_copy(update={"topic_replication": 2})
    assert "has 1 copies, fewer than RATEMILL_TOPIC_REPLICATION=2" in report_on(copies, "catalog").warnings


def test_more_copies_than_brokers_are_told(run_topics):
    ran = run_topics(RATEMILL_TOPIC_REPLICATION="3")
    assert ran.code == 1
    assert ran.err.startswith("The cluster has too few brokers for 3 copies of the topic ")
    assert ran.err.rstrip().endswith("lower RATEMILL_TOPIC_REPLICATION.")
