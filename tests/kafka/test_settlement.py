"""The settlement flow beside the rating flow, on a real broker: the hour of a test mode, killed on the way."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from dataflows.catalog_history import CatalogHistory
from dataflows.connectors.kafka_client import topic_name
from dataflows.housekeeping import housekeeping
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from dataflows.settlement.closing import Closer
from dataflows.settlement.flow import Tariffs
from ops.settling import correct_invoice
from rating.due import Moments
from rating.periods import microseconds
from tests.kafka.faults.acts import kill_all
from tests.kafka.flows import assert_verified, make_topics, running, settings_for, start_flow, wait_for
from tests.kafka.relaying import committed, relay

MINUTE = timedelta(minutes=1)
_CATALOG = """\
subscribers: [{{email: joe@acme.example}}]
sources: [{{id: api}}]
products:
  - id: trial
    version: 1.0.0
    currency: USD
    settlement_period: 5min
    provider_notification_addresses: [billing@provider.example]
    charges:
      - id: calls
        meter: {{aggregation: sum, element: calls}}
        price: {{model: graduated, tiers: [{{up_to: "3", unit_price: "1"}}, {{unit_price: "0.5"}}]}}
subscriptions:
  - {{id: acme, product: trial@1.0.0, subscriber: joe@acme.example, start: "{start}"}}
  - {{id: beta, product: trial@1.0.0, subscriber: joe@acme.example, start: "{start}"}}
"""


@pytest.fixture
def start() -> datetime:
    """Of the hour, so that it is over."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=70)


@pytest.fixture
def settings(broker, topic_prefix, tmp_path, start) -> Iterator[Settings]:
    (tmp_path / "catalog").mkdir()
    text = _CATALOG.format(start=start.isoformat().replace("+00:00", "Z"))
    (tmp_path / "catalog" / "catalog.yaml").write_text(text)
    settings = settings_for(broker, topic_prefix, topic_partitions=2, settlement_seconds=0.3)
    make_topics(settings, tmp_path / "catalog")
    return settings


def test_twelve_invoices_and_the_end_and_what_comes_after_it_whatever_is_killed(settings, tmp_path, start):
    ledger = tmp_path / "ledger"
    send_hour(settings, "acme", start)
    with running(settings, ledger) as rating:
        wait_for(lambda: (ledger / "ledger.json").exists(), rating)
        killed = start_flow(settings, ledger, "settlement")
        try:
            wait_for(lambda: not invoices(ledger).is_empty(), killed)
        finally:
            kill_all(killed)
        with running(settings, ledger, "settlement") as flow:
            wait_for(lambda: invoices(ledger).height == 24, flow)
            wait_for(lambda: len(told(ledger, "test_mode_ended")) == 2, flow)
        send_at(settings, "beta", 2, start + 57 * MINUTE, datetime.now(UTC))
        wait_for(lambda: "beta" in set(read_table(ledger, "line_items")["subscription_id"]), rating)
        # The first look of a flow, and then one a day, is for those who have ended, too.
        with running(settings, ledger, "settlement") as flow:
            wait_for(lambda: "beta-12.1" in set(invoices(ledger)["number"]), flow)
            second = start_flow(settings, ledger, "settlement")
            assert "is in use by another process" in second.communicate(timeout=60)[1]
            # The flow that settles goes on meanwhile.
            assert correct_invoice(ledger, settings, "acme-3") == ("acme-3", "acme-3.1")
    revised = invoices(ledger).filter(pl.col("revision") > 0).sort("number")
    assert revised.select("number", "total").rows() == [("acme-3.1", Decimal(3)), ("beta-12.1", Decimal(2))]
    assert_verified(ledger, settings)
    of_acme = invoices(ledger).filter((pl.col("subscription_id") == "acme") & (pl.col("revision") == 0)).sort("period")
    assert of_acme["period"].to_list() == list(range(1, 13))
    # Period n has n calls: the first three cost 1 each, the others half.
    costs = [Decimal(min(n, 3)) + Decimal(max(n - 3, 0)) / 2 for n in range(1, 13)]
    assert of_acme["total"].to_list() == costs
    of_beta = invoices(ledger).filter((pl.col("subscription_id") == "beta") & (pl.col("revision") == 0))
    assert set(of_beta["total"]) == {Decimal(0)}
    relay(settings, ledger)
    sent = [json.loads(message.value()) for message in committed(settings, "invoices")]
    assert sorted(row["number"] for row in sent) == sorted(invoices(ledger)["number"])
    for row in sent:
        assert sum(Decimal(line["amount"]) for line in row["invoice_lines"]) == Decimal(row["total"])
        assert len(row["invoice_lines"]) == row["lines"]
    assert {row["certificate"]["catalog_digest"] for row in sent} == set(invoices(ledger)["catalog_digest"])
    notices = [json.loads(message.value()) for message in committed(settings, "notifications")]
    issued = [row for row in notices if row["kind"] == "invoice_issued"]
    assert len({row["notification_id"] for row in issued}) == len(issued) == 26
    assert {tuple(row["recipients"]) for row in issued} == {("billing@provider.example", "joe@acme.example")}


