"""A topic of many days, read from its start into a new ledger: neither the order of partitions nor a kill shows."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.flow.world import SUBSCRIPTIONS_PER_FILE, make_world
from tests.kafka.faults.acts import kill_all, wait_for_news
from tests.kafka.faults.oracle_compare import Kept, assert_as_rated, rated_by_oracle, records_in
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import MONTH, send_all
from tests.kafka.flows import make_topics, running, start_flow, wait_until_received

PARTITIONS, RECORDS_EACH = 2, 800
LENGTH = timedelta(days=10)
_REPEAT = 0.1


def _days(rng: random.Random, partition: int) -> list[Kept]:
    """Events spread over the days; repeats of earlier ones lie within the lateness of a day, and far beyond it."""
    began = datetime.now(UTC).replace(microsecond=0) - LENGTH
    records: list[Kept] = []
    for number in range(RECORDS_EACH):
        moment = began + LENGTH * number / RECORDS_EACH
        identity = rng.randrange(number) if number and rng.random() < _REPEAT else number
        owner = f"sub-{partition}-{identity % SUBSCRIPTIONS_PER_FILE}"
        event = {"id": f"e-{partition}-{identity}", "source": "api", "time": moment.isoformat(), "subscription": owner}
        records.append(Kept(partition, number, moment, json.dumps(event | {"data": {"tokens": "1.5"}}).encode()))
    return records


@pytest.mark.timeout(600)
def test_read_from_the_start(broker, topic_prefix, tmp_path, seed):
    """One partition is read to its end before another has begun: each record is as late as its own lane says."""
    rng = random.Random(seed)
    world = make_world(tmp_path / "world", 0, PARTITIONS, seed, MONTH)
    settings = settings_of_faults(broker, topic_prefix, PARTITIONS, batch_records=100)
    make_topics(settings, world.catalog)
    sent = send_all(settings, [record for partition in range(PARTITIONS) for record in _days(rng, partition)])
    expected = rated_by_oracle(settings, world.catalog, records_in(settings))
    assert {"rated", "duplicate"} == {rated.verdict for rated in expected.values()}
    for name, update in {"one": {}, "two": {"workers": 2}, "killed": {"processes": 2}}.items():
        ledger, rescaled = tmp_path / name, settings.model_copy(update=update)
        if name == "killed":
            flow = start_flow(rescaled, ledger)
            try:
                wait_for_news(ledger, flow)
            finally:
                kill_all(flow)
        with running(rescaled, ledger) as flow:
            wait_until_received(ledger, sent, flow)
        SUMMARY.add("days read again", name == "killed", assert_as_rated(ledger, expected))
