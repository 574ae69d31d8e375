"""`ratemill produce` on a real broker: every line of a file arrives, in order and as it is, or is named."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from confluent_kafka import Consumer, TopicPartition

from dataflows.settings import Settings
from ops.producing import key_of
from ops.topics import check_topics
from tests.ops.ratemill import ROOT, event, inside, ratemill

ODD_LINES = [
    '{"id": "cut", "source": "api", "subscr',
    "no json at all",
    '{"id": 1, "subscription": 7, "data": "\\u00e4"}',
]


@pytest.fixture
def stated(broker, topic_prefix, monkeypatch):
    """The environment of a command whose topics are there; it is that of the test, too."""
    settings = Settings(kafka={"bootstrap.servers": broker.bootstrap}, topic_prefix=topic_prefix, topic_partitions=3)
    check_topics(settings, make=True)
    environment = {
        "RATEMILL_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        "RATEMILL_TOPIC_PREFIX": topic_prefix,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def received(stated):
    """All records of the topic, partition by partition, as they stand there."""
    consumer = Consumer(
        {
            "bootstrap.servers": stated["RATEMILL_KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": "test",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    topic = stated["RATEMILL_TOPIC_PREFIX"] + "metering.events"
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    records, ended = defaultdict(list), set()
    deadline = time.monotonic() + 60
    while len(ended) < 3 and time.monotonic() < deadline:
        for message in consumer.consume(1000, 1):
            if message.error() is None:
                records[message.partition()].append(message)
            else:
                ended.add(message.partition())
    consumer.close()
    assert len(ended) == 3
    return [message for partition in sorted(records) for message in records[partition]]


def lines(count, start=0):
    return [json.dumps(event(f"e{number}", f"sub-{number % 7}")) for number in range(start, start + count)]


def write(path, texts):
    path.write_text("".join(text + "\n" for text in texts))
    return path


def test_every_line_arrives_as_it_is_under_its_key_and_in_its_order(tmp_path, stated):
    sent = lines(500)
    plain = write(tmp_path / "a.ndjson", [*sent[:200], "", "  ", *ODD_LINES])
    packed = tmp_path / "b.ndjson.gz"
    packed.write_bytes(gzip.compress("\n".join(sent[200:350]).encode()))
    zst = tmp_path / "c.zst"
    zst.write_bytes(zstandard.compress("\n".join(sent[350:]).encode()))
    ran = ratemill("produce", "--events", plain, packed, zst, "--json", **stated)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert (ran.json()["delivered"], ran.json()["failed"]) == (503, 0)
    records = received(stated)
    assert sorted(record.value().decode() for record in records) == sorted([*sent, *ODD_LINES])
    assert {tuple(record.headers()) for record in records} == {(("content-type", b"application/cloudevents+json"),)}
    for name in {f"sub-{number}" for number in range(7)}:
        own = [json.loads(record.value())["id"] for record in records if record.key() == name.encode()]
        assert own == [json.loads(line)["id"] for line in sent if json.loads(line)["subscription"] == name]
        assert own != []
        assert len({record.partition() for record in records if record.key() == name.encode()}) == 1
    assert sorted(record.value().decode() for record in records if record.key() is None) == sorted(ODD_LINES)


def test_rows_of_a_parquet_file_arrive_as_events(tmp_path, stated):
    table = pa.table(
        {"id": ["p1", "p2"], "source": ["api", "api"], "credential": ["key1", None], "data": ['{"a": 1}', None]}
    )
    pq.write_table(table, tmp_path / "events.parquet")
    ran = inside("produce", "--events", tmp_path / "events.parquet")
    assert ran.code == 0, ran.err
    assert "2 events delivered to" in ran.out
    records = sorted(received(stated), key=lambda record: record.value())
    assert [json.loads(record.value()) for record in records] == [
        {"id": "p1", "source": "api", "credential": "key1", "data": {"a": 1}},
        {"id": "p2", "source": "api"},
    ]
    assert [record.key() for record in records] == [b"key1", None]


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (b'{"subscription": "s", "subject": "j", "credential": "c"}', "s"),
        (b'{"credential": "c", "subject": "j", "data": {"subscription": "other"}}', "j"),
        (b'{"credential": "c", "subscription": null}', "c"),
        (b'{"credential": "", "subscription": ""}', None),
        (b'{"subscription": 5, "credential": "c"}', None),
        (b'{"subscription": "\\ud800"}', None),
        (b"[1]", None),
        (b"", None),
    ],
)
def test_the_key_is_who_the_usage_belongs_to(record, key):
    assert key_of(record) == key


def test_what_does_not_arrive_is_named_with_its_line(tmp_path, stated):
    huge = json.dumps(event("huge", data={"text": "x" * 2_000_000}))
    file = write(tmp_path / "events.ndjson", ["", *lines(3), huge, *lines(2, 3), huge])
    ran = inside("produce", "--events", file, "--json")
    assert ran.code == 1
    assert (ran.json()["delivered"], ran.json()["failed"]) == (5, 2)
    assert [(failure["file"], failure["line"]) for failure in ran.json()["failures"]] == [
        (str(file), 5),
        (str(file), 8),
    ]
    assert all("too large" in failure["reason"] for failure in ran.json()["failures"])
    assert len(received(stated)) == 5
    shown = inside("produce", "--events", file)
    assert shown.code == 1
    assert "2 not delivered" in shown.out


def test_the_pace_is_kept(tmp_path, stated):
    file = write(tmp_path / "events.ndjson", lines(300))
    ran = inside("produce", "--events", file, "--rate", "150", "--json")
    assert ran.json()["delivered"] == 300
    assert 1.8 < float(ran.json()["seconds"]) < 10


def test_a_file_that_is_none_stops_all_before_anything_is_sent(tmp_path, stated):
    good = write(tmp_path / "good.ndjson", lines(3))
    for bad in (tmp_path / "missing.ndjson", tmp_path):
        ran = inside("produce", "--events", good, bad)
        assert ran.code == 1
        assert str(bad) in ran.err
        assert len(ran.err.splitlines()) == 1
    floats = tmp_path / "floats.parquet"
    pq.write_table(pa.table({"id": ["1"], "amount": [1.5]}), floats)
    assert "column `amount` holds floats" in inside("produce", "--events", good, floats).err
    assert received(stated) == []


def test_a_topic_that_is_not_there_is_told_and_not_made(tmp_path, stated, monkeypatch):
    file = write(tmp_path / "events.ndjson", lines(3))
    monkeypatch.setenv("RATEMILL_TOPIC_PREFIX", "nowhere.")
    for _ in range(2):
        ran = inside("produce", "--events", file)
        assert ran.code == 1
        assert "has no topic nowhere.metering.events: make it with `ratemill topics`" in ran.err
    assert inside("produce").code == 2


def start(file, rate, stated, **more):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RATEMILL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "produce", "--events", str(file), "--rate", str(rate), "--json"],
        env=environment | {"PYTHONPATH": str(ROOT)} | stated | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_records(stated, count):
    end = time.monotonic() + 30
    while len(received(stated)) < count:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_stopped_by_hand_it_says_how_far_it_came(tmp_path, stated):
    process = start(write(tmp_path / "events.ndjson", lines(5_000)), 200, stated)
    wait_for_records(stated, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("Stopped; sending the files again charges nothing twice")
    assert 0 < json.loads(out)["delivered"] == len(received(stated)) < 5_000


def test_a_broker_that_goes_and_does_not_come_back_in_time_is_told(tmp_path, stated, broker):
    process = start(
        write(tmp_path / "events.ndjson", lines(400)), 100, stated, RATEMILL_KAFKA_MESSAGE_TIMEOUT_MS="2000"
    )
    try:
        wait_for_records(stated, 1)
        broker.kill()
        out, err = process.communicate(timeout=120)
    finally:
        broker.start()
    assert process.returncode == 1, err
    told = json.loads(out)
    assert told["delivered"] + told["failed"] == 400
    assert len(told["failures"]) == told["failed"] > 0
    named = {failure["line"] for failure in told["failures"]}
    assert len(named) == told["failed"]
    assert {failure["reason"] for failure in told["failures"]} != {""}
    there = {json.loads(record.value())["id"] for record in received(stated)}
    assert {f"e{number - 1}" for number in range(1, 401) if number not in named} <= there


def test_a_broker_that_comes_back_loses_and_repeats_nothing(tmp_path, stated, broker):
    process = start(write(tmp_path / "events.ndjson", lines(1_000)), 250, stated)
    try:
        wait_for_records(stated, 1)
        broker.kill()
    finally:
        broker.start()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["delivered"] == 1_000
    identities = [json.loads(record.value())["id"] for record in received(stated)]
    assert sorted(identities) == sorted(f"e{number}" for number in range(1_000))
