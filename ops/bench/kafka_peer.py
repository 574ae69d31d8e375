"""The peer: the same pricing as a plain Quix Streams job on the same topic, in a Python environment of its own.

Owns: that environment, and proof that the job did the same work: its lines, read as a consumer sees them, are as many
and add up to the same amount as a naive replay of the events that it committed.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import NewTopic

from dataflows.connectors.kafka_client import admin_client, answer, client_settings
from dataflows.settings import Settings
from ops.bench.kafka_topic import PARTITIONS, partition_of, records_of, settings_for
from ops.bench.limit import DECODERS
from ops.bench.scenario import BATCH_RECORDS, FIRST_FAILED_STATUS, TIERS
from ops.bench.worker import ROOT

_PEER = Path(__file__).resolve().parent / "peer"
_ENVIRONMENT = ROOT / ".bench" / "peer-venv"
_SECONDS_TO_END = 1_800
_SECONDS_TO_READ = 30
_GATHERING_SECONDS = 0.1
_exact: Callable[[bytes], Any] = DECODERS["exact"]


class FailedError(Exception):
    """A program of the peer's failed; the last it said."""


class NoPeerError(FailedError):
    """The peer's environment cannot be made here; the sentence says why."""


def measure_peer(bootstrap: str, topic: str, prefix: str, path: str, lines: int) -> dict[str, Any]:
    """The job until it has made so many lines; `cpu` is microseconds per event."""
    python = _python()
    settings = settings_for(bootstrap, prefix)
    output, group = f"{prefix}lines", f"{prefix}peer"
    admin = admin_client(settings)
    answer(admin, admin.create_topics([NewTopic(output, PARTITIONS, 1)])[output])
    with tempfile.TemporaryDirectory() as state:
        asked = {"bootstrap": bootstrap, "topic": topic, "output": output, "group": group, "lines": lines}
        told = _output([str(python), str(_PEER / "rating_job.py"), orjson.dumps({**asked, "state": state}).decode()])
    spent = orjson.loads(told.splitlines()[-1])
    offsets = _committed(settings, topic, group)
    made, amount = _read(settings, output)
    assert (made, amount) == expected(Path(path), offsets), f"the peer made {made} lines of {amount} in all"
    events = sum(offsets.values())
    return {
        "events": events,
        "lines": made,
        "seconds": spent["seconds"],
        "per_second": events / spent["seconds"],
        "cpu": 1e6 * spent["cpu"] / events,
        "version": _version(),
    }


def _python() -> Path:
    """The interpreter of the peer's environment, made if it is not there as the requirements say."""
    requirements = _PEER / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    ready, python = _ENVIRONMENT / ".ready", _ENVIRONMENT / "bin" / "python"
    if ready.exists() and ready.read_text() == wanted:
        return python
    try:
        _output([sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)])
        _output([str(python), "-m", "pip", "install", "--quiet", "--no-input", "-r", str(requirements)])
    except FailedError as error:
        raise NoPeerError(f"its Python environment cannot be made: {error}") from error
    ready.write_text(wanted)
    return python


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, cwd=_PEER, capture_output=True, text=True, timeout=_SECONDS_TO_END, check=True)
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout).splitlines() if line.strip()]
        raise FailedError(lines[-1] if lines else f"exit code {error.returncode}") from error
    return done.stdout


def _version() -> str:
    pins = (_PEER / "requirements.txt").read_text().splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith("quixstreams=="))


def _committed(settings: Settings, topic: str, group: str) -> dict[int, int]:
    """How many events of each partition the job has committed: nothing was sent to this topic but events."""
    consumer = Consumer(client_settings(settings, {"group.id": group}))
    asked = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    offsets = {place.partition: max(place.offset, 0) for place in consumer.committed(asked, _SECONDS_TO_READ)}
    consumer.close()
    return offsets


def _read(settings: Settings, output: str) -> tuple[int, Decimal]:
    """The lines that a consumer of committed records sees: their number, and their amount."""
    own = {"group.id": f"{output}.check", "enable.partition.eof": True, "isolation.level": "read_committed"}
    consumer = Consumer(client_settings(settings, own))
    consumer.assign([TopicPartition(output, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    made, amount, ended = 0, Decimal(0), 0
    while ended < PARTITIONS:
        for message in consumer.consume(BATCH_RECORDS, _GATHERING_SECONDS):
            if (error := message.error()) is not None:
                ended += error.code() == KafkaError._PARTITION_EOF
                continue
            made += 1
            amount += Decimal(orjson.loads(message.value() or b"")["amount"])
    consumer.close()
    return made, amount


def expected(path: Path, offsets: dict[int, int]) -> tuple[int, Decimal]:
    """What a naive replay of the first events of each partition makes: lines, and their amount."""
    left, usage = dict(offsets), defaultdict[bytes, Decimal](Decimal)
    made, amount = 0, Decimal(0)
    for _, key, value in records_of(path):
        partition = partition_of(key, PARTITIONS)
        if not left[partition]:
            continue
        left[partition] -= 1
        data = _exact(value)["data"]
        if data["status"] < FIRST_FAILED_STATUS:
            before = usage[key]
            usage[key] += data["gigabytes"]
            parts = list(_amounts(before, usage[key]))
            made, amount = made + len(parts), amount + sum(parts)
    return made, amount


def _amounts(before: Decimal, after: Decimal) -> Iterator[Decimal]:
    """What the usage from `before` to `after` costs in each tier that it touches."""
    lower = Decimal(0)
    for bound, price in TIERS:
        upper = Decimal(bound or "Infinity")
        if before < upper and after > lower:
            yield (min(after, upper) - max(before, lower)) * Decimal(price)
        lower = upper
