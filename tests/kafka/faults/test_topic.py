"""A topic that changes under a ledger: records deleted before they were rated, the topic made anew, other partitions.

The rule: what is lost is told with its offsets, exit code 1, and nothing is rated beyond it until a person says so.
"""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from dataflows.connectors.kafka_client import admin_client, answer, topic_name
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from tests.kafka.faults.acts import children_of, kill, kill_all, last_sentence, wait_for_children, wait_until
from tests.kafka.faults.oracle_compare import Kept, assert_as_rated
from tests.kafka.faults.steady import PARTITIONS, Steady, settings_of_faults
from tests.kafka.faults.summary import SUMMARY
from tests.kafka.faults.traffic import send_all
from tests.kafka.flows import add_partitions, make_topics, received, running, start_flow, wait_until_received

pytestmark = pytest.mark.timeout(600)
_RATED, _DELETED, _PARTITION = 900, 1_200, 1


@pytest.fixture
def settings(broker, steady, topic_prefix) -> Settings:
    settings = settings_of_faults(broker, topic_prefix, stall_seconds=300)
    make_topics(settings, steady.traffic.catalog)
    return settings


@pytest.fixture
def ledger(settings, steady, tmp_path) -> Path:
    """A ledger that has rated the first records of each partition."""
    rate(settings, tmp_path / "ledger", send_all(settings, the_first(steady)))
    return tmp_path / "ledger"


def the_first(steady: Steady) -> list[Kept]:
    return [record for record in steady.traffic.records if record.offset < _RATED]


def the_rest(steady: Steady) -> list[Kept]:
    return [record for record in steady.traffic.records if record.offset >= _RATED]


def rate(settings: Settings, ledger: Path, records: int, *options: str) -> None:
    """Run the flow until the ledger has so many records."""
    with running(settings, ledger, "rating", *options) as flow:
        wait_until_received(ledger, records, flow)


def refused(settings: Settings, ledger: Path) -> str:
    """What a start says that must be refused, and has rated nothing."""
    before = received(ledger)
    flow = start_flow(settings, ledger)
    try:
        said = flow.communicate(timeout=60)[1]
    finally:
        kill_all(flow)
    assert flow.returncode == 1, said
    assert received(ledger) == before
    return last_sentence(said)


def ended_while(act: Callable[[], object], settings: Settings, ledger: Path) -> str:
    """What a flow says that reads at the ends of its partitions and must end because of what happens meanwhile."""
    flow = start_flow(settings, ledger)
    try:
        wait_for_commits(ledger, flow)
        children = children_of(flow)
        kill(children, signal.SIGSTOP)
        act()
        kill(children, signal.SIGCONT)
        said = flow.communicate(timeout=120)[1]
    finally:
        kill_all(flow)
    assert flow.returncode == 1, said
    return last_sentence(said)


def wait_for_commits(ledger: Path, flow: subprocess.Popen) -> None:
    """Until the flow has looked at the ends of its partitions, which commits that nothing came."""
    before = read_table(ledger, "commits").height
    wait_until(lambda: read_table(ledger, "commits").height > before + 2, flow)


def delete_before(settings: Settings, partition: int, offset: int) -> None:
    """Delete the records of a partition before an offset, as retention does."""
    admin = admin_client(settings)
    place = TopicPartition(topic_name(settings, "metering.events"), partition, offset)
    answer(admin, admin.delete_records([place])[place])


def lost(settings: Settings, first: int = _RATED) -> str:
    return (
        f"{_DELETED - first:,} records of {topic_name(settings, 'metering.events')}, partition {_PARTITION}, offsets"
        f" {first} to {_DELETED - 1}, were deleted before they were rated"
    )


def assert_all_but_the_lost(settings: Settings, ledger: Path, steady: Steady, first: int = _RATED) -> None:
    """Told to accept the loss, the flow rates all the rest as the oracle does."""
    gone = range(first, _DELETED)
    left = [each for each in steady.traffic.records if each.partition != _PARTITION or each.offset not in gone]
    rate(settings, ledger, len(left), "--accept-loss")
    expected = replace(steady.traffic, records=tuple(left)).expected(settings)
    SUMMARY.add("records deleted", 0, assert_as_rated(ledger, expected))


def test_records_deleted_while_the_flow_was_down(settings, ledger, steady):
    send_all(settings, the_rest(steady))
    delete_before(settings, _PARTITION, _DELETED)
    for _ in range(2):
        assert lost(settings) in refused(settings, ledger)
    assert_all_but_the_lost(settings, ledger, steady)


def test_records_deleted_while_the_flow_stands_still(settings, ledger, steady):
    """Retention overtakes a reader: it ends with the same sentence, and goes on when told so."""

    def overtake() -> None:
        send_all(settings, the_rest(steady))
        delete_before(settings, _PARTITION, _DELETED)

    assert lost(settings) in ended_while(overtake, settings, ledger)
    assert read_table(ledger, "events").filter(partition=_PARTITION)["offset"].max() == _RATED - 1
    assert_all_but_the_lost(settings, ledger, steady)


def test_records_deleted_from_a_partition_that_was_empty_before(settings, steady, tmp_path):
    """The ledger has known the partition, though nothing had ever come from it."""
    others = [record for record in the_first(steady) if record.partition != _PARTITION]
    ledger = tmp_path / "ledger"
    rate(settings, ledger, send_all(settings, others))
    send_all(settings, [record for record in steady.traffic.records if record not in others])
    delete_before(settings, _PARTITION, _DELETED)
    assert lost(settings, first=0) in refused(settings, ledger)
    assert_all_but_the_lost(settings, ledger, steady, first=0)


