"""What operators and gateways get wrong: one sentence that says what to do, a verdict for records; nothing is lost.

Passwords and certificates are in tests/kafka/test_client.py, topics that change in test_topic.py, recovery folders that
are not the ledger's in tests/flow/test_recovery_folder.py; of these, only how the command ends is here.
"""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from ops.topics import check_topics
from tests.flow.world import make_world
from tests.kafka.faults.acts import children_of, last_sentence, wait_for_children, wait_until
from tests.kafka.faults.oracle_compare import Kept, assert_as_oracle
from tests.kafka.faults.steady import settings_of_faults
from tests.kafka.faults.traffic import MONTH, lately, send_all
from tests.kafka.flows import make_topics, running, start_flow, stop, wait_until_received

pytestmark = pytest.mark.timeout(600)
_BEGIN = lately()
# The broker's limit is 1 MiB for a batch, with what it adds.
_NEARLY_TOO_LARGE = 1_040_000


def refused(settings: Settings, ledger: Path) -> str:
    """What the command says, in its last line, before it ends with exit code 1."""
    flow = start_flow(settings, ledger)
    said = flow.communicate(timeout=120)[1]
    assert flow.returncode == 1, said
    return last_sentence(said)


@pytest.fixture
def catalog(tmp_path) -> Path:
    return make_world(tmp_path / "world", 0, 1, month=MONTH).catalog


@pytest.fixture
def settings(broker, topic_prefix) -> Settings:
    return settings_of_faults(broker, topic_prefix, 1)


def test_a_wrong_address(broker, topic_prefix, tmp_path):
    settings = settings_of_faults(broker, topic_prefix, kafka={"bootstrap.servers": "127.0.0.1:9"})
    said = refused(settings, tmp_path / "ledger")
    assert said.startswith("Cannot reach Kafka at 127.0.0.1:9 (")
    assert said.endswith("check RATEMILL_KAFKA_BOOTSTRAP_SERVERS and that the broker runs.")
    assert not (tmp_path / "ledger").exists()


def test_no_such_topic(settings, tmp_path):
    advice = "make it with `ratemill topics`, or check RATEMILL_TOPIC_PREFIX."
    assert refused(settings, tmp_path / "ledger").endswith(
        f"has no topic {settings.topic_prefix}metering.events: {advice}"
    )


def test_no_catalog_yet(settings, catalog, tmp_path):
    """It is waited for, as parts of a deployment start in any order."""
    check_topics(settings, make=True)
    sent = send_all(settings, [record(0, good(0))])
    flow = start_flow(settings, tmp_path / "ledger")
    first = wait_for_children(flow, 1)
    wait_until(lambda: first[0] not in children_of(flow), flow)
    publish_catalog(settings, load_catalog(catalog), None, None)
    wait_until_received(tmp_path / "ledger", sent, flow)
    assert f"no catalog has been published to {settings.topic_prefix}catalog: `ratemill publish CATALOG`" in stop(flow)


@pytest.mark.long_form
def test_an_old_recovery_folder(settings, catalog, tmp_path):
    """The command ends with the sentence; with the right folder back it goes on as if nothing had happened."""
    make_topics(settings, catalog)
    ledger, recovery = tmp_path / "ledger", tmp_path / "ledger" / "recovery"
    for half in (range(100), range(100, 200)):
        send_all(settings, [record(number, good(number)) for number in half])
        with running(settings, ledger) as flow:
            wait_until_received(ledger, half.stop, flow)
        shutil.copytree(recovery, tmp_path / f"recovery-{half.stop}")
    shutil.rmtree(recovery)
    shutil.copytree(tmp_path / "recovery-100", recovery)
    said = refused(settings, ledger)
    assert "but its recovery store knows of" in said
    assert "put back the one that was there, or restore the whole folder of the ledger from one backup" in said
    shutil.rmtree(recovery)
    shutil.copytree(tmp_path / "recovery-200", recovery)
    sent = 200 + send_all(settings, [record(200, good(200))])
    with running(settings, ledger) as flow:
        wait_until_received(ledger, sent, flow)
    assert_as_oracle(ledger, settings, catalog)


def good(number: int, **more: object) -> bytes:
    event = {"id": f"e-{number}", "source": "api", "time": _BEGIN.isoformat(), "subscription": f"sub-0-{number % 40}"}
    return json.dumps(event | {"data": {"tokens": "2.5", "region": "eu", "user": "u"}} | more).encode()


def record(number: int, value: bytes) -> Kept:
    return Kept(0, number, _BEGIN + timedelta(milliseconds=number), value)


def with_data(number: int, text: str) -> bytes:
    return good(number).replace(b'{"tokens": "2.5", "region": "eu", "user": "u"}', text.encode())


POISON = {
    "nothing": b"",
    "binary": bytes(range(256)) * 8,
    "NULs": b"\0" * 1_000,
    "a NUL in a name": good(0, subscription="sub-0\0-1"),
    "not UTF-8": good(1).replace(b"sub-0", b"sub\xff0"),
    "cut off": good(2)[:40],
    "two events": good(3) + good(4),
    "deep objects": b'{"a":' * 20_000,
    "deep arrays": with_data(5, '{"tokens": ' + "[" * 30_000 + "]" * 30_000 + "}"),
    "deep data": with_data(6, '{"a":' * 2_000 + "1" + "}" * 2_000),
    "a huge number": with_data(7, '{"tokens": ' + "9" * 5_000 + "}"),
    "a huge exponent": with_data(8, '{"tokens": 1e999999999}'),
    "a tiny exponent": with_data(9, '{"tokens": 1e-999999999}'),
    "as much as a quantity may be": with_data(10, '{"tokens": 99999999999999999999.999999}'),
    "more than an amount may be": with_data(11, '{"tokens": "99999999999999999999999999999999"}'),
    "not a number": with_data(12, '{"tokens": NaN}'),
    "a year of five digits": good(13, time="12024-11-02T10:00:00Z"),
    "no time at all": good(14, time=""),
    "a list": b"[1, 2, 3]",
    "null": b"null",
    "a lone surrogate": good(15).replace(b'"api"', b'"\\ud800"'),
    "many elements": with_data(16, json.dumps({f"e{number}": number for number in range(5_000)})),
    "one name twice": good(17).replace(b'"source"', b'"id": "again", "source"'),
    "over our limit": good(18, note="x" * 66_000),
    "near the broker's limit": good(19, note="x" * _NEARLY_TOO_LARGE),
    "near the broker's limit, and no JSON": b"\xff" * _NEARLY_TOO_LARGE,
}


def test_poison_has_a_verdict_and_harms_no_neighbour(settings, catalog, tmp_path):
    """Each bad record between two good ones, in one batch and one by one; the flow never ends for it."""
    make_topics(settings, catalog)
    values = [value for name in POISON for value in (good(1_000 + len(name)), POISON[name])]
    values = [good(1_000 + index) if index % 2 == 0 else value for index, value in enumerate(values)]
    sent = send_all(settings, [record(number, value) for number, value in enumerate(values)])
    for name, update in {"batch": {}, "one": {"batch_records": 1, "processes": 2}}.items():
        with running(settings.model_copy(update=update), tmp_path / name) as flow:
            wait_until_received(tmp_path / name, sent, flow)
        assert_as_oracle(tmp_path / name, settings, catalog)
        events = read_table(tmp_path / name, "events").sort("offset")
        assert set(events.filter(events["offset"] % 2 == 0)["verdict"]) == {"rated"}
        rejected = events.filter(verdict="rejected")
        assert rejected["reason"].null_count() == rejected["reason_detail"].null_count() == 0
