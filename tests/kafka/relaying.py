"""Relays in tests: as processes or here, and what a reader of the topics sees, compared with the ledger."""

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from dataflows.connectors.kafka_client import admin_client, answer, describe_topic, topic_name
from dataflows.launcher import run_rating
from dataflows.ledger import manifest
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.ledger.relay_note import FILE
from dataflows.relay import RelayProgress, run_relay
from dataflows.settings import Settings
from ops.kafka.broker import Broker
from ops.topics import check_topics
from tests.flow.world import World

ROOT = Path(__file__).resolve().parents[2]
# Many small commits that are merged soon.
RATING = Settings(batch_records=200, epoch_seconds=0.02, merge_files=3, replaced_files_seconds=2)


def with_topics(broker: Broker, prefix: str) -> Settings:
    """Settings with that prefix, and all topics."""
    settings = Settings(kafka={"bootstrap.servers": broker.bootstrap}, topic_prefix=prefix, topic_partitions=3)
    check_topics(settings, make=True)
    return settings


def rate(world: World, ledger: Path, *files: int, settings: Settings = RATING) -> None:
    """Rate some files of a world to their ends."""
    run_rating(world.compiled(), world.catalog, [world.events[file] for file in files], ledger, settings)


def relay(settings: Settings, ledger: Path, stop: threading.Event | None = None, **how: object) -> RelayProgress:
    """Relay all that is published, in this process; nothing may go wrong on the way."""
    remarks: list[str] = []
    progress = run_relay(
        settings, folder_of(ledger), stop or threading.Event(), True, **{"remark": remarks.append} | how
    )
    assert remarks == []
    return progress


def folder_of(ledger: Path) -> LedgerFolder:
    return open_folder(ledger, RATING.key_groups, RATING.writers)


class Following:
    """A relay in a thread, until it is told to stop."""

    def __init__(self, settings: Settings, ledger: Path) -> None:
        self.stop = threading.Event()
        self.progress = RelayProgress()
        self.remarks: list[str] = []
        self._failure: BaseException | None = None
        self._settings, self._folder = settings, folder_of(ledger)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        how = {"progress": self.progress, "remark": self.remarks.append}
        try:
            run_relay(self._settings, self._folder, self.stop, **how)
        except BaseException as failure:
            self._failure = failure

    def end(self) -> None:
        """Stop the relay, which must not have failed."""
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def has_caught_up(self) -> bool:
        """Whether all that is published now has been sent."""
        published = [
            manifest.load(self._folder.manifest(writer)).next_sequence for writer in self._folder.all_writers()
        ]
        return self.progress.positions == published or not self.thread.is_alive()


@contextmanager
def following(settings: Settings, ledger: Path) -> Iterator[Following]:
    """A relay that follows the ledger during the block."""
    relay = Following(settings, ledger)
    relay.thread.start()
    try:
        yield relay
    finally:
        relay.end()