def test_a_loss_is_accepted_once(settings, ledger, steady):
    """A restart, by itself and much later, does not accept another one."""
    send_all(settings, the_rest(steady))
    delete_before(settings, _PARTITION, _DELETED)
    end = 1 + max(record.offset for record in steady.traffic.records if record.partition == _PARTITION)
    flow = start_flow(settings, ledger, "rating", "--accept-loss")
    try:
        wait_until_received(ledger, len(steady.traffic.records) - (_DELETED - _RATED), flow)
        children = children_of(flow)
        kill(children, signal.SIGSTOP)
        send_all(settings, [record for record in steady.traffic.records if record.partition == _PARTITION])
        delete_before(settings, _PARTITION, end + 10)
        kill(children)
        said = flow.communicate(timeout=120)[1]
    finally:
        kill_all(flow)
    assert flow.returncode == 1, said
    assert f"10 records of {topic_name(settings, 'metering.events')}, partition {_PARTITION}, offsets {end}" in said


def test_records_are_deleted_from_a_partition_that_was_added(broker, steady, topic_prefix, tmp_path):
    settings = settings_of_faults(broker, topic_prefix, _PARTITION)
    make_topics(settings, steady.traffic.catalog)
    ledger = tmp_path / "ledger"
    rate(settings, ledger, send_all(settings, [record for record in the_first(steady) if record.partition == 0]))
    add_partitions(settings, _PARTITION + 1)
    wait_until(lambda: _partitions(settings) == _PARTITION + 1)
    added = [record for record in steady.traffic.records if record.partition == _PARTITION]
    send_all(settings, added)
    delete_before(settings, _PARTITION, _DELETED)
    for _ in range(2):
        assert lost(settings, first=0) in refused(settings, ledger)
    rate(settings, ledger, received(ledger) + len(added) - _DELETED, "--accept-loss")


def delete_topic(settings: Settings) -> None:
    admin, topic = admin_client(settings), topic_name(settings, "metering.events")
    answer(admin, admin.delete_topics([topic])[topic])
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics)


def make_topic(settings: Settings, partitions: int) -> None:
    admin, topic = admin_client(settings), topic_name(settings, "metering.events")
    answer(admin, admin.create_topics([NewTopic(topic, partitions, 1)])[topic])
    wait_until(lambda: topic in admin.list_topics(timeout=10).topics)


@pytest.mark.parametrize("partitions", [PARTITIONS, PARTITIONS - 1])
def test_the_topic_was_made_again_while_the_flow_was_down(settings, ledger, steady, partitions):
    delete_topic(settings)
    make_topic(settings, partitions)
    said = refused(settings, ledger)
    assert f"the topic {topic_name(settings, 'metering.events')} was deleted and made again since" in said.lower()
    assert said.endswith("so it needs a new ledger.")


def test_the_topic_is_made_again_while_the_flow_runs(settings, ledger, steady):
    """Filled beyond where the flow stands, so that its offsets exist: they are those of other records."""

    def make_and_fill() -> None:
        delete_topic(settings)
        make_topic(settings, PARTITIONS)
        send_all(settings, steady.traffic.records)

    before = received(ledger)
    said = ended_while(make_and_fill, settings, ledger)
    assert f"the topic {topic_name(settings, 'metering.events')} was deleted and made again" in said.lower()
    assert received(ledger) == before


def test_the_topic_is_deleted_while_the_flow_runs(settings, ledger, steady):
    """It might only be hidden for a while: the flow says so and waits, until another topic has its name."""
    flow = start_flow(settings, ledger)
    try:
        children = wait_for_children(flow, 1)
        wait_for_commits(ledger, flow)
        delete_topic(settings)
        wait_until(lambda: children[0] not in children_of(flow), flow)
        make_topic(settings, PARTITIONS)
        said = flow.communicate(timeout=120)[1]
    finally:
        kill_all(flow)
    assert flow.returncode == 1, said
    assert f"has no topic {topic_name(settings, 'metering.events')}" in said
    assert "was deleted and made again since" in last_sentence(said)


def test_partitions_are_added(broker, steady, topic_prefix, tmp_path):
    """They are read from the next start on; what the others have come to is kept."""
    settings = settings_of_faults(broker, topic_prefix, PARTITIONS - 1, workers=2)
    make_topics(settings, steady.traffic.catalog)
    ledger = tmp_path / "ledger"
    sent = send_all(settings, [record for record in the_first(steady) if record.partition < PARTITIONS - 1])
    rate(settings, ledger, sent)
    add_partitions(settings, PARTITIONS)
    wait_until(lambda: _partitions(settings) == PARTITIONS)
    send_all(settings, [record for record in the_first(steady) if record.partition == PARTITIONS - 1])
    send_all(settings, the_rest(steady))
    rate(settings.model_copy(update={"processes": 2}), ledger, len(steady.traffic.records))
    SUMMARY.add("partitions added", 0, steady.assert_reached(settings, ledger))


def _partitions(settings: Settings) -> int:
    topic = topic_name(settings, "metering.events")
    return len(admin_client(settings).list_topics(topic, timeout=10).topics[topic].partitions)
