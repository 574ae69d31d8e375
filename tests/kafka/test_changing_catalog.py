"""A catalog that changes while the flow runs: what is published takes effect at a moment of the log."""

import json
import time
from pathlib import Path

import polars as pl
import pytest

from dataflows.catalog_history import CatalogHistory
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.ledger.published import read_table
from dataflows.moments import now
from tests.flow.world import World, assert_conserved, ledger_rows, make_world
from tests.kafka.catalogs import published, rewritten, write_record
from tests.kafka.flows import (
    ANY_PARTITION,
    Record,
    assert_verified,
    event,
    make_topics,
    received,
    records_in_topic,
    running,
    send,
    settings_for,
    start_flow,
    stop,
    wait_for,
    wait_until_received,
)


@pytest.fixture
def world(tmp_path) -> World:
    return make_world(tmp_path / "world", events_per_file=1)


@pytest.fixture
def settings(broker, topic_prefix):
    return settings_for(broker, topic_prefix, topic_partitions=3)


def assert_same(ledger: Path, other: Path) -> None:
    found, wanted = ledger_rows(ledger), ledger_rows(other)
    for table, expected in wanted.items():
        assert found[table].equals(expected), table
    assert_conserved(ledger, wanted["events"].height, wanted["line_items"].height)


def test_a_catalog_that_changes_while_the_flow_runs(world, settings, tmp_path):
    """Live with a crash in between, and again from the start of the topic: the same ledger."""
    again = settings.model_copy(update={"processes": 2})
    settings = settings.model_copy(update={"reinject_parked": True})
    make_topics(settings, world.catalog)
    ledger = tmp_path / "ledger"
    sent = send(settings, [*map(_of_others, range(900)), *map(_of_newcomer, range(20))])
    flow = start_flow(settings, ledger)
    try:
        wait_for(lambda: received(ledger) >= sent, flow)
        publish_catalog(settings, load_catalog(_grown(world, tmp_path)), None, None)
        effective = settings.catalog_lead_seconds + time.time() + 2
        for number in range(20, 60):
            sent += send(settings, [_of_newcomer(number)])
            time.sleep(0.1)
    finally:
        flow.kill()
        flow.communicate()
    with running(settings, ledger) as flow:
        time.sleep(max(0.0, effective - time.time()))
        sent += send(settings, [_of_newcomer(60)])
        wait_for(lambda: of_newcomers(ledger, "rated").height == 61, flow)
        sent = records_in_topic(settings)
        wait_until_received(ledger, sent, flow)
    verdicts = of_newcomers(ledger, "rated", "parked").sort("record_time")
    assert verdicts.filter(verdict="rated")["event_id"].n_unique() == 61
    assert {*verdicts["verdict"].to_list()} == {"parked", "rated"}
    change = CatalogHistory(ledger).versions()[1].effective_from
    assert verdicts.select(
        ((pl.col("record_time").dt.epoch("us") >= change) == (pl.col("verdict") == "rated")).all()
    ).item()
    assert read_table(ledger, "line_items")["catalog_digest"].n_unique() == 2
    with running(again, tmp_path / "again") as flow:
        wait_until_received(tmp_path / "again", sent, flow)
    assert_same(tmp_path / "again", ledger)
    for each in (ledger, tmp_path / "again"):
        assert_verified(each, settings)


def test_a_running_flow_says_that_a_catalog_came_too_late(world, settings, tmp_path):
    """Once, although each of its processes notices."""
    make_topics(settings, world.catalog)
    sent = send(settings, [_of_others(number) for number in range(20)])
    flow = start_flow(settings.model_copy(update={"processes": 2}), tmp_path / "ledger")
    try:
        wait_until_received(tmp_path / "ledger", sent, flow)
        version = published(settings).version
        late = {"effective_from": version.published_at + 1, "digest": "0a", "previous": version.published_at}
        write_record(settings, "version", rewritten(version, number=2, published_at=now(), **late))
        said = flow.stderr.readline()
        assert "catalog number 2 came after the moment at which it takes effect" in said
        # The other process has noticed by then.
        time.sleep(2)
    finally:
        rest = stop(flow)
    assert "catalog number 2" not in rest


def of_newcomers(ledger: Path, *verdicts: str) -> pl.DataFrame:
    wanted = pl.col("subscription_id").str.starts_with("newcomer") & pl.col("verdict").is_in(verdicts)
    return read_table(ledger, "events").filter(wanted)


def _of_newcomer(number: int) -> Record:
    return keyed(f"n-{number}", f"newcomer-{number % 3}")


def _of_others(number: int) -> Record:
    return keyed(f"o-{number}", f"sub-0-{number % 40}")


def keyed(identity: str, subscription: str) -> Record:
    """On the partition that the subscription has: which partition is read first may differ from run to run."""
    return ANY_PARTITION, subscription.encode(), json.dumps(event(identity, subscription)).encode()


def _grown(world: World, folder: Path) -> Path:
    """The catalog of the world with more subscriptions."""
    text = (world.catalog / "plan.yaml").read_text()
    grown = folder / "grown"
    grown.mkdir()
    rest = 'product: plan@1.0.0, subscriber: joe@acme.example, start: "2026-11-01T00:00:00Z"'
    newcomers = "".join(f"  - {{id: newcomer-{number}, {rest}}}\n" for number in range(3))
    (grown / "plan.yaml").write_text(text + newcomers)
    return grown
