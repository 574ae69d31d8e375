"""Processes that die at every named point of reading, rating, writing, publishing and merging, while gateways send."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dataflows.ledger.folder import open_folder
from dataflows.recovery import resume_epoch
from dataflows.settings import Settings
from tests.flow.runs import ROOT
from tests.kafka.faults.acts import children_of, kill, kill_all, wait_for_news, wait_until
from tests.kafka.faults.child import DEATHS, DIED, POINTS, deaths_died
from tests.kafka.faults.looking import watched
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import Gateway
from tests.kafka.flows import make_topics, running, stop, wait_until_received

SOAK_ROUNDS = 3
PARTS = 3
_RECORDS_PER_SECOND = 40


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long_form) for part in range(1, PARTS))])
def test_killed_at_named_points(broker, steady, topic_prefix, tmp_path, seed, part):
    """A third of the points, one after the other: each restart runs into the next. The long form has all of them.

    An analyst looks meanwhile.
    """
    rng = random.Random(seed)
    points = rng.sample(list(POINTS), len(POINTS))[part::PARTS]
    deaths = [(point, rng.randint(1, 4)) for point in points]
    settings = settings_of_faults(
        broker, topic_prefix, processes=rng.randint(1, 2), workers=rng.randint(1, 2), merge_files=2
    )
    print(settings.processes, settings.workers, deaths)
    make_topics(settings, steady.traffic.catalog)
    deaths_file, died = tmp_path / "deaths", tmp_path / "died"
    deaths_file.write_text("".join(json.dumps(death) + "\n" for death in deaths))
    ledger = open_folder(tmp_path / "ledger", settings.key_groups, settings.writers).root
    flow = _start(settings, ledger, {DEATHS: str(deaths_file), DIED: str(died)})
    try:
        with watched(ledger, tmp_path / "report"):
            with Gateway(settings, steady.traffic.records, _RECORDS_PER_SECOND) as gateway:
                for number in range(len(deaths)):
                    wait_until(lambda number=number: number in deaths_died(died), flow)
                sent = gateway.finish()
            wait_until_received(ledger, sent, flow)
        said = stop(flow)
    finally:
        kill_all(flow)
    assert said.count("starting again") >= len(deaths)
    SUMMARY.add("kills at named points", len(deaths), steady.assert_reached(settings, ledger))


def _start(settings: Settings, ledger, environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kafka.faults.supervised", str(ledger), settings.to_json()],
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_killed_between_the_snapshots_of_an_epoch_and_its_commit(broker, steady, topic_prefix, tmp_path, soak):
    """What Bytewax would take for state at the next start but one, if nobody removed it."""
    settings = settings_of_faults(broker, topic_prefix, processes=2)
    make_topics(settings, steady.traffic.catalog)
    ledger, wanted, kills, met = tmp_path / "ledger", 5 if soak else 2, 0, 0
    traffic = Gateway(settings, steady.traffic.records, _RECORDS_PER_SECOND)
    with traffic as gateway, running(settings, ledger) as flow:
        while met < wanted:
            wait_for_news(ledger, flow)
            wait_until(lambda: _uncommitted(ledger / "recovery"), flow)
            kill(children_of(flow))
            kills += 1
            met += _uncommitted(ledger / "recovery") > 0
            assert kills < 20 * wanted, "no kill met that time"
        wait_until_received(ledger, gateway.finish(), flow)
    print(f"{met} of {kills} kills")
    SUMMARY.add("kills at named points", met, steady.assert_reached(settings, ledger))


def _uncommitted(store: Path) -> int:
    """How many snapshots of rated state there are of epochs that were not committed."""
    epoch = resume_epoch(store)
    query = "SELECT count(*) FROM snaps WHERE snap_epoch >= ? AND step_id LIKE '%.rate%'"
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as connection:
        return connection.execute(query, (epoch,)).fetchone()[0]


@pytest.mark.parametrize("point", [pytest.param("clean_store", marks=pytest.mark.long_form), "resume"])
def test_the_supervisor_is_killed_while_it_prepares(broker, steady, topic_prefix, tmp_path, point):
    """The store is cleaned, commits are published: a kill in between leaves something for the next start to end."""
    settings = settings_of_faults(broker, topic_prefix)
    make_topics(settings, steady.traffic.catalog)
    ledger = tmp_path / "ledger"
    nothing = {DEATHS: os.devnull, DIED: str(tmp_path / "died")}
    with Gateway(settings, steady.traffic.records, 300) as gateway:
        first = _start(settings, ledger, nothing)
        wait_until(lambda: len(list((ledger / "commits").glob("commits*"))) > 3, first)
        kill_all(first)
        second = _start(settings, ledger, nothing | {"TESTS_DIES_IN": point})
        second.communicate(timeout=120)
        assert second.returncode == -signal.SIGKILL
        third = _start(settings, ledger, nothing)
        try:
            wait_until_received(ledger, gateway.finish(), third)
            stop(third)
        finally:
            kill_all(third)
    SUMMARY.add("kills at named points", 2, steady.assert_reached(settings, ledger))
