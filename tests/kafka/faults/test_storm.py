"""A storm of repeats: gateways that retry send each event up to five times, on any partition, across restarts."""

import json
import random
from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest

from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from tests.flow.world import SUBSCRIPTIONS_PER_FILE, assert_conserved, make_world
from tests.kafka.faults.acts import kill_all, wait_for_news
from tests.kafka.faults.oracle_compare import Kept, oracle_for
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import MONTH, Gateway, lately
from tests.kafka.flows import assert_verified, make_topics, running, start_flow, wait_until_received

SOAK_ROUNDS = 5
PARTITIONS = 3
# How many records after the first one a repeat may come; all of them lie within the lateness.
_FURTHEST = 600


@pytest.mark.timeout(1200)
def test_each_event_is_rated_once(broker, topic_prefix, tmp_path, seed, soak):
    rng = random.Random(seed)
    number = 6_000 if soak else 800
    world = make_world(tmp_path / "world", 0, PARTITIONS, seed, MONTH, caps=False)
    settings = settings_of_faults(broker, topic_prefix, PARTITIONS)
    make_topics(settings, world.catalog)
    began = lately()
    events = [_event(rng, index, began) for index in range(number)]
    ledger = tmp_path / "ledger"
    kills = 6 if soak else 2
    with Gateway(settings, _storm(rng, events, began), number * 3 / (kills * 12)) as gateway:
        for _ in range(kills):
            flow = start_flow(_rescaled(rng, settings), ledger)
            try:
                wait_for_news(ledger, flow)
            finally:
                kill_all(flow)
        with running(_rescaled(rng, settings), ledger) as flow:
            sent = gateway.finish()
            wait_until_received(ledger, sent, flow)
    _assert_each_once(ledger, events, sent)
    assert_verified(ledger, settings)
    lines = _assert_amounts(settings, world.catalog, ledger, events, began)
    SUMMARY.add("storm of repeats", kills, sent + lines)


def _event(rng: random.Random, index: int, began: datetime) -> bytes:
    owner = f"sub-{rng.randrange(PARTITIONS)}-{rng.randrange(SUBSCRIPTIONS_PER_FILE)}"
    data = {
        "tokens": str(rng.randrange(1, 400) / 4),
        "region": rng.choice(["eu", "us"]),
        "user": f"u{rng.randrange(99)}",
    }
    event = {"id": f"e-{index}", "source": "api", "time": began.isoformat(), "subscription": owner, "data": data}
    return json.dumps(event).encode()


def _storm(rng: random.Random, events: list[bytes], began: datetime) -> list[Kept]:
    """Each event one to five times, on any partition, its repeats among those that follow."""
    places = [
        (index + copy * rng.uniform(0, _FURTHEST), event)
        for index, event in enumerate(events)
        for copy in range(rng.randint(1, 5))
    ]
    in_time = [event for _, event in sorted(places, key=lambda place: place[0])]
    return [
        Kept(rng.randrange(PARTITIONS), number, began + timedelta(milliseconds=10 * number), event)
        for number, event in enumerate(in_time)
    ]


def _rescaled(rng: random.Random, settings: Settings) -> Settings:
    return settings.model_copy(update={"workers": rng.randint(1, 3), "processes": rng.randint(1, 2)})


def _assert_each_once(ledger: Path, events: list[bytes], sent: int) -> None:
    rows = read_table(ledger, "events")
    assert Counter(rows["verdict"]) == {"rated": len(events), "duplicate": sent - len(events)}
    rated = rows.filter(verdict="rated")["event_id"]
    assert sorted(rated) == sorted(json.loads(event)["id"] for event in events)
    assert_conserved(ledger, sent, read_table(ledger, "line_items").height)


def _assert_amounts(settings: Settings, catalog: Path, ledger: Path, events: list[bytes], began: datetime) -> int:
    """Each subscription owes, per charge and period, what the oracle makes of each event once; gives the lines."""
    oracle = oracle_for(settings, catalog)
    owed: Counter[tuple] = Counter()
    for event in events:
        rated = oracle.rate(0, event, began)
        for line in rated.lines:
            owed[rated.subscription, line.charge, line.period_start] += line.line.amount
    items = read_table(ledger, "line_items")
    keys = ["subscription_id", "charge_id", "period_start"]
    found = items.group_by(keys).agg(pl.col("amount").sum())
    amounts = {tuple(row[:3]): Fraction(row[3]) for row in found.iter_rows()}
    assert amounts == {key: amount for key, amount in owed.items() if key in amounts or amount}
    return items.height
