"""`kill -9` again and again, of whatever there is, while gateways send and an analyst looks: no row lost or repeated.

The long form (`make soak`) has more kills and more seeds; a failure names its seed, and `--seed N` begins with it.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dataflows.ledger.folder import open_folder
from dataflows.settings import Settings
from tests.flow.world import assert_same_ledger
from tests.kafka.faults.acts import children_of, group_of, kill, kill_all, wait_for_news, wait_until
from tests.kafka.faults.looking import watched
from tests.kafka.faults.oracle_compare import assert_as_oracle
from tests.kafka.faults.steady import assert_merged, rated_undisturbed, settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import Gateway, make_traffic
from tests.kafka.flows import assert_verified, make_topics, received, running, start_flow, wait_until_received

SOAK_ROUNDS = 10
PARTITIONS = 4
KINDS = ("everything", "the supervisor", "one process", "all processes")


@pytest.mark.timeout(3600)
def test_killed_again_and_again(broker, topic_prefix, tmp_path, seed, soak):
    kills, records, per_second = (22, 20_000, 20) if soak else (4, 1_200, 30)
    traffic = make_traffic(tmp_path / "world", PARTITIONS, records, seed)
    settings = settings_of_faults(broker, topic_prefix, PARTITIONS)
    make_topics(settings, traffic.catalog)
    ledger = tmp_path / "ledger"
    open_folder(ledger, settings.key_groups, settings.writers)
    rng = random.Random(seed)
    with watched(ledger, tmp_path / "report"), Gateway(settings, traffic.records, PARTITIONS * per_second) as gateway:
        done = 0
        while done < kills:
            done += _life(rng, _rescaled(rng, settings), ledger, kills - done)
        sent = gateway.finish() if not soak else gateway.leave_off()
        with running(_rescaled(rng, settings), ledger) as flow:
            # Before it is asked to stop, for it may find all rated already.
            wait_until(lambda: children_of(flow), flow)
            wait_until_received(ledger, sent, flow)
    assert_merged(ledger)
    assert_same_ledger(ledger, rated_undisturbed(settings, tmp_path / "undisturbed", sent))
    assert_verified(ledger, settings)
    SUMMARY.add("random kills", done, assert_as_oracle(ledger, settings, traffic.catalog))


def _rescaled(rng: random.Random, settings: Settings) -> Settings:
    update = {"workers": rng.randint(1, 4), "processes": rng.randint(1, 2)}
    print(update)
    return settings.model_copy(update=update)


def _life(rng: random.Random, settings: Settings, ledger: Path, most: int) -> int:
    """One life of a supervisor: some of its processes are killed, at last itself; gives the number of kills."""
    flow = start_flow(settings, ledger)
    try:
        for kills in range(1, most + 1):
            _wait_for_a_moment(rng, flow, ledger)
            kind = rng.choice(KINDS)
            print(f"{received(ledger)} received: kill {kind}")
            _kill(rng, kind, flow)
            if flow.poll() is not None:
                return kills
        return most
    finally:
        kill_all(flow)


def _wait_for_a_moment(rng: random.Random, flow: subprocess.Popen, ledger: Path) -> None:
    """Now and then the flow still starts, mostly it works."""
    if rng.random() < 0.7:
        wait_for_news(ledger, flow)
        time.sleep(rng.uniform(0, 0.5))
    else:
        wait_until(lambda: children_of(flow), flow)
        time.sleep(rng.uniform(0, 3))


def _kill(rng: random.Random, kind: str, flow: subprocess.Popen) -> None:
    match kind:
        case "everything":
            os.killpg(flow.pid, signal.SIGKILL)
            flow.wait(30)
        case "the supervisor":
            flow.kill()
            flow.wait(30)
            # Its processes end by themselves, and nothing else must be done before the next start.
            wait_until(lambda: not group_of(flow), seconds=30)
        case "one process" if children := children_of(flow):
            kill([rng.choice(children)])
        case "one process" | "all processes":
            kill(children_of(flow))
    if kind not in ("everything", "the supervisor"):
        time.sleep(0.1)
