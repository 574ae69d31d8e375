"""One process of two dies, pauses, or never starts: all are started again, unless it goes on by itself in time.

Also a clean stop: by SIGTERM and by Ctrl-C, within seconds, with all that was committed published.
"""

import os
import signal
import time

import pytest

from dataflows.ledger.folder import locked, open_folder
from dataflows.ledger.published import read_table
from tests.kafka.faults.acts import (
    children_of,
    group_of,
    kill,
    kill_all,
    wait_for_children,
    wait_for_news,
    wait_until,
)
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import Gateway, send_all
from tests.kafka.flows import make_topics, start_flow, stop, wait_until_received

SOAK_ROUNDS = 2
_SECONDS_TO_STOP = 20


@pytest.fixture
def flow_of_two(broker, steady, topic_prefix, tmp_path):
    """Starts a flow of two processes with these settings; it does not outlive the test."""
    flows = []

    def start(**update: object):
        settings = settings_of_faults(broker, topic_prefix, processes=2, **update)
        make_topics(settings, steady.traffic.catalog)
        flows.append(start_flow(settings, tmp_path / "ledger"))
        return settings, tmp_path / "ledger", flows[-1]

    yield start
    for flow in flows:
        kill(group_of(flow), signal.SIGCONT)
        kill_all(flow)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", [pytest.param(0, marks=pytest.mark.long_form), 1])
def test_one_of_two_is_killed(flow_of_two, steady, which, seed):
    settings, ledger, flow = flow_of_two()
    with Gateway(settings, steady.traffic.records, 200) as gateway:
        wait_for_news(ledger, flow)
        kill([children_of(flow)[which]])
        wait_for_news(ledger, flow)
        sent = gateway.finish()
    wait_until_received(ledger, sent, flow)
    assert stop(flow).count("a rating process ended; starting again") == 1
    SUMMARY.add("one of two processes", 1, steady.assert_reached(settings, ledger))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.long_form)])
def test_one_of_two_stands_still(flow_of_two, steady, which, seed, soak):
    """A pause beyond the limit: all are started again; a shorter one: it goes on by itself."""
    limit, pause = (15, 30) if soak else (5, 8)
    settings, ledger, flow = flow_of_two(stall_seconds=limit)
    with Gateway(settings, steady.traffic.records, 100) as gateway:
        wait_for_news(ledger, flow)
        before = children_of(flow)
        _pause(before[which], limit / 5)
        wait_for_news(ledger, flow)
        assert children_of(flow) == before
        _pause(before[which], pause)
        wait_until(lambda: not set(before) & set(children_of(flow)), flow)
        sent = gateway.finish()
    wait_until_received(ledger, sent, flow)
    assert f"nothing was committed for {limit} s; starting again" in stop(flow)
    SUMMARY.add("one of two processes", 0, steady.assert_reached(settings, ledger))


def _pause(process: int, seconds: float) -> None:
    kill([process], signal.SIGSTOP)
    time.sleep(seconds)
    kill([process], signal.SIGCONT)


@pytest.mark.timeout(600)
def test_one_of_two_never_starts(flow_of_two, steady):
    settings, ledger, flow = flow_of_two(start_seconds=30)
    # At once: a process that has started already would only stand still.
    first = wait_for_children(flow, 2)
    kill([first[1]], signal.SIGSTOP)
    sent = send_all(settings, steady.traffic.records)
    wait_until(lambda: not set(first) & set(children_of(flow)), flow)
    wait_until_received(ledger, sent, flow)
    assert "the rating processes had not all started after 30 s; starting again" in stop(flow)
    SUMMARY.add("one of two processes", 0, steady.assert_reached(settings, ledger))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("wish", [pytest.param("SIGTERM", marks=pytest.mark.long_form), "Ctrl-C"])
def test_a_clean_stop(flow_of_two, steady, wish, seed):
    """While records come: it ends within seconds, publishes all that was committed, and leaves no process behind."""
    settings, ledger, flow = flow_of_two()
    with Gateway(settings, steady.traffic.records, 300) as gateway:
        wait_for_news(ledger, flow)
        asked = time.monotonic()
        if wish == "SIGTERM":
            flow.terminate()
        else:
            os.killpg(flow.pid, signal.SIGINT)
        said = flow.communicate(timeout=60)[1]
        assert (flow.returncode, said.strip()) == (0, "")
        assert time.monotonic() - asked < _SECONDS_TO_STOP
        assert group_of(flow) == []
        assert list((ledger / "pending").iterdir()) == []
        stored = read_table(ledger, "events").height
        with locked(open_folder(ledger, settings.key_groups, settings.writers)):
            assert stored == read_table(ledger, "commits")["received"].sum() > 0
        again = start_flow(settings, ledger)
        try:
            wait_until_received(ledger, gateway.finish(), again)
            stop(again)
        finally:
            kill_all(again)
    SUMMARY.add("clean stops", 0, steady.assert_reached(settings, ledger))
