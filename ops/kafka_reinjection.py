"""Parked events of a ledger that a topic feeds, sent to that topic again.

Owns: `<ledger>/inputs/reinject-<number>.ndjson`, here a list of what was sent, and `.sent` beside it once all of it
arrived. Does not own: choosing (`reinjection`), when a running flow does this (`reinjector`), or the verdict that the
events get. The rule: a position is sent once; what was chosen is on disk before it is sent, so after a crash it is sent
again, which costs a `duplicate` and never a charge.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.connectors.kafka_client import client_settings, describe_topic, plain_kafka_errors, topic_name
from dataflows.errors import RatemillError
from dataflows.ledger.folder import alone, plain_os_errors, replace_file
from dataflows.moments import now
from dataflows.settings import Settings
from ops.ledger_views import open_ledger
from ops.producing import key_of
from ops.query import ask
from ops.reinjection import INPUTS, ORIGIN, Choice, choose, input_files, write_input
from rating.catalog import CompiledCatalog

EVENTS_TOPIC = "metering.events"
ORIGIN_HEADER = "ratemill-origin"
SENT = "sent"
_SECONDS_PER_WAIT = 0.1
_CONTENT_TYPE = ("content-type", b"application/cloudevents+json")
# As Kafka's Java clients deal records to partitions, and `ratemill produce`.
_PRODUCING = {"enable.idempotence": True, "acks": "all", "linger.ms": 20, "message.timeout.ms": 60_000}
_USUAL = {"partitioner": "murmur2_random", "compression.type": "lz4"}

# Of the events that wait somewhere, those that were met elsewhere: charged, or waiting for a backfill. A rejected copy
# counts as never seen, as it does in rating.
_SETTLED = """
    SELECT DISTINCT source, event_id FROM events SEMI JOIN (
        SELECT source, event_id FROM events WHERE verdict = 'parked'
    ) AS waiting USING (source, event_id) WHERE verdict NOT IN ('parked', 'rejected')
"""


def is_fed_by_topic(ledger: Path) -> bool:
    """Whether a topic feeds the ledger."""
    return (ledger / "topic.json").exists()


def catalog_in_effect(ledger: Path) -> CompiledCatalog:
    """The catalog that rates what is produced now; RatemillError if the ledger has followed none yet."""
    versions = CatalogVersions(CatalogHistory(ledger))
    if not CatalogHistory(ledger).versions():
        raise RatemillError(f"the ledger {ledger} knows no published catalog yet: run `ratemill run rating` first")
    return versions.compiled(versions.at(now()))


def choose_parked(ledger: Path, catalog: CompiledCatalog) -> Choice:
    """The parked events that the catalog charges to somebody now, each once, and why the others go on waiting."""
    with open_ledger(ledger) as connection:
        return _choose(connection, ledger, catalog)


def reinject_parked(settings: Settings, ledger: Path, catalog: CompiledCatalog) -> Counter[str]:
    """Send the parked events that can be charged now; gives how many were `sent`, and why how many others wait.

    RatemillError if Kafka does not take them; the next call sends them then.
    """
    inputs = ledger / INPUTS
    with plain_os_errors(f"cannot write {inputs}"):
        inputs.mkdir(exist_ok=True)
        with alone(inputs / "lock"):
            choice = choose_parked(ledger, catalog)
            if choice.records:
                write_input(ledger, "parked", choice.records)
            outcome = Counter(choice.left)
            for file in _unsent(ledger):
                outcome[SENT] += _send(settings, file)
                replace_file(_mark(file), b"")
            return outcome


def _choose(connection: duckdb.DuckDBPyConnection, ledger: Path, catalog: CompiledCatalog) -> Choice:
    # Usually nothing waits, and then one column is read instead of most of them.
    if not ask(connection, "SELECT 1 FROM events WHERE verdict = 'parked' LIMIT 1").rows:
        return Choice()
    met = {(str(source), str(name)) for source, name in ask(connection, _SETTLED).rows}

    def is_first_of_its_event(row: dict[str, Any]) -> bool:
        identity = (row["source"], row["event_id"])
        if identity in met:
            return False
        met.add(identity)
        return True

    return choose(connection, ledger, "parked", catalog, is_first_of_its_event)


def _unsent(ledger: Path) -> list[Path]:
    return [file for file in input_files(ledger, "parked") if not _mark(file).exists()]


def _mark(file: Path) -> Path:
    return file.with_suffix(f".{SENT}")


def _send(settings: Settings, file: Path) -> int:
    """Send the records of a file; returns when all have arrived."""
    topic = topic_name(settings, EVENTS_TOPIC)
    describe_topic(settings, topic)
    usual = {name: value for name, value in _USUAL.items() if name not in settings.kafka}
    with open(file, "rb") as lines, plain_kafka_errors(f"sending parked events to the topic {topic}"):
        producer = Producer(client_settings(settings, usual | _PRODUCING))
        return _deliver(producer, topic, (line.rstrip(b"\n") for line in lines))


def _deliver(producer: Producer, topic: str, records: Iterable[bytes]) -> int:
    refused: list[KafkaError] = []
    sent = 0

    def take_note(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(error)

    for record in records:
        sent += 1
        origin = (ORIGIN_HEADER, orjson.loads(record)[ORIGIN].encode())
        while True:
            try:
                producer.produce(topic, record, key_of(record), headers=[_CONTENT_TYPE, origin], on_delivery=take_note)
                break
            except BufferError:
                producer.poll(_SECONDS_PER_WAIT)
        producer.poll(0)
    while len(producer) and not refused:
        producer.poll(_SECONDS_PER_WAIT)
    if refused:
        raise KafkaException(refused[0])
    return sent
