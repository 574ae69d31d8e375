"""The rating flow on a topic: the ledger of files, idle partitions, lag, binary mode, restarts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.connectors.kafka_client import client_settings, topic_name
from dataflows.connectors.kafka_reader import TopicReader
from dataflows.connectors.topic import topic_input
from dataflows.ledger.folder import open_folder
from dataflows.ledger.published import read_table
from dataflows.preparation import prepare
from dataflows.processes import free_addresses
from dataflows.settings import Settings
from dataflows.steps.first_sights import FirstSights
from ops.bench.kafka_cpu import cpu_seconds
from rating.engine import GroupState, RatingSettings
from tests.flow.catalogs import version
from tests.flow.runs import finish
from tests.flow.world import World, assert_conserved, ledger_rows, make_world
from tests.kafka.faults.acts import kill, wait_for_children
from tests.kafka.flows import (
    ROOT,
    add_partitions,
    event,
    lines_of,
    make_topics,
    running,
    send,
    settings_for,
    start_flow,
    stop,
    wait_for,
    wait_until_received,
)

# What a topic knows better than a file: when a record was written. The topic's catalog has another order of entries.
_OF_THE_LOG = ["record_time", "event_time", "catalog_digest"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), events_per_file=1_500)


@pytest.fixture
def settings(broker, topic_prefix) -> Settings:
    return settings_for(broker, topic_prefix, topic_partitions=3)


def rows(ledger: Path) -> dict[str, pl.DataFrame]:
    tables = ledger_rows(ledger)
    # Of a window that was over when its record was written no verdict is told.
    del tables["quota_verdicts"]
    return {table: frame.drop(_OF_THE_LOG, strict=False) for table, frame in tables.items()}


@pytest.mark.parametrize("change", [{}, {"processes": 2, "workers": 2}], ids=["one process", "two of two workers"])
def test_the_ledger_of_a_topic_is_that_of_files(world, settings, tmp_path, change):
    settings = settings.model_copy(update=change)
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events))
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", sent, flow)
    finish(world, tmp_path / "files", Settings())
    found, wanted = rows(tmp_path / "ledger"), rows(tmp_path / "files")
    for table, expected in wanted.items():
        assert found[table].equals(expected), table
    assert_conserved(tmp_path / "ledger", sent, wanted["line_items"].height)


def test_a_worker_that_waits_for_another_process_leaves_its_processor_alone(world, settings, tmp_path):
    """One of two processes stands still, so nothing is committed, and the other one has nothing to do."""
    settings = settings.model_copy(update={"processes": 2})
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events))
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", sent, flow)
        waiting, paused = wait_for_children(flow, 2)
        kill([paused], signal.SIGSTOP)
        used = []
        try:
            # On a busy machine it may have something left to do at first.
            while len(used) < 6 and min(used, default=4) >= 1:
                before = cpu_seconds(waiting)
                time.sleep(4)
                used.append(cpu_seconds(waiting) - before)
        finally:
            kill([paused], signal.SIGCONT)
    assert min(used) < 1, f"{used} s of processor time, each in 4 s of waiting"


def test_silence_does_not_hold_back_progress(world, settings, tmp_path):
    """Two partitions are idle, one of them for ever."""
    make_topics(settings, world.catalog)
    sent = send(settings, [(0, None, line) for _, _, line in lines_of(world.events[:1])])
    silent_since = time.time()
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", sent, flow)
        wait_for(lambda: progress(tmp_path / "ledger") > silent_since + 1, flow)
        said = progress(tmp_path / "ledger")
        assert said <= time.time()
        sent += send(settings, [(1, None, json.dumps(event("late-1", "sub-0-1")).encode())])
        wait_until_received(tmp_path / "ledger", sent, flow)
        assert progress(tmp_path / "ledger") >= said
    commits = read_table(tmp_path / "ledger", "commits").sort("writer", "sequence")
    for own in commits.partition_by("writer"):
        known = own["progress"].drop_nulls()
        assert known.is_sorted()


def progress(ledger: Path) -> float:
    moments = read_table(ledger, "commits").sort("sequence").group_by("writer").last()["progress"]
    return 0.0 if moments.null_count() or moments.is_empty() else moments.min().timestamp()


def test_lag_dashboards_see_how_far_we_are(world, settings, tmp_path):
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events))
    topic = topic_name(settings, "metering.events")
    group = Consumer(client_settings(settings, {"group.id": settings.group}))
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", sent, flow)
        asked = [TopicPartition(topic, partition) for partition in range(3)]
        wait_for(lambda: sum(max(place.offset, 0) for place in group.committed(asked, 10)) == sent, flow)
    group.close()


def test_what_is_read_between_two_commits_is_bounded(world, settings, tmp_path):
    settings = settings.model_copy(update={"epoch_bytes": 1 << 17, "epoch_seconds": 1.0, "batch_records": 200})
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events))
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", sent, flow)
    commits = read_table(tmp_path / "ledger", "commits").group_by("sequence").agg(pl.col("received").sum())
    shortest = min(len(line) for _, _, line in lines_of(world.events) if b"broken" not in line)
    # What was kept ready before is taken at once: a batch, and a poll of one for each partition.
    taken_at_once = 200 + 3 * 200
    assert 1 < commits["received"].max() <= (1 << 17) // shortest + taken_at_once < sent


def test_binary_mode_and_what_is_refused_keeps_its_key_and_headers(world, settings, tmp_path):
    make_topics(settings, world.catalog)
    topic = topic_name(settings, "metering.events")
    producer = Producer(client_settings(settings, {}))
    attributes = {"specversion": "1.0", "id": "b1", "source": "api", "type": "call", "subscription": "sub-0-1"}
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    producer.produce(topic, b'{"tokens": 3, "region": "eu"}', b"sub-0-1", 0, headers=headers)
    producer.produce(topic, json.dumps(event("s1", "sub-0-1")).encode(), b"sub-0-1", 0)
    producer.produce(topic, b"\xffgarbage", b"\xfe", 0, headers=[("trace", b"abc"), ("empty", None)])
    producer.produce(topic, None, b"key", 0)
    producer.produce(topic, b"no JSON", None, 0, headers=headers[:1])
    assert producer.flush(30) == 0
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", 5, flow)
    events = read_table(tmp_path / "ledger", "events").sort("offset")
    assert events["verdict"].to_list() == ["rated", "rated", "rejected", "rejected", "rejected"]
    assert events["event_id"].to_list()[:2] == ["b1", "s1"]
    assert json.loads(events["data"][0]) == {"tokens": 3, "region": "eu"}
    assert json.loads(events["data"][2]) == {
        "record_hex": b"\xffgarbage".hex(),
        "key_hex": "fe",
        "headers": [{"name": "trace", "value": "abc"}, {"name": "empty"}],
    }
    assert json.loads(events["data"][3]) == {"record": "", "key": "key"}
    assert json.loads(events["data"][4]) == {
        "record": "no JSON",
        "headers": [{"name": "ce_specversion", "value": "1.0"}],
    }


def test_partitions_that_are_added_are_read_soon_and_from_their_beginning(world, settings, tmp_path):
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events[:2]))
    flow = start_flow(settings.model_copy(update={"workers": 3}), tmp_path / "ledger")
    try:
        wait_until_received(tmp_path / "ledger", sent, flow)
        add_partitions(settings, 5)
        sent += send(settings, [(4, None, json.dumps(event("new", "sub-2-1")).encode())])
        wait_until_received(tmp_path / "ledger", sent, flow)
        said = stop(flow)
    finally:
        flow.kill()
    assert "has 5 partitions now and had 3: reading all of them needs a new start; starting again" in said.lower()
    assert read_table(tmp_path / "ledger", "events").filter(partition=4)["verdict"].to_list() == ["rated"]


def test_a_stop_rates_nothing_by_a_catalog_that_may_no_longer_be_in_effect(world, settings, tmp_path):
    """Nobody has said up to when all catalogs are known, so records wait; a stop ends the waiting."""
    make_topics(settings, world.catalog)
    send(settings, lines_of(world.events[:1]))
    folder = open_folder(tmp_path / "ledger", settings.key_groups, settings.writers)
    prepare(folder)
    history = CatalogHistory(folder.root)
    history.add(version("first", 0))
    versions, stopping, polls = CatalogVersions(history), Event(), []
    reader = TopicReader(topic_input(folder, settings), 0, versions, settings, stopping.is_set)

    def read() -> None:
        while not stopping.is_set():
            polls.append(reader.read())

    thread = Thread(target=read)
    thread.start()
    thread.join(3)
    stopping.set()
    thread.join(30)
    reader.close()
    assert polls
    assert not any(poll.batches or poll.idle for poll in polls)


def test_a_restart_looks_back_as_far_as_the_lateness_reaches(world, settings, tmp_path):
    """One event a minute over five hours; every commit keeps files of its own."""
    settings = settings.model_copy(update={"lateness_hours": 2, "batch_records": 20, "merge_files": 10_000})
    make_topics(settings, world.catalog)
    began = int(time.time() * 1000) - 300 * 60_000
    producer = Producer(client_settings(settings, {}))
    topic = topic_name(settings, "metering.events")

    def produce(minute: int, at: int) -> None:
        value = json.dumps(event(f"m-{minute}", "sub-0-1")).encode()
        producer.produce(topic, value, partition=0, timestamp=began + at * 60_000)

    for minute in range(300):
        produce(minute, minute)
    assert producer.flush(30) == 0
    ledger = tmp_path / "ledger"
    with running(settings, ledger) as flow:
        wait_until_received(ledger, 300, flow)
        wait_for(lambda: progress(ledger) == 0.0 or progress(ledger) > began / 1000 + 299 * 60, flow)
    lateness, catalog = settings.lateness_us, world.compiled()
    sights = FirstSights(open_folder(ledger, 16, 2), RatingSettings(16, lateness))
    seen = sum(len(sights.give(GroupState.new(group, lateness), catalog).duplicates) for group in range(16))
    assert 120 <= seen < 260
    produce(300 - 60, 299)
    produce(300, 299)
    assert producer.flush(30) == 0
    with running(settings, ledger) as flow:
        wait_until_received(ledger, 302, flow)
    verdicts = read_table(ledger, "events").sort("offset")["verdict"].to_list()
    assert verdicts[-2:] == ["duplicate", "rated"]


@pytest.mark.parametrize("processes", [1, 2])
def test_bytewax_own_command(world, settings, tmp_path, processes):
    """On a ledger that is not there yet, and the processes begin at once."""
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events))
    ledger = tmp_path / "ledger"
    environment = os.environ | {
        "RATEMILL_LEDGER": str(ledger),
        "RATEMILL_LATENESS_HOURS": "840",
        "RATEMILL_TOPIC_PREFIX": settings.topic_prefix,
        "RATEMILL_KAFKA_BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
    }
    command = [sys.executable, "-m", "bytewax.run", "dataflows.rating", "-r", str(ledger / "recovery"), "-s", "1"]
    addresses = ";".join(free_addresses(processes))
    flows = [
        subprocess.Popen([*command, "-b", "0", *peers], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for peers in ([["-i", str(number), "-a", addresses] for number in range(processes)] if processes > 1 else [[]])
    ]
    wait_until_received(ledger, sent, flows[0])
    for flow in flows:
        flow.kill()
        flow.communicate()
    sent += send(settings, [(0, None, json.dumps(event("last", "sub-0-1")).encode())])
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)


def test_a_second_flow_on_the_same_ledger(world, settings, tmp_path):
    make_topics(settings, world.catalog)
    with running(settings, tmp_path / "ledger") as flow:
        wait_for(lambda: (tmp_path / "ledger" / "recovery").exists(), flow)
        second = start_flow(settings, tmp_path / "ledger")
        said = second.communicate(timeout=60)[1]
        assert second.returncode == 1
        assert said.strip().splitlines()[-1] == f"The ledger {tmp_path / 'ledger'} is in use by another process."
