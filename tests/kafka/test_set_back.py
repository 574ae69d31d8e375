"""A quota's verdict is set back when its window ends, though no event comes; once, also if the flow is killed."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from dataflows.connectors.kafka_client import topic_name
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from tests.kafka.faults.acts import kill_all
from tests.kafka.flows import make_topics, running, settings_for, start_flow, wait_for
from tests.kafka.relaying import committed, relay

_CATALOG = """\
subscribers: [{email: joe@acme.example}]
sources: [{id: api}]
products:
  - id: plan
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: transactional
    rate: "1"
    quotas: [{name: rate, limit: "2", window: minute, on_exceed: block}]
subscriptions:
  - {id: acme, product: plan@1.0.0, subscriber: joe@acme.example, start: "2026-01-01T00:00:00Z"}
  - {id: beta, product: plan@1.0.0, subscriber: joe@acme.example, start: "2026-01-01T00:00:00Z"}
"""


@pytest.fixture
def settings(broker, topic_prefix, tmp_path) -> Iterator[Settings]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "catalog.yaml").write_text(_CATALOG)
    settings = settings_for(broker, topic_prefix, topic_partitions=2)
    make_topics(settings, tmp_path / "catalog")
    return settings


def test_the_end_of_a_window_sets_back_what_was_blocked(settings, tmp_path):
    ledger = tmp_path / "ledger"
    written_at = datetime.now(UTC).replace(second=5, microsecond=0) - timedelta(minutes=3)
    send_at(settings, 0, "acme", 3, written_at)
    flow = start_flow(settings, ledger)
    try:
        wait_for(lambda: not told(ledger, "blocked").is_empty(), flow)
    finally:
        kill_all(flow)
    with running(settings, ledger) as flow:
        wait_for(lambda: not told(ledger, "allowed", "window_end").is_empty(), flow)
        send_at(settings, 1, "beta", 2, datetime.now(UTC) - timedelta(minutes=2))
        wait_for(lambda: told(ledger, "allowed", "window_end").height == 2, flow)
    end = written_at.replace(second=0) + timedelta(minutes=1)
    for subscription, rows in told(ledger, "allowed", "window_end").group_by("subscription_id"):
        assert rows["remaining"].to_list() == [2], subscription
        assert rows["offset"].to_list() == [None]
    [acme] = told(ledger, "allowed", "window_end").filter(pl.col("subscription_id") == "acme").to_dicts()
    assert (acme["occurred_at"], acme["window_start"], acme["window_end"]) == (end, end, None)
    assert told(ledger, "blocked")["subscription_id"].sort().to_list() == ["acme", "beta"]
    relay(settings, ledger)
    last = {message.key().decode(): json.loads(message.value()) for message in committed(settings, "quota.verdicts")}
    assert {key: (row["verdict"], row["remaining"]) for key, row in last.items()} == {
        "acme:rate": ("allowed", "2"),
        "beta:rate": ("allowed", "2"),
    }


def send_at(settings: Settings, partition: int, subscription: str, count: int, moment: datetime) -> None:
    """Events of a moment, in records that were written then."""
    producer = Producer(dict(settings.kafka))
    for number in range(count):
        event = {"id": f"{moment}-{number}", "source": "api", "subscription": subscription, "time": moment.isoformat()}
        producer.produce(
            topic_name(settings, "metering.events"),
            json.dumps(event).encode(),
            partition=partition,
            timestamp=round(moment.timestamp() * 1000),
        )
    assert producer.flush(30) == 0


def told(ledger: Path, verdict: str, cause: str = "usage") -> pl.DataFrame:
    if not (ledger / "manifest").exists():
        return pl.DataFrame()
    return read_table(ledger, "quota_verdicts").filter(verdict=verdict, cause=cause)