def test_an_event_that_comes_late_is_on_the_next_invoice(settings, tmp_path, start):
    ledger = tmp_path / "ledger"
    minute = datetime.now(UTC).replace(microsecond=0)
    (tmp_path / "catalog" / "catalog.yaml").write_text(
        _CATALOG.format(start=(minute - 12 * MINUTE).isoformat().replace("+00:00", "Z"))
    )
    make_topics(settings, tmp_path / "catalog")
    with running(settings, ledger) as rating:
        wait_for(lambda: (ledger / "ledger.json").exists(), rating)
        with running(settings, ledger, "settlement") as flow:
            wait_for(lambda: invoices(ledger).height == 4, flow)
            send_at(settings, "acme", 1, minute - 11 * MINUTE, datetime.now(UTC))
            wait_for(lambda: read_table(ledger, "line_items").height == 1, flow)
    # The next period ends minutes from now; what is due by then carries the difference.
    lines = settled_by_hand(settings, ledger, minute + 3 * MINUTE)
    [line] = lines.filter(pl.col("line_kind") == "adjustment").to_dicts()
    assert (line["period"], line["amount"], line["adjusts"]) == (1, 1, "usage")


def settled_by_hand(settings: Settings, ledger: Path, moment: datetime) -> pl.DataFrame:
    """The lines after a settlement as of a later moment, as if the topic had been read up to then."""
    tariffs = Tariffs(CatalogHistory(ledger))
    digest = tariffs.at(microseconds(datetime.now(UTC)))
    folder = existing_folder(ledger)
    closer = Closer(folder, tariffs.tariff(digest), housekeeping(settings))
    closer.close(Moments.both(microseconds(moment)), folder.settlement_writers())
    return read_table(ledger, "invoice_lines")


def invoices(ledger: Path) -> pl.DataFrame:
    return read_table(ledger, "invoices")


def told(ledger: Path, kind: str) -> pl.DataFrame:
    return read_table(ledger, "notifications").filter(pl.col("kind") == kind)


def send_hour(settings: Settings, subscription: str, start: datetime) -> None:
    """In the n-th period n calls, in records of their time."""
    for period in range(1, 13):
        moment = start + (5 * period - 3) * MINUTE
        send_at(settings, subscription, period, moment, moment)


def send_at(settings: Settings, subscription: str, calls: int, moment: datetime, written_at: datetime) -> None:
    producer = Producer(dict(settings.kafka))
    event = {
        "id": f"{subscription}-{moment.isoformat()}",
        "source": "api",
        "subscription": subscription,
        "time": moment.isoformat(),
        "data": {"calls": calls},
    }
    producer.produce(
        topic_name(settings, "metering.events"),
        json.dumps(event).encode(),
        subscription.encode(),
        timestamp=round(written_at.timestamp() * 1000),
    )
    assert producer.flush(30) == 0
