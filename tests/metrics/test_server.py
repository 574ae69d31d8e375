"""The port: what it answers when all is well and when not, and that nobody can stop it from answering others."""

import socket
import threading
from collections import Counter
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from dataflows.errors import RatemillError
from dataflows.ledger.commit import LanePosition
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.ledger.writer import LedgerWriter
from dataflows.metrics_flows import RatingHealth, serving_rating, serving_relay
from dataflows.metrics_server import listening
from dataflows.metrics_table import READY
from dataflows.relay import RelayProgress
from dataflows.settings import Settings
from dataflows.supervisor import Condition
from ops.kafka.broker import free_port
from tests.ledger.sealing import seal


@pytest.fixture
def settings() -> Settings:
    return Settings(metrics_port=free_port())


class Fixed(Collector):
    """One metric, or a failure."""

    def __init__(self) -> None:
        self.broken = False

    def collect(self):
        if self.broken:
            raise ValueError("so it goes")
        yield READY.one(1)


def get(settings: Settings, path: str) -> tuple[int, str]:
    connection = HTTPConnection(settings.metrics_host, settings.metrics_port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scraped(settings: Settings) -> dict[str, dict[tuple[str, ...], float]]:
    status, text = get(settings, "/metrics")
    assert status == 200
    return {
        sample.name: {tuple(each.labels.values()): each.value for each in family.samples if each.name == sample.name}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_three_pages(settings):
    reasons = ["", "no\ngood  reason", ""]
    with listening(settings, [Fixed()], lambda: reasons.pop(0)):
        assert get(settings, "/readyz") == (200, "ready\n")
        assert get(settings, "/readyz") == (503, "no good reason\n")
        assert get(settings, "/healthz") == (200, "alive\n")
        assert scraped(settings) == {"ratemill_ready": {(): 1}}
        assert get(settings, "/") == (404, "there is nothing but /metrics, /healthz and /readyz\n")
    with pytest.raises(ConnectionRefusedError):
        get(settings, "/healthz")


def test_a_failure_is_an_answer_and_nothing_else(settings, capfd):
    collector = Fixed()
    collector.broken = True
    with listening(settings, [collector], str):
        assert get(settings, "/metrics") == (500, "cannot answer: ValueError: so it goes\n")
        collector.broken = False
        assert get(settings, "/metrics")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_who_asks_nothing_or_leaves_keeps_nobody_waiting(settings, capfd):
    with listening(settings, [Fixed()], str):
        silent = [socket.create_connection((settings.metrics_host, settings.metrics_port)) for _ in range(20)]
        silent[0].sendall(b"GET /metrics HTTP/1.1\r\n")
        assert get(settings, "/metrics")[0] == 200
        for connection in silent:
            connection.close()
        assert get(settings, "/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_or_an_address_that_cannot_be_had(settings):
    with listening(settings, [], str), pytest.raises(RatemillError) as refused, listening(settings, [], str):
        raise AssertionError("the port was given twice")
    assert str(refused.value) == (
        f"metrics cannot be served at 127.0.0.1:{settings.metrics_port}: address already in use;"
        " set RATEMILL_METRICS_PORT to a free port, or to 0 for no metrics"
    )
    nowhere = settings.model_copy(update={"metrics_host": "no-such-host.invalid"})
    with (
        pytest.raises(RatemillError, match=r"^metrics cannot be served at no-such-host\.invalid:"),
        listening(nowhere, [], str),
    ):
        raise AssertionError("the address was given")


def test_an_address_of_the_newer_kind():
    settings = Settings(metrics_host="::1", metrics_port=free_port())
    with listening(settings, [Fixed()], str):
        assert get(settings, "/healthz") == (200, "alive\n")


@pytest.mark.parametrize(
    ("running", "failure", "age", "why"),
    [
        (True, "", 3.0, ""),
        (True, "a process ended", 59.0, ""),
        (False, "", 3.0, "the processes are starting"),
        (False, "a process ended", 3.0, "the processes are not running: a process ended"),
        (True, "", None, "nothing has been published yet, or the ledger cannot be read"),
        (True, "", 61.0, "nothing was published for 61 s"),
    ],
)
def test_rating_is_ready_while_it_runs_and_publishes(running, failure, age, why):
    condition = Condition(running, Counter({"died": 2}), failure)
    health = RatingHealth(condition, lambda: age, 60.0)
    assert health.why_not_ready() == why
    values = {
        (sample.name, *sample.labels.values()): sample.value for family in health.collect() for sample in family.samples
    }
    assert values.pop(("ratemill_ready",)) == (not why)
    assert values.pop(("ratemill_running",)) == running
    assert values == {
        ("ratemill_restarts_total", "died"): 2,
        ("ratemill_restarts_total", "stalled"): 0,
        ("ratemill_restarts_total", "not started"): 0,
        ("ratemill_restarts_total", "unreachable"): 0,
    }


@pytest.fixture
def folder(tmp_path) -> LedgerFolder:
    """A ledger whose first writer has published two commits."""
    folder = open_folder(tmp_path / "ledger", 16, 2)
    writer = LedgerWriter(folder, 0, None, Housekeeping(8, 1_000, 60))
    for offset in range(3):
        writer.announce(0, 0, LanePosition(offset, None), "digest")
        seal(writer)
    return folder


def test_what_the_relay_serves(settings, folder):
    progress = RelayProgress()
    with serving_relay(settings, folder, progress):
        assert get(settings, "/readyz") == (503, "the relay is starting\n")
        assert scraped(settings)["ratemill_ready"] == {(): 0}
        progress.positions = [0, 0]
        progress.messages.update({"rated.line-items": 7})
        assert get(settings, "/readyz") == (200, "ready\n")
        found = scraped(settings)
        assert found["ratemill_relay_position"] == {("0",): 0, ("1",): 0}
        assert found["ratemill_relay_behind_commits"] == {("0",): 2, ("1",): 0}
        assert found["ratemill_relay_messages_total"] == {
            ("rated.line-items",): 7,
            ("notifications",): 0,
            ("quota.verdicts",): 0,
            ("invoices",): 0,
            ("metering.rejected",): 0,
        }
        progress.positions = [2, 0]
        progress.last_error = "cannot reach Kafka"
        assert get(settings, "/readyz") == (503, "cannot reach Kafka\n")
        assert scraped(settings)["ratemill_relay_behind_commits"] == {("0",): 0, ("1",): 0}
        folder.manifest(0).write_bytes(b"[")
        assert "ratemill_relay_behind_commits" not in scraped(settings)


def test_port_0_serves_nothing(folder):
    """Not even Kafka is asked. These settings name none, which matters to nobody who only looks."""
    for port, threads in ((0, set()), (free_port(), {"metrics", "ends"})):
        with serving_rating(Settings(metrics_port=port), folder, Condition()):
            assert {thread.name for thread in threading.enumerate()} & {"metrics", "ends"} == threads
    with serving_relay(Settings(metrics_port=0), folder, RelayProgress()):
        assert "metrics" not in {thread.name for thread in threading.enumerate()}
