"""Rating flows on a real broker, as real processes: topics made, catalogs published, records sent, flows started."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.kafka_client import admin_client, answer, client_settings, describe_topic, topic_name
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.manifest import wait_until_visible
from dataflows.ledger.published import read_table
from dataflows.rating import LATENESS_OF_TOPICS
from dataflows.settings import Settings
from dataflows.verification.findings import Findings, Unchecked
from dataflows.verification.verifying import verify
from ops.topics import check_topics

ROOT = Path(__file__).resolve().parents[2]
# Many small commits and merges, so that a kill may meet each of them; records of any age, as tests replay old times.
BUSY = {
    "batch_records": 500,
    "epoch_seconds": 0.05,
    "merge_files": 3,
    "replaced_files_seconds": 2,
    "lateness_hours": 840,
    "catalog_lead_seconds": 1,
    "metrics_port": 0,
    # Records that a flow sends by itself would differ from run to run.
    "reinject_parked": False,
}

_PR_SET_PDEATHSIG = 1
# The one that the key chooses, as `ratemill produce` has it.
ANY_PARTITION = -1

Record = tuple[int, bytes | None, bytes]


def settings_for(broker, prefix: str, **update: object) -> Settings:
    """Settings of a deployment on the broker, busy unless it is said otherwise."""
    values = {
        **BUSY,
        "kafka": {"bootstrap.servers": broker.bootstrap},
        "topic_prefix": prefix,
        "group": f"{prefix}rating",
    }
    return Settings.model_validate(values | update)


def assert_verified(ledger: Path, settings: Settings) -> None:
    """Everything in the ledger follows from the events and catalogs that it keeps."""
    findings = Findings()
    verify(existing_folder(ledger), settings.lateness_us or LATENESS_OF_TOPICS, findings)
    assert findings.hold, findings.differences[:5]
    assert not findings.unchecked[Unchecked.DAMAGED], findings.unchecked


def make_topics(settings: Settings, catalog: Path) -> None:
    """All topics, and the catalog published."""
    check_topics(settings, make=True)
    publish_catalog(settings, load_catalog(catalog), None, None)


def add_partitions(settings: Settings, partitions: int) -> None:
    """More partitions for the topic of events."""
    admin = admin_client(settings)
    topic = topic_name(settings, "metering.events")
    answer(admin, admin.create_partitions([NewPartitions(topic, partitions)])[topic])
    # The controller answers before the broker knows.
    while describe_topic(settings, topic).partitions != partitions:
        time.sleep(0.05)


def send(settings: Settings, records: Iterable[Record], per_second: int | None = None) -> int:
    """Send records (partition, key, value) in their order; gives their number, and fails unless all were taken."""
    failures: list[object] = []
    producer = Producer(
        client_settings(settings, {"enable.idempotence": True, "linger.ms": 5, "partitioner": "murmur2_random"})
    )
    topic = topic_name(settings, "metering.events")
    began, sent = time.monotonic(), 0
    for partition, key, value in records:
        producer.produce(
            topic, value, key, partition, on_delivery=lambda error, _: failures.append(error) if error else None
        )
        sent += 1
        if sent % 500 == 0:
            producer.poll(0)
            if per_second:
                time.sleep(max(0.0, sent / per_second - (time.monotonic() - began)))
    assert producer.flush(60) == 0
    assert not failures, failures[:3]
    return sent


def lines_of(events: Iterable[Path]) -> Iterable[Record]:
    """The lines of files in turn, each file on a partition of its own."""
    files = [(number, path.read_bytes().splitlines()) for number, path in enumerate(events)]
    for row in range(max(len(lines) for _, lines in files)):
        for partition, lines in files:
            if row < len(lines):
                yield partition, None, lines[row]


def start_flow(
    settings: Settings, ledger: Path | None, flow: str = "rating", *options: str, **popen: object
) -> subprocess.Popen:
    """`ratemill run` in a process group of its own; a flow that has no ledger gets none."""
    values = settings.model_dump(mode="json", exclude_defaults=True, exclude={"kafka", "events", "catalog"})
    environment = os.environ | {f"RATEMILL_{name.upper()}": str(value) for name, value in values.items()}
    environment["RATEMILL_KAFKA_BOOTSTRAP_SERVERS"] = settings.kafka["bootstrap.servers"]
    place = () if ledger is None else ("--ledger", str(ledger))
    return subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "--debug", "run", flow, *place, *options],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=_die_with_parent,
        **popen,
    )


def _die_with_parent() -> None:
    """A test that is itself killed leaves no flow behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def running(settings: Settings, ledger: Path, flow: str = "rating", *options: str):
    """A flow that runs during the block and is asked to stop after it, which must work."""
    process = start_flow(settings, ledger, flow, *options)
    try:
        yield process
    except BaseException:
        process.kill()
        print(process.communicate()[1], file=sys.stderr)
        raise
    stop(process)


def stop(process: subprocess.Popen) -> str:
    """Ask a flow to stop, which must end well; gives what it said."""
    while process.poll() is None and not _listens(process.pid):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return said


def _listens(process: int) -> bool:
    """Whether it has a handler for SIGTERM; Python itself, as long as it imports, has none."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def records_in_topic(settings: Settings) -> int:
    """How many records have been sent; none were in transactions or deleted."""
    consumer = Consumer(client_settings(settings, {"group.id": "none"}))
    topic = topic_name(settings, "metering.events")
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)[1] for partition in partitions]
    consumer.close()
    return sum(ends)


def received(ledger: Path) -> int:
    """Records with a published verdict."""
    return read_table(ledger, "commits")["received"].sum() if (ledger / "manifest").exists() else 0


def wait_until_received(
    ledger: Path, records: int, process: subprocess.Popen | None = None, seconds: float = 120
) -> None:
    """Until statements see so many records with a verdict; a flow that ends before is a failure."""
    last = time.monotonic() + seconds
    while (found := received(ledger)) < records:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the flow ended after {found} of {records}: {process.communicate()[1]}")
        assert time.monotonic() < last, f"{found} of {records} records after {seconds} s"
        time.sleep(0.1)
    assert found == records
    wait_until_visible((ledger / "manifest").glob("*.json"))


def wait_for(condition, flow: subprocess.Popen, seconds: float = 60) -> None:
    last = time.monotonic() + seconds
    while not condition():
        assert flow.poll() is None, flow.communicate()[1]
        assert time.monotonic() < last
        time.sleep(0.1)


def event(identity: str, subscription: str, **more: object) -> dict:
    return {"id": identity, "source": "api", "subscription": subscription, "data": {"tokens": "2"}} | more