def is_paused(process: "subprocess.Popen[str]") -> bool:
    """Whether a process has been stopped by SIGSTOP."""
    assert process.poll() is None, process.communicate()
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def start_relay(
    settings: Settings, ledger: Path, mode: str = "ONCE", point: str = "-", call: int = 1, number: int = 9
) -> "subprocess.Popen[str]":
    """A relay in a process of its own, see `relay_child`."""
    return subprocess.Popen(
        [
            *[sys.executable, "-m", "tests.kafka.relay_child", settings.to_json(), str(ledger)],
            *[mode, point, str(call), str(number)],
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def committed(settings: Settings, name: str) -> list[Message]:
    """Every message of a topic that a reader of committed messages sees, each partition in its order.

    Kafka closes a transaction a moment after it says so: what a partition ends with now is waited for.
    """
    topic = topic_name(settings, name)
    places = [TopicPartition(topic, number) for number in range(describe_topic(settings, topic).partitions)]
    admin = admin_client(settings)
    futures = admin.list_offsets({place: OffsetSpec.latest() for place in places})
    ends = {place.partition: answer(admin, future).offset for place, future in futures.items()}
    reading = {"group.id": "looking", "isolation.level": "read_committed", "enable.partition.eof": True}
    messages: list[Message] = []
    with closing(Consumer({**settings.kafka, **reading, "auto.offset.reset": "error"})) as consumer:
        consumer.assign([TopicPartition(topic, place.partition, OFFSET_BEGINNING) for place in places])
        read_to = dict.fromkeys(ends, 0)
        deadline = time.monotonic() + 60
        while any(read_to[partition] < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"{topic} ends at {ends}, and was read to {read_to} only"
            for message in consumer.consume(10_000, 0.2):
                read_to[message.partition()] = message.offset() + (message.error() is None)
                if message.error() is None:
                    messages.append(message)
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
    return messages


def rows_in_order(ledger: Path, table: str) -> pl.DataFrame:
    """The rows of a table as each writer committed them, read file by file."""
    files = [
        ledger / table / file.name
        for path in sorted((ledger / "manifest").glob("*.json"))
        for file in manifest.load(path).live(table)
    ]
    return pl.concat([pl.DataFrame(pl.from_arrow(pq.read_table(file, partitioning=None))) for file in files])


def assert_relayed(settings: Settings, ledger: Path, world: World | None = None) -> None:
    """Every row of the tables, and every rejected record, once, as the ledger has it, those of a key in its order."""
    _assert_table_relayed(settings, ledger, "line_items", "rated.line-items")
    _assert_table_relayed(settings, ledger, "notifications", "notifications")
    _assert_table_relayed(settings, ledger, "quota_verdicts", "quota.verdicts", "subscription_id", "quota")
    assert_rejected_relayed(settings, ledger, world)


def _assert_table_relayed(settings: Settings, ledger: Path, table: str, topic: str, *key_columns: str) -> None:
    wanted: dict[str, list[dict]] = defaultdict(list)
    for row in rows_in_order(ledger, table).iter_rows(named=True):
        key = ":".join(row[name] or "" for name in key_columns or ("subscription_id",))
        wanted[key].append({name: plain(value) for name, value in row.items()})
    found: dict[str, list[dict]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    for message in committed(settings, topic):
        key = (message.key() or b"").decode()
        found[key].append(json.loads(message.value()))
        partitions[key].add(message.partition())
    assert sum(map(len, found.values())) == sum(map(len, wanted.values())), _sent_twice(settings)
    for key, messages in wanted.items():
        if not key:
            # Of a notification of nobody known: any partition, and no order.
            assert sorted(map(str, found[key])) == sorted(map(str, messages))
            continue
        assert found[key] == messages, key
        assert len(partitions[key]) == 1, f"{key} is in several partitions"


def assert_invoices_relayed(settings: Settings, ledger: Path) -> None:
    """Every invoice once, with its lines, those of a subscription in the order of the ledger."""
    lines: dict[str, list[str]] = defaultdict(list)
    for row in rows_in_order(ledger, "invoice_lines").iter_rows(named=True):
        lines[row["invoice_id"]].append(row["invoice_line_id"])
    wanted: dict[str, list[tuple[str, str, list[str]]]] = defaultdict(list)
    for row in rows_in_order(ledger, "invoices").iter_rows(named=True):
        said = row["invoice_id"], plain(row["total"]), lines[row["invoice_id"]]
        wanted[row["subscription_id"]].append(said)
    found: dict[str, list[tuple[str, str, list[str]]]] = defaultdict(list)
    for message in committed(settings, "invoices"):
        row = json.loads(message.value())
        own = [line["invoice_line_id"] for line in row["invoice_lines"]]
        found[message.key().decode()].append((row["invoice_id"], row["total"], own))
    assert found == wanted


def _sent_twice(settings: Settings) -> str:
    """Which line items there are more than once, and where they stand."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for message in committed(settings, "rated.line-items"):
        places[json.loads(message.value())["line_id"]].append((message.partition(), message.offset()))
    twice = {line: where for line, where in places.items() if len(where) > 1}
    return f"{len(places)} line items, {len(twice)} of them more than once: {dict(list(twice.items())[:20])}"


def assert_rejected_relayed(settings: Settings, ledger: Path, world: World | None) -> None:
    events = rows_in_order(ledger, "events").filter(pl.col("verdict") == "rejected")
    wanted = {(row["partition"], row["offset"]): row["reason"] for row in events.iter_rows(named=True)}
    messages = committed(settings, "metering.rejected")
    assert len(messages) == len(wanted)
    lines = [path.read_bytes().splitlines() for path in world.events] if world else None
    for message in messages:
        headers = {name: value.decode() for name, value in message.headers()}
        place = int(headers["partition"]), int(headers["offset"])
        assert headers["reason"] == wanted.pop(place)
        if lines:
            assert message.value() == lines[place[0]][place[1]]
    assert not wanted


def plain(value: object) -> object:
    """A value of the ledger as its message has it."""
    match value:
        case Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case _:
            return value


def noted_at(ledger: Path) -> int:
    """When a relay of the ledger last noted its place; 0 if none did."""
    return (ledger / FILE).stat().st_mtime_ns if (ledger / FILE).exists() else 0


def wait_until(happened: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Until something has happened, which it must."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
