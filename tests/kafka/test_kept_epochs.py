"""A writer that is told that its commits were kept: the store would restore them, were everything killed just then."""

import json
import os
import subprocess
import sys

import pytest

from tests.flow.runs import ROOT
from tests.kafka.faults.acts import kill_all, wait_until
from tests.kafka.faults.traffic import Gateway, make_traffic
from tests.kafka.flows import make_topics, settings_for, stop
from tests.kafka.kept_child import GIVEN, KEPT, TOLD

# Slowly, so that there are many epochs after the start.
RECORDS_A_SECOND = 100
TIMES_TOLD = 12


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (1, 3), (2, 2)])
def test_what_a_writer_is_told_to_be_kept_the_store_has(broker, topic_prefix, tmp_path, processes, workers):
    traffic = make_traffic(tmp_path / "world", 4, 2_000, seed=3)
    settings = settings_for(
        broker, topic_prefix, topic_partitions=4, processes=processes, workers=workers, epoch_seconds=0.1, writers=4
    )
    make_topics(settings, traffic.catalog)
    asked = [sys.executable, "-m", "tests.kafka.faults.supervised", str(tmp_path / "ledger"), settings.to_json()]
    kept = tmp_path / "kept"
    kept.touch()
    environment = {KEPT: str(kept), "TESTS_PROGRAM": "tests.kafka.kept_child"}
    flow = subprocess.Popen(asked, cwd=ROOT, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    try:
        with Gateway(settings, traffic.records, RECORDS_A_SECOND):
            wait_until(lambda: kept.read_text().count(TOLD) >= TIMES_TOLD, flow)
        stop(flow)
    finally:
        kill_all(flow)
    noted = [json.loads(line) for line in kept.read_text().splitlines()]
    told = [(sealed, stored) for moment, sealed, stored in noted if moment == TOLD]
    assert len(told) >= TIMES_TOLD
    assert all(stored == sealed for sealed, stored in told), told
    # Only then: this test would see a promise that comes too early.
    given = [(sealed, stored) for moment, sealed, stored in noted if moment == GIVEN]
    assert all(stored < sealed for sealed, stored in given), given
