"""The broker stops, is killed and comes back while gateways send and the flow runs, or just when it starts again."""

import time

import pytest

from dataflows.connectors.kafka_client import SECONDS_TO_ANSWER
from tests.kafka.faults.acts import children_of, kill, kill_all, wait_for_news
from tests.kafka.faults.oracle_compare import assert_as_oracle
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import Gateway
from tests.kafka.flows import make_topics, records_in_topic, start_flow, stop, wait_until_received

SOAK_ROUNDS = 2


@pytest.fixture
def broker_back(broker):
    """The broker, which runs again afterwards for the tests that follow."""
    yield broker
    if not broker.running:
        broker.start()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("end", [pytest.param("stop", marks=pytest.mark.long_form), "kill"])
def test_the_broker_goes_and_comes_back(broker_back, steady, topic_prefix, tmp_path, seed, end):
    """No process ends for it, and readers of the ledger see no difference."""
    settings = settings_of_faults(broker_back, topic_prefix, processes=2)
    make_topics(settings, steady.traffic.catalog)
    ledger = tmp_path / "ledger"
    flow = start_flow(settings, ledger)
    try:
        with Gateway(settings, steady.traffic.records, 100) as gateway:
            wait_for_news(ledger, flow)
            children = children_of(flow)
            for _ in range(2):
                getattr(broker_back, end)()
                broker_back.start()
                wait_for_news(ledger, flow)
            gateway.finish()
        kept = records_in_topic(settings)
        wait_until_received(ledger, kept, flow)
        assert children_of(flow) == children
        assert "starting again" not in stop(flow)
    finally:
        kill_all(flow)
    SUMMARY.add("broker away", 0, assert_exact(steady, settings, ledger, kept))


@pytest.mark.timeout(600)
def test_the_broker_is_away_when_the_flow_starts_again(broker_back, steady, topic_prefix, tmp_path):
    """The supervisor says so, and tries until the broker is back."""
    settings = settings_of_faults(broker_back, topic_prefix)
    make_topics(settings, steady.traffic.catalog)
    ledger = tmp_path / "ledger"
    flow = start_flow(settings, ledger)
    try:
        with Gateway(settings, steady.traffic.records, 100) as gateway:
            wait_for_news(ledger, flow)
            broker_back.kill()
            kill(children_of(flow))
            # Long enough to be asked in vain; what it said proves that it was.
            time.sleep(SECONDS_TO_ANSWER + 5)
            broker_back.start()
            gateway.finish()
        kept = records_in_topic(settings)
        wait_until_received(ledger, kept, flow)
        assert "cannot reach Kafka at" in stop(flow)
    finally:
        kill_all(flow)
    SUMMARY.add("broker away", 1, assert_exact(steady, settings, ledger, kept))


def assert_exact(steady, settings, ledger, kept: int) -> int:
    """The ledger is the known one; if the killed broker kept a record twice, that of what is in the topic."""
    if kept == len(steady.traffic.records):
        return steady.assert_reached(settings, ledger)
    assert kept > len(steady.traffic.records), "the broker lost what it had taken"
    return assert_as_oracle(ledger, settings, steady.traffic.catalog)
