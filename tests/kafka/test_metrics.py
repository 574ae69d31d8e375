"""Metrics and health of a rating flow on a real broker, scraped as Prometheus does."""

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dataflows.ledger.published import read_table
from dataflows.metrics import Stage, Step
from dataflows.metrics_table import METRICS, Origin
from dataflows.settings import Settings
from ops.kafka.broker import free_port
from schemas.verdicts import VERDICT_LABELS
from tests.flow.world import World, make_world
from tests.kafka.flows import lines_of, make_topics, running, send, settings_for, start_flow, wait_until_received

PARTITIONS = 3
OTHER_FLOWS = {Origin.RELAY, Origin.NOTIFICATIONS, Origin.SETTLEMENT, Origin.SYNTHETIC}
Samples = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), events_per_file=700)


@pytest.fixture
def settings(broker, topic_prefix) -> Settings:
    own = {"topic_partitions": PARTITIONS, "metrics_port": free_port(), "stall_seconds": 120, "reinject_parked": False}
    return settings_for(broker, topic_prefix, **own)


def get(settings: Settings, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", settings.metrics_port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scrape(settings: Settings) -> Samples:
    """Values by the name of the sample and the values of its labels."""
    status, text = get(settings, "/metrics")
    assert status == 200, text
    samples: Samples = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name][tuple(sample.labels.values())] = sample.value
    return samples


def wait_for(condition: Callable[[], object], flow: subprocess.Popen, seconds: float = 90) -> None:
    last = time.monotonic() + seconds
    while not condition():
        assert flow.poll() is None, flow.communicate()[1]
        assert time.monotonic() < last, f"not after {seconds} s"
        time.sleep(0.05)


def wait_until_ready(settings: Settings, flow: subprocess.Popen) -> None:
    def ready() -> bool:
        try:
            return get(settings, "/readyz") == (200, "ready\n")
        except ConnectionRefusedError:
            return False

    wait_for(ready, flow)


def children_of(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def records_of(ledger: Path) -> dict[tuple[str, ...], float]:
    counts = read_table(ledger, "commits").select(pl.col(*VERDICT_LABELS).sum()).row(0, named=True)
    return {(verdict,): records for verdict, records in counts.items()}


def test_what_is_scraped_is_what_the_ledger_says(world, settings, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    settings = settings.model_copy(update={"processes": 2})
    ledger = tmp_path / "ledger"
    make_topics(settings, world.catalog)
    poison = [(0, None, b"no event"), (1, None, b'{"id": "p", "source": "api", "subscription": "nobody"}')]
    sent = send(settings, [*lines_of(world.events), *poison])
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        wait_until_ready(settings, flow)
        wait_for(lambda: scrape(settings)["ratemill_partition_lag_records"] == dict.fromkeys(partitions(), 0), flow)
        found = scrape(settings)
        sequences = read_table(ledger, "commits").group_by("writer").agg(pl.col("sequence").max()).rows()
        assert get(settings, "/healthz") == (200, "alive\n")
    assert_is_ledger(found, ledger, sent)
    for writer, sequence in sequences:
        assert sequence - 40 < found["ratemill_ledger_published_sequence"][(str(writer),)] <= sequence
    assert_all_was_counted(found, sent)
    assert list((tmp_path / "tmp").glob("ratemill-metrics-*")) == []


def partitions() -> list[tuple[str]]:
    return [(str(partition),) for partition in range(PARTITIONS)]


def assert_is_ledger(found: Samples, ledger: Path, sent: int) -> None:
    records = records_of(ledger)
    assert found["ratemill_ledger_records"] == records
    assert records[("rejected",)] >= 1 <= records[("parked",)]
    assert found["ratemill_ledger_line_items"] == {(): read_table(ledger, "line_items").height}
    assert found["ratemill_ledger_conservation_difference"] == {("0",): 0, ("1",): 0}
    assert found["ratemill_ledger_readable"] == found["ratemill_kafka_up"] == {(): 1}
    assert set(found["ratemill_partition_next_offset"]) == set(partitions())
    assert sum(found["ratemill_partition_next_offset"].values()) == sent
    assert found["ratemill_partition_end_offset"] == found["ratemill_partition_next_offset"]
    for age in found["ratemill_ledger_published_age_seconds"].values():
        assert 0 <= age < 60
    for name in ("ratemill_ledger_progress_timestamp_seconds", "ratemill_partition_progress_timestamp_seconds"):
        assert all(abs(time.time() - progress) < 120 for progress in found[name].values()), found[name]
    assert set(found["ratemill_partition_progress_timestamp_seconds"]) == set(partitions())


def assert_all_was_counted(found: Samples, sent: int) -> None:
    assert found["ratemill_running"] == found["ratemill_ready"] == {(): 1}
    assert set(found["ratemill_restarts_total"].values()) == {0}
    assert found["ratemill_records_total"] == found["ratemill_ledger_records"]
    assert found["ratemill_line_items_total"] == found["ratemill_ledger_line_items"]
    assert found["ratemill_read_bytes_total"][()] > 50 * sent
    assert found["ratemill_epoch_seconds_count"][()] > 1
    assert {stage for (stage,), seconds in found["ratemill_stage_seconds_total"].items() if seconds > 0} == set(Stage)
    assert {step for (step,), size in found["ratemill_snapshot_bytes_total"].items() if size > 0} == set(Step)
    names = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in found}
    assert names == {metric.name for metric in METRICS if metric.origin not in OTHER_FLOWS}


def test_a_killed_process_is_seen_and_forgotten(world, settings, tmp_path):
    settings = settings.model_copy(update={"processes": 2})
    ledger = tmp_path / "ledger"
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events[:1]))
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        wait_until_ready(settings, flow)
        counted = sum(scrape(settings)["ratemill_records_total"].values())
        killed = children_of(flow)
        os.kill(killed[0], signal.SIGKILL)
        wait_for(lambda: get(settings, "/readyz")[0] == 503, flow)
        found = scrape(settings)
        assert found["ratemill_running"] == found["ratemill_ready"] == {(): 0}
        assert get(settings, "/readyz")[1].startswith("the processes are ")
        assert get(settings, "/healthz") == (200, "alive\n")
        wait_until_ready(settings, flow)
        sent += send(settings, [(1, None, line) for _, _, line in lines_of(world.events[1:2])])
        wait_until_received(ledger, sent, flow)
        wait_for(lambda: scrape(settings)["ratemill_ledger_records"] == records_of(ledger), flow)
        found = scrape(settings)
        assert not set(killed) & set(children_of(flow))
    assert found["ratemill_restarts_total"][("died",)] >= 1
    assert found["ratemill_running"] == found["ratemill_ready"] == {(): 1}
    assert counted >= 700
    assert sum(found["ratemill_records_total"].values()) >= sent


