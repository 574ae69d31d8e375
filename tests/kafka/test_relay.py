"""The relay on a real broker: whoever reads committed messages sees each of the ledger once, in order per key."""

import itertools
import os
import random
import shutil
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

import dataflows.relay
from dataflows.connectors import relay_producer
from dataflows.connectors.relay_producer import RelayProducer
from dataflows.ledger import manifest
from dataflows.ledger.relay_note import FILE
from dataflows.relay import run_relay
from dataflows.settings import Settings
from tests.flow.runs import BUSY, start
from tests.flow.world import World, make_world
from tests.kafka.relay_child import COMMITTING, POINTS
from tests.kafka.relaying import (
    assert_invoices_relayed,
    assert_relayed,
    folder_of,
    following,
    is_paused,
    noted_at,
    rate,
    relay,
    start_relay,
    wait_until,
    with_topics,
)
from tests.settlement.world import START
from tests.settlement.world import rated as rated_to_settle

EVENTS_PER_FILE = 4_000
RANDOM_KILLS = 6
# Kafka looks for transactions that take too long every ten seconds.
SECONDS_UNTIL_KAFKA_NOTICES = 14
SECONDS_TO_STOP = 15


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), EVENTS_PER_FILE)


@pytest.fixture(scope="module")
def rated(world, tmp_path_factory) -> Path:
    """A ledger that nobody has relayed; tests take copies."""
    ledger = tmp_path_factory.mktemp("rated") / "ledger"
    rate(world, ledger, 0, 1, 2)
    return ledger


@pytest.fixture
def ledger(rated, tmp_path) -> Path:
    return Path(shutil.copytree(rated, tmp_path / "ledger"))


@pytest.fixture
def settings(broker, topic_prefix) -> Settings:
    return with_topics(broker, topic_prefix)


def test_everything_arrives_once_and_in_order(world, settings, tmp_path):
    """Between the runs of the relay files are merged, of commits that it has sent and of others."""
    ledger = tmp_path / "ledger"
    sent, met = [0, 0], False
    for file in range(3):
        rate(world, ledger, file)
        met |= any(
            held.sequence_first < position <= held.sequence_last
            for writer, position in enumerate(sent)
            for held in manifest.load(folder_of(ledger).manifest(writer)).live("line_items")
        )
        sent = relay(settings, ledger).positions
        assert_relayed(settings, ledger, world)
    assert met, "no file had commits that were sent and commits that were not"
    again = relay(settings, ledger)
    assert (again.commits, again.messages.total()) == (0, 0)
    assert again.positions == again.published
    assert_relayed(settings, ledger, world)


def test_a_relay_follows_a_flow_that_writes_merges_and_removes_files(world, settings, tmp_path):
    ledger = tmp_path / "ledger"
    with following(settings, ledger) as running:
        process = start(world, ledger, BUSY)
        said = process.communicate()[1]
        assert process.returncode == 0, said
        wait_until(running.has_caught_up, "the relay catches up")
    assert running.remarks == []
    assert running.progress.commits > 10
    assert_relayed(settings, ledger, world)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(world, settings, ledger, point):
    """Twice at the same point, so that a relay that goes on after a kill is killed too."""
    calls = (1, 1) if "earlier" in point or "noted" in point else (2, 5)
    for call in calls:
        process = start_relay(settings, ledger, point=point, call=call)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, f"the relay never came to: {point}"
    relay(settings, ledger)
    assert_relayed(settings, ledger, world)


@pytest.fixture(scope="module")
def settled(tmp_path_factory) -> Path:
    """A ledger with invoices, in several commits, that nobody has relayed; tests take copies."""
    world = rated_to_settle(tmp_path_factory.mktemp("settled") / "one")
    for days in (20, 40, 62):
        world.settle(START + timedelta(days=days))
    return world.root


@pytest.mark.parametrize("point", ["after some rows were sent", COMMITTING, "after a transaction was committed"])
def test_killed_while_invoices_are_sent(settled, settings, tmp_path, point):
    ledger = Path(shutil.copytree(settled, tmp_path / "ledger"))
    died, calls = 0, itertools.count(1)
    while (process := start_relay(settings, ledger, point=point, call=next(calls))).wait(120) == -signal.SIGKILL:
        process.communicate()
        died += 1
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert died > 2, "the relay was not killed often enough"
    assert_invoices_relayed(settings, ledger)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_while_a_flow_writes(world, settings, tmp_path, seed):
    rng = random.Random(seed)
    print(f"seed {seed}")
    ledger = tmp_path / "ledger"
    folder_of(ledger)
    rating = start(world, ledger, BUSY)
    killed = 0
    for _ in range(RANDOM_KILLS):
        process = start_relay(settings, ledger, "FOLLOW")
        noted = noted_at(ledger)
        wait_until(lambda noted=noted: noted_at(ledger) > noted, "a relay starts")
        time.sleep(rng.uniform(0, 1))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    said = rating.communicate(timeout=120)[1]
    assert rating.returncode == 0, said
    assert killed == RANDOM_KILLS, "relays ended by themselves"
    relay(settings, ledger)
    assert_relayed(settings, ledger, world)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_that_goes_away_and_comes_back(world, settings, ledger, broker, end, monkeypatch):
    """It goes in the middle of transactions, three times; the relay waits for it, and says so when it takes long."""
    returns = [threading.Timer(seconds, broker.start) for seconds in (0, 3, 9)]
    leaving = dict(zip((2, 7, 12), returns, strict=True))
    calls = itertools.count(1)
    send = RelayProducer.send

    def sending(*arguments: object) -> int:
        sent = send(*arguments)
        if (comes_back := leaving.get(next(calls))) is not None:
            getattr(broker, end)()
            comes_back.start()
        return sent

    monkeypatch.setattr(RelayProducer, "send", sending)
    remarks: list[str] = []
    try:
        progress = run_relay(settings, folder_of(ledger), threading.Event(), True, remark=remarks.append)
    finally:
        for comes_back in returns:
            comes_back.join()
    assert_relayed(settings, ledger, world)
    assert progress.last_error is None
    waited = [remark for remark in remarks if remark.endswith("waiting, and going on by itself")]
    assert waited
    assert len(remarks) == 2 * len(waited), "one remark when it goes, one when it is back"


