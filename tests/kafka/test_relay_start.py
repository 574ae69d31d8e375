"""Where a relay begins, and what it refuses: each time one sentence that says what to do, and nothing sent twice."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from dataflows.connectors.kafka_client import admin_client, answer, topic_name
from dataflows.connectors.relay_positions import POSITIONS_TOPIC
from dataflows.errors import RatemillError
from dataflows.launcher import run_rating
from dataflows.ledger import manifest
from dataflows.ledger.relay_note import FILE
from dataflows.relay_start import RelayStart
from dataflows.settings import Settings
from tests.flow.world import World, make_world
from tests.kafka.relaying import (
    RATING,
    assert_relayed,
    committed,
    folder_of,
    following,
    rate,
    relay,
    wait_until,
    with_topics,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), 2_000)


@pytest.fixture
def ledger(world, tmp_path) -> Path:
    rate(world, tmp_path / "ledger", 0)
    return tmp_path / "ledger"


@pytest.fixture
def settings(broker, topic_prefix) -> Settings:
    return with_topics(broker, topic_prefix)


def test_an_empty_ledger(settings, tmp_path):
    progress = relay(settings, tmp_path / "ledger")
    assert (progress.commits, progress.positions, progress.published) == (0, [0] * 4, [0] * 4)
    assert committed(settings, "rated.line-items") == []


def test_no_topics(broker, topic_prefix, ledger):
    settings = Settings(kafka={"bootstrap.servers": broker.bootstrap}, topic_prefix=topic_prefix)
    with pytest.raises(
        RatemillError, match=f"has no topic {topic_prefix}rated[.]line-items: make it with `ratemill top"
    ):
        relay(settings, ledger)


def test_a_wrong_address(ledger):
    settings = Settings(kafka={"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(RatemillError, match=r"cannot reach Kafka at 127\.0\.0\.1:1"):
        relay(settings, ledger)


def test_a_ledger_may_be_moved(settings, ledger, tmp_path):
    relay(settings, ledger)
    moved = ledger.rename(tmp_path / "moved")
    assert relay(settings, moved).commits == 0
    assert_relayed(settings, moved)


def test_an_older_backup_is_refused(world, settings, tmp_path):
    """Also when it has been rated on, into other commits than those that were sent."""
    ledger = tmp_path / "ledger"
    rate(world, ledger, 0)
    backup = Path(shutil.copytree(ledger, tmp_path / "backup"))
    rate(world, ledger, 1, settings=RATING.model_copy(update={"batch_records": 50_000}))
    sent = relay(settings, ledger).positions
    shutil.copy(ledger / FILE, backup / FILE)
    with pytest.raises(RatemillError, match=r"has published \d+ commits of writer 0, and \d+ of them are sent: it was"):
        relay(settings, backup)
    rate(world, backup, 2)
    assert all(manifest.load(folder_of(backup).manifest(writer)).next_sequence >= at for writer, at in enumerate(sent))
    with pytest.raises(RatemillError, match=r"has another commit \d+ of writer 0 than the one that was sent: it was"):
        relay(settings, backup)
    assert_relayed(settings, ledger)
    (backup / FILE).unlink()
    assert relay(settings, backup, start=RelayStart.NOW).messages.total() == 0


@pytest.mark.parametrize("start_at", [None, *RelayStart])
def test_a_position_that_kafka_has_forgotten(settings, ledger, broker, topic_prefix, start_at):
    """As when the topic was deleted, or the cluster is another one: a person says how to go on."""
    before = relay(settings, ledger)
    note = (ledger / FILE).read_bytes()
    append = make_world(ledger.parent / "more", 300, files=1, seed=9)
    run_rating(append.compiled(), None, append.events, ledger, RATING)
    after = relay(settings, ledger)
    new = after.messages.total()
    assert new > 0
    (ledger / FILE).write_bytes(note)
    other = with_topics(broker, f"{topic_prefix}other.")
    if start_at is None:
        with pytest.raises(
            RatemillError, match=r"does not know how far the ledger .* has been relayed: .*--from noted"
        ):
            relay(other, ledger)
        return
    sent = relay(other, ledger, start=start_at).messages.total()
    expected = {RelayStart.BEGINNING: before.messages.total() + new, RelayStart.NOTED: new, RelayStart.NOW: 0}
    assert sent == expected[start_at]
    assert relay(other, ledger, start=start_at).messages.total() == 0, "a position that is known goes before"


def test_a_transaction_that_does_not_end(settings, ledger):
    """Nothing is sent while one hides positions, and the sentence says what it is; when it ends, the relay goes on."""
    relay(settings, ledger)
    producer = Producer({**settings.kafka, "transactional.id": settings.topic_prefix + "another"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic_name(settings, POSITIONS_TOPIC), b"{}", b"another")
    producer.flush(30)
    with following(settings, ledger) as running:
        wait_until(lambda: running.remarks, "the relay says that it waits")
        assert running.progress.positions == []
        producer.abort_transaction(30)
        wait_until(running.has_caught_up, "the relay goes on")
    assert re.fullmatch(
        rf"Kafka at \S+ holds a transaction open \(reading the topic {topic_name(settings, POSITIONS_TOPIC)}: it shows"
        r" nothing from offset \d+ on\): if it stays so for longer than one may take, 10 minutes unless set, end it as"
        r" docs/kafka.md says; waiting, and going on by itself",
        running.remarks[0],
    )
    assert running.remarks[1:] == ["Kafka answers again"]
    assert_relayed(settings, ledger)


def test_rows_that_are_missing_from_a_file(settings, ledger):
    table = ledger / "line_items"
    [file, *_] = [held.name for held in manifest.load(folder_of(ledger).manifest(0)).live("line_items")]
    rows = pq.read_table(table / file, partitioning=None)
    pq.write_table(rows.slice(1), table / file)
    with pytest.raises(RatemillError, match=rf"the ledger .* is damaged: {file} has {len(rows) - 1} rows; by the mani"):
        relay(settings, ledger)


def test_a_record_that_is_larger_than_the_topic_takes(world, settings, tmp_path):
    """Its value is left out, and a header says so; the ledger has it."""
    large = tmp_path / "large.ndjson"
    large.write_bytes(b"\n".join([b"x" * 100_000, b"short", b"y" * 2_000_000, b""]))
    run_rating(world.compiled(), world.catalog, [large], tmp_path / "ledger", RATING)
    admin, topic = admin_client(settings), topic_name(settings, "metering.rejected")
    change = ConfigEntry("max.message.bytes", "70000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    answer(admin, admin.incremental_alter_configs([resource])[resource])
    assert relay(settings, tmp_path / "ledger").messages == {"metering.rejected": 3}
    messages = sorted(committed(settings, "metering.rejected"), key=lambda message: message.headers()[2:])
    assert [message.value() for message in messages] == [b"", b"short", b""]
    assert [dict(message.headers()).get("value-left-out") for message in messages] == [
        b"100000 bytes",
        None,
        b"2000000 bytes",
    ]