def test_a_broker_that_is_away(world, broker, settings, tmp_path):
    ledger = tmp_path / "ledger"
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events[:1]))
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        wait_for(lambda: scrape(settings)["ratemill_kafka_up"] == {(): 1}, flow)
        broker.stop()
        try:
            wait_for(lambda: scrape(settings)["ratemill_kafka_up"] == {(): 0}, flow)
            began = time.monotonic()
            found = scrape(settings)
            assert time.monotonic() - began < 5
            assert get(settings, "/healthz") == (200, "alive\n")
        finally:
            broker.start()
        assert "ratemill_partition_lag_records" not in found
        assert "ratemill_partition_end_offset" not in found
        assert found["ratemill_ledger_records"] == records_of(ledger)
        wait_for(lambda: scrape(settings)["ratemill_partition_lag_records"] == dict.fromkeys(partitions(), 0), flow)


def test_scrapes_of_a_busy_ledger_are_true(world, settings, tmp_path):
    """Files are merged and let go of while they are read."""
    settings = settings.model_copy(update={"batch_records": 50, "replaced_files_seconds": 0.1})
    ledger = tmp_path / "ledger"
    make_topics(settings, world.catalog)
    seen, steps = 0.0, 0
    with running(settings, ledger) as flow:
        wait_until_ready(settings, flow)
        sent = send(settings, lines_of(world.events))
        last = time.monotonic() + 90
        while seen < sent:
            assert time.monotonic() < last, f"{seen} of {sent}"
            found = scrape(settings)
            assert found["ratemill_ledger_readable"] == {(): 1}
            assert set(found["ratemill_ledger_conservation_difference"].values()) == {0}
            now = sum(found["ratemill_ledger_records"].values())
            assert now >= seen
            seen, steps = now, steps + (now > seen)
    assert seen == sent
    assert steps > 1


def test_the_relay_tells_how_far_it_is(world, settings, tmp_path):
    ledger = tmp_path / "ledger"
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events[:1]))
    relaying = settings.model_copy(update={"metrics_port": free_port()})
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
        wanted = {
            ("rated.line-items",): read_table(ledger, "line_items").height,
            ("notifications",): read_table(ledger, "notifications").height,
            ("quota.verdicts",): read_table(ledger, "quota_verdicts").height,
            ("invoices",): 0,
            ("metering.rejected",): records_of(ledger)[("rejected",)],
        }
        with running(relaying, ledger, "relay") as relay:
            wait_until_ready(relaying, relay)
            wait_for(lambda: scrape(relaying)["ratemill_relay_messages_total"] == wanted, relay)
            found = scrape(relaying)
            assert get(relaying, "/healthz") == (200, "alive\n")
    names = {metric.name for metric in METRICS if metric.origin in (Origin.FLOW, Origin.RELAY)}
    assert set(found) == names
    assert found["ratemill_ready"] == {(): 1}
    positions = found["ratemill_relay_position"]
    # The settlement's writers have written nothing.
    assert [position > 0 for position in positions.values()] == [True, True, False, False]


def test_a_port_that_is_taken_is_told_at_the_start(world, settings, tmp_path):
    make_topics(settings, world.catalog)
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_ready(settings, flow)
        second = start_flow(settings, tmp_path / "other")
        said = second.communicate(timeout=60)[1]
        assert second.returncode == 1
        assert said.strip().splitlines()[-1] == (
            f"Metrics cannot be served at 127.0.0.1:{settings.metrics_port}: address already in use;"
            " set RATEMILL_METRICS_PORT to a free port, or to 0 for no metrics."
        )


def test_port_0_serves_nothing(world, settings, tmp_path):
    settings = settings.model_copy(update={"metrics_port": 0})
    make_topics(settings, world.catalog)
    sent = send(settings, lines_of(world.events[:1]))
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_received(tmp_path / "ledger", sent, flow)
        assert listening_sockets(flow.pid) == set()
    settings = settings.model_copy(update={"metrics_port": free_port()})
    with running(settings, tmp_path / "ledger") as flow:
        wait_until_ready(settings, flow)
        assert len(listening_sockets(flow.pid)) == 1


def listening_sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets that wait for connections."""
    own = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table]
    return {row[9] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}