def test_a_call_that_stands_still_is_left_to_a_new_producer(world, settings, ledger, broker, monkeypatch):
    """A broker hangs in the middle of a transaction: whether it was committed, the next producer learns."""
    monkeypatch.setattr(relay_producer, "_SECONDS_OF_STANDSTILL", 1.0)
    made = []
    monkeypatch.setattr(dataflows.relay, "RelayProducer", lambda *given: made.append(None) or RelayProducer(*given))
    java = int(Path(f"/proc/{broker.process_id}/task/{broker.process_id}/children").read_text().split()[0])
    awake = threading.Timer(6, os.kill, (java, signal.SIGCONT))
    calls = itertools.count(1)
    send = RelayProducer.send

    def sending(*arguments: object) -> int:
        sent = send(*arguments)
        if next(calls) == 7:
            os.kill(java, signal.SIGSTOP)
            awake.start()
        return sent

    monkeypatch.setattr(RelayProducer, "send", sending)
    run_relay(settings, folder_of(ledger), threading.Event(), True, remark=lambda sentence: None)
    awake.join()
    assert len(made) > 1
    assert_relayed(settings, ledger, world)


def test_a_second_relay_fences_off_the_first(world, settings, ledger):
    """The first one has an open transaction when the second one starts; it says so in a sentence, and ends."""
    first = start_relay(settings, ledger, "FOLLOW", "after some rows were sent", 4, signal.SIGSTOP)
    wait_until(lambda: is_paused(first), "the first relay pauses")
    relay(settings, ledger)
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 1
    assert said.startswith(f"another relay of the ledger {ledger} has started, and this one stops"), said
    assert said.count("\n") == 1
    assert_relayed(settings, ledger, world)


def test_a_transaction_that_took_too_long_is_sent_again(world, settings, ledger):
    """Kafka fences such a relay off as if another one had started."""
    impatient = settings.model_copy(update={"kafka": {**settings.kafka, "transaction.timeout.ms": "1000"}})
    relay_process = start_relay(impatient, ledger, "ONCE", "after some rows were sent", 4, signal.SIGSTOP)
    wait_until(lambda: is_paused(relay_process), "the relay pauses")
    time.sleep(SECONDS_UNTIL_KAFKA_NOTICES)
    relay_process.send_signal(signal.SIGCONT)
    said = relay_process.communicate(timeout=120)[1]
    assert relay_process.returncode == 0, said
    assert_relayed(settings, ledger, world)


@pytest.mark.parametrize(
    ("point", "wish"),
    [
        ("-", signal.SIGTERM),
        ("-", signal.SIGINT),
        ("after some rows were sent", signal.SIGTERM),
        ("before a transaction is committed", signal.SIGINT),
    ],
)
def test_a_relay_that_is_asked_to_stop(world, settings, ledger, point, wish):
    process = start_relay(settings, ledger, "FOLLOW", point, 3, wish)
    if point == "-":
        wait_until(lambda: (ledger / FILE).exists(), "the relay starts")
        process.send_signal(wish)
    said = process.communicate(timeout=30)[1]
    assert (process.returncode, said) == (0, "")
    relay(settings, ledger)
    assert_relayed(settings, ledger, world)


def test_a_relay_that_is_asked_to_stop_while_kafka_is_away(world, settings, ledger, broker):
    remarks = []
    with following(settings, ledger) as running:
        wait_until(lambda: running.progress.commits > 0, "the relay sends")
        broker.kill()
        try:
            rate(world, ledger, 0, 1, 2)
            wait_until(lambda: running.progress.last_error is not None, "the relay notices")
            began = time.monotonic()
            running.stop.set()
            running.thread.join(60)
            assert time.monotonic() - began < SECONDS_TO_STOP
        finally:
            broker.start()
    # A broker that was killed may need some seconds to close what was open, and the relay says that it waits.
    relay(settings, ledger, remark=remarks.append)
    assert all(said.endswith(("going on by itself", "answers again")) for said in remarks), remarks
    assert_relayed(settings, ledger, world)
