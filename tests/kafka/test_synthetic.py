"""The synthetic flow on a real broker: a whole hour, marked, once, whatever restarts; and rated to what was known."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.kafka_client import client_settings, topic_name
from dataflows.ledger.published import read_table
from dataflows.moments import datetime_of
from dataflows.settings import Settings
from dataflows.settlement.reading import look
from dataflows.synthetic import SyntheticPlan, run_synthetic
from ops.settling import settle_ledger
from ops.topics import check_topics
from rating.catalog import compile_catalog
from rating.synthetic import PERIODS, Pace, Shape, simulations, transactions
from rating.synthetic_totals import hour_total, totals
from schemas.decimals import AMOUNT_SCALE, scaled
from tests.kafka.flows import (
    ANY_PARTITION,
    make_topics,
    running,
    send,
    settings_for,
    start_flow,
    stop,
    wait_for,
    wait_until_received,
)

CATALOG = """
subscribers: [{email: joe@acme.example}]
sources: [{id: api}, {id: search}]
products:
  - id: tryout
    version: 1.0.0
    currency: USD
    settlement_period: 5min_synthetic
    charges:
      - id: calls
        meter: {aggregation: count, where: "region = 'eu'"}
        price: {model: graduated, tiers: [{up_to: "20", unit_price: "0.10"}, {unit_price: "0.05", flat_amount: "1"}]}
      - id: tokens
        meter: {aggregation: sum, element: tokens}
        price: {model: volume, tiers: [{up_to: "1000", unit_price: "0.003"}, {unit_price: "0.002"}]}
  - id: real
    version: 1.0.0
    currency: USD
    settlement_period: 5min
    payment_model: transactional
    rate: "0.01"
subscriptions:
  - {id: sub-one, product: tryout@1.0.0, subscriber: joe@acme.example, start: "START"}
  - {id: sub-two, product: tryout@1.0.0, subscriber: joe@acme.example, start: "START"}
  - {id: sub-real, product: real@1.0.0, subscriber: joe@acme.example, start: "START"}
  - {id: sub-old, product: tryout@1.0.0, subscriber: joe@acme.example, start: "2026-01-01T00:00:00Z"}
