"""The Kafka part of the benchmark works on tiny sizes, and its parts measure what they say."""

import os
import subprocess
import sys
import time
from decimal import Decimal

import orjson
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from dataflows.ledger.published import read_table
from ops.bench import kafka
from ops.bench.floors import floors_of
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.kafka_peer import NoPeerError, expected
from ops.bench.kafka_processes import wide_fillers
from ops.bench.kafka_report import KAFKA_STAGES, kafka_sheets, kafka_words
from ops.bench.kafka_topic import PARTITIONS, close_gate, fill, key_of, make_topics, records_of, settings_for
from ops.bench.scenario import Scenario, subscription_id, traffic_file
from ops.bench.worker import measure
from ops.kafka.installation import NotInstalledError
from schemas.events import ELEMENTS_LIMIT

TINY = Scenario(50, 2_000)


@pytest.fixture
def traffic(tmp_path):
    return traffic_file(TINY, tmp_path)


def committed_records(broker, topic, seconds):
    """What a reader of committed records gets to see in so many seconds."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic, "fetch.wait.max.ms": 100})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    found, last = [], time.monotonic() + seconds
    while time.monotonic() < last and len(found) < TINY.events:
        found += consumer.consume(TINY.events, 0.2)
    consumer.close()
    assert not any(message.error() for message in found)
    return found


def test_a_closed_gate_hides_a_topic_until_it_is_opened(broker, topic_prefix, traffic):
    settings = settings_for(broker.bootstrap, topic_prefix)
    topic = make_topics(settings, TINY.subscriptions)
    open_gate = close_gate(settings)
    assert fill(settings, records_of(traffic)) == TINY.events
    assert committed_records(broker, topic, 1) == []
    open_gate()
    found = committed_records(broker, topic, 20)
    assert sorted(message.value() for message in found) == sorted(traffic.read_bytes().splitlines())
    assert all(message.key() == key_of(message.value()) for message in found)
    assert {(message.key(), message.partition()) for message in found} == {
        (subscription_id(number).encode(), number % PARTITIONS) for number in range(TINY.subscriptions)
    }


def test_the_peers_replay_is_what_our_ledger_says(broker, topic_prefix, traffic, tmp_path):
    place = {"bootstrap": broker.bootstrap, "prefix": topic_prefix}
    measure("kafka_topic", **place, path=traffic, subscriptions=TINY.subscriptions)
    ledger = tmp_path / "ledger"
    flow = measure("kafka_flow", **place, broker=broker.process_id, events=TINY.events, ledger=ledger)
    assert all(flow["stages"][stage] > 0 for stage in KAFKA_STAGES)
    assert flow["verdicts"]["rated"] + flow["verdicts"]["exempt"] == TINY.events
    lines, events = read_table(ledger, "line_items"), read_table(ledger, "events")
    received = dict(events.group_by("partition").len().iter_rows())
    assert expected(traffic, received) == (lines.height, Decimal(lines["amount"].sum()))
    fewer = {partition: count // 2 for partition, count in received.items()}
    assert expected(traffic, fewer)[0] < lines.height


def test_wide_records_are_events(traffic):
    fillers = wide_fillers(3)
    assert len(set(fillers)) == 3
    for (_, key, value), line in zip(records_of(traffic, fillers), traffic.read_bytes().splitlines(), strict=True):
        event, plain = orjson.loads(value), orjson.loads(line)
        assert 30 < len(event["data"]) <= ELEMENTS_LIMIT
        assert event["data"].items() > plain["data"].items()
        assert event | {"data": plain["data"]} == plain
        assert key.decode() == event["subscription"]
        assert 1_000 < len(value) < 2_048


def test_cpu_time_is_that_of_a_process_and_those_below_it():
    busy = "import subprocess, sys, time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
    below = f"subprocess.run([sys.executable, '-c', {busy.format(0.4) + 'print(1, flush=True); sys.stdin.read()'!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", busy.format(0.4) + below], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert 0.7 < cpu_seconds(process.pid) < 5
        process.stdin.close()
    assert cpu_seconds(process.pid) == 0
    assert cpu_seconds(os.getpid()) > 0


def test_without_a_broker_kafka_is_left_out_with_a_sentence(monkeypatch):
    def missing():
        raise NotInstalledError("no Java was found")

    monkeypatch.setattr(kafka, "find_java", missing)
    told = []
    measured = kafka.measure_kafka(kafka.QUICK_KAFKA, 1, str, told.append)
    assert measured == {"absent": "no Java was found"}
    assert told == ["Kafka is left out: no Java was found"]
    assert kafka_words(measured) == "Kafka was not measured: no Java was found.\n"
    assert list(kafka_sheets(measured)) == floors_of({"kafka": measured}) == []


@pytest.mark.slow
def test_the_whole_kafka_part_runs_tiny(broker, tmp_path, monkeypatch):
    def no_peer(*_):
        raise NoPeerError("its environment takes too long to make")

    monkeypatch.setattr(kafka, "measure_peer", no_peer)
    sizes = kafka.KafkaSizes(TINY, 0, TINY, (2,), paced_seconds=2, warm_up_seconds=1, idle_partitions=8, idle_seconds=1)
    measured = kafka.measure_kafka(sizes, 1, lambda scenario: str(traffic_file(scenario, tmp_path)), lambda _: None)
    assert measured["flow"]["events"] == TINY.events
    assert [(run["processes"], run["events"]) for run in measured["processes"]] == [(2, TINY.events)]
    latency = measured["latency"]
    # Half of the records wait for half an epoch or longer; a commit is published as soon as it is kept (0021).
    assert latency["epoch"] / 2 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"] < 60
    assert latency["producer"]["sent"] == 3 * latency["asked_per_second"]
    assert measured["idle"]["cores"] > 0
    assert [sheet.title.split()[0] for sheet in kafka_sheets(measured)] == [
        "Kafka",
        "Kafka:",
        "Large",
        "Producer",
        "Idle",
    ]
    assert "The peer was not measured: its environment takes too long to make." in kafka_words(measured)
    names = [floor.name for floor in floors_of({"kafka": measured})]
    assert len(names) == 6
    assert not any("Quix" in name for name in names)