"""
RATE = 12
NAMES = ("sub-one", "sub-two")


def write_catalog(folder, start):
    folder.mkdir()
    text = CATALOG.replace("START", start.strftime("%Y-%m-%dT%H:%M:%SZ"))
    (folder / "catalog.yaml").write_text(text)
    return folder


def expected(folder, settings):
    """The simulations whose hour is not long over."""
    catalog = load_catalog(folder)
    pace = Pace(settings.synthetic_rate, settings.synthetic_shape, settings.synthetic_seed)
    return [each for each in simulations(catalog, compile_catalog(catalog), pace) if each.subscription.id in NAMES]


def events_of(simulation):
    return [one.event for period in range(PERIODS) for one in transactions(simulation, period)]


@pytest.fixture
def settings(broker, topic_prefix) -> Settings:
    return settings_for(broker, topic_prefix, topic_partitions=3, synthetic_rate=RATE, synthetic_shape="bursts")


def sent(settings):
    """All messages of the topic: key, headers and event, partition by partition."""
    own = {"group.id": "looking", "enable.partition.eof": True}
    consumer = Consumer(client_settings(settings, own))
    topic = topic_name(settings, "metering.events")
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    found, ended, last = [], set(), time.monotonic() + 60
    while len(ended) < 3 and time.monotonic() < last:
        for message in consumer.consume(1_000, 0.5):
            if message.error():
                ended.add(message.partition())
            else:
                found.append((message.key().decode(), dict(message.headers()), json.loads(message.value())))
    consumer.close()
    assert len(ended) == 3
    return found


def test_an_hour_that_is_over_arrives_whole_and_is_rated_to_what_was_known(settings, tmp_path):
    folder = write_catalog(tmp_path / "catalog", datetime.now(UTC) - timedelta(hours=1, minutes=1))
    make_topics(settings, folder)
    progress = run_synthetic(SyntheticPlan(settings, catch_up_minutes=5, until_caught_up=True))
    made = expected(folder, settings)
    wanted = [event for each in made for event in events_of(each)]
    found = sent(settings)
    assert progress.total == len(wanted) == len(found)
    assert sorted(event["id"] for _, _, event in found) == sorted(event["id"] for event in wanted)
    assert all(event["synthetic"] is True and key == event["subscription"] for key, _, event in found)
    assert all(headers == {"content-type": b"application/cloudevents+json"} for _, headers, _ in found)
    for name in NAMES:
        times = [event["time"] for key, _, event in found if key == name]
        assert times == sorted(times)
    # Started again, with two workers: every transaction is sent once more, and none is charged twice.
    again = settings.model_copy(update={"workers": 2})
    run_synthetic(SyntheticPlan(again, catch_up_minutes=5, until_caught_up=True))
    ledger = tmp_path / "ledger"
    with running(settings, ledger) as flow:
        wait_until_received(ledger, 2 * len(wanted), flow)
    verdicts = dict(read_table(ledger, "events")["verdict"].value_counts().rows())
    assert verdicts == {"rated": len(wanted), "duplicate": len(wanted)}
    lines = read_table(ledger, "line_items")
    assert lines["synthetic"].all()
    for each in made:
        for total in totals(each):
            own = lines.filter(
                subscription_id=each.subscription.id,
                charge_id=total.charge,
                period_start=datetime.fromtimestamp(0, UTC)
                + timedelta(microseconds=each.start + (total.period - 1) * 300_000_000),
            )
            assert scaled(own["amount"].sum(), AMOUNT_SCALE, 20) == total.amount, total


def test_the_hour_of_both_modes_becomes_invoices(settings, tmp_path):
    folder = write_catalog(tmp_path / "catalog", datetime.now(UTC) - timedelta(hours=1, minutes=1))
    make_topics(settings, folder)
    progress = run_synthetic(SyntheticPlan(settings, catch_up_minutes=5, until_caught_up=True))
    catalog = load_catalog(folder)
    every = simulations(catalog, compile_catalog(catalog), Pace(RATE, Shape.BURSTS), ("5min", "5min_synthetic"))
    made = [each for each in every if each.subscription.id != "sub-old"]
    (real,) = (each for each in made if each.subscription.id == "sub-real")
    # Real usage of a test mode: the same events, without the mark.
    events = [{name: said for name, said in event.items() if name != "synthetic"} for event in events_of(real)]
    sent = send(settings, [(ANY_PARTITION, b"sub-real", json.dumps(event).encode()) for event in events])
    ledger = tmp_path / "ledger"
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent + progress.total, flow)
        wait_for(lambda: is_complete(ledger, max(each.end for each in made)), flow)
        settle_ledger(ledger, settings, as_of=datetime_of(made[0].end))
    assert read_table(ledger, "settled_periods").filter(outcome="waiting").is_empty()
    invoices = read_table(ledger, "invoices")
    lines = read_table(ledger, "invoice_lines")
    for each in made:
        name = each.subscription.id
        own = invoices.filter(subscription_id=name)
        assert own["period"].sort().to_list() == [*range(1, PERIODS + 1)]
        assert own["synthetic"].unique().to_list() == [name != "sub-real"]
        exact = lines.filter(subscription_id=name)["exact_amount"].sum()
        assert scaled(exact, AMOUNT_SCALE, 20) == hour_total(each, totals(each))
    kinds = read_table(ledger, "notifications").group_by("kind", "subscription_id").len()
    assert sorted(kinds.filter(kind="test_mode_ended").select("subscription_id", "len").rows()) == [
        ("sub-old", 1), ("sub-one", 1), ("sub-real", 1), ("sub-two", 1)
    ]  # fmt: skip


def is_complete(ledger, moment):
    """Whether no event up to a moment (microseconds UTC) can come any more, as far as the ledger has published."""
    with look(ledger) as reader:
        progress = reader.completeness(2).progress
    return progress is not None and progress >= moment


def test_the_command_sends_what_is_due_and_goes_on_until_it_is_stopped(settings, tmp_path):
    folder = write_catalog(tmp_path / "catalog", datetime.now(UTC) - timedelta(minutes=30))
    make_topics(settings, folder)
    flow = start_flow(settings, None, "synthetic")
    wanted = {event["id"]: event["time"] for each in expected(folder, settings) for event in events_of(each)}
    last = time.monotonic() + 60
    while len(found := sent(settings)) < len(wanted) // 3 and time.monotonic() < last:
        time.sleep(0.2)
    stop(flow)
    moment = datetime.now(UTC).isoformat()
    found = [event for _, _, event in sent(settings)]
    assert {event["id"] for event in found} <= {name for name, at in wanted.items() if at < moment}
    assert len(found) >= len(wanted) // 3


def test_without_a_catalog_it_says_what_to_do(settings):
    check_topics(settings, make=True)
    flow = start_flow(settings, None, "synthetic")
    said = flow.communicate(timeout=60)[1]
    assert flow.returncode == 1
    assert "ratemill publish" in said
