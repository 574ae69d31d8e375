"""A ledger held against its topic: every record of the topic, rated one by one by the oracle, against every row.

Owns: reading the topic back as the broker kept it, and the comparison. The rule: what was sent does not count, what
stands in the topic does; verdict, subscription, reason and lines must be the same for every record.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.kafka_client import client_settings, describe_topic, topic_name
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from rating.batch import key_group_of
from rating.expand import expand
from schemas.ledger import RATED
from tests.cases.checking import show, show_notice, show_standing
from tests.cases.core import read_ledger
from tests.flow.world import assert_conserved
from tests.oracle.oracle import Oracle
from tests.oracle.rated import Rated

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATENESS_OF_TOPICS = timedelta(hours=24)
_SECONDS_PER_POLL = 0.2
_SECONDS_OF_SILENCE = 60
_MOST_SHOWN = 5

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """One record as the broker kept it."""

    partition: int
    offset: int
    time: datetime
    value: bytes


def records_in(settings: Settings) -> list[Kept]:
    """Every record of the topic of events, partition by partition in the order of offsets."""
    topic = topic_name(settings, "metering.events")
    partitions = range(describe_topic(settings, topic).partitions)
    asked = {"group.id": "oracle", "enable.partition.eof": True, "auto.offset.reset": "error"}
    consumer = Consumer(client_settings(settings, asked))
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    records: list[Kept] = []
    ended: set[int] = set()
    heard = time.monotonic()
    while len(ended) < len(partitions):
        messages = consumer.consume(10_000, _SECONDS_PER_POLL)
        heard = time.monotonic() if messages else heard
        assert time.monotonic() < heard + _SECONDS_OF_SILENCE, f"{topic} fell silent after {len(records)} records"
        for message in messages:
            error = message.error()
            if error is None:
                moment = _EPOCH + timedelta(milliseconds=message.timestamp()[1])
                records.append(Kept(message.partition(), message.offset(), moment, message.value() or b""))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                raise AssertionError(error.str())
    consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def rated_by_oracle(settings: Settings, catalog: Path, records: Sequence[Kept]) -> dict[Position, Rated]:
    """What the oracle makes of the records in their order, with the windows that the settings give to a topic."""
    oracle = oracle_for(settings, catalog)
    return {(kept.partition, kept.offset): oracle.rate(kept.partition, kept.value, kept.time) for kept in records}


def oracle_for(settings: Settings, catalog: Path) -> Oracle:
    """An oracle that has seen nothing yet."""
    hours, skew = settings.lateness_hours, settings.skew_seconds
    return Oracle(
        load_catalog(catalog),
        expand,
        _LATENESS_OF_TOPICS if hours is None else timedelta(hours=hours),
        None if skew is None else timedelta(seconds=skew),
        lambda subscription: key_group_of(subscription, settings.key_groups),
    )


def in_ledger(ledger: Path) -> dict[Position, Rated]:
    """What the ledger says of each record."""
    return read_ledger(*(read_table(ledger, table) for table in RATED))


def assert_as_rated(ledger: Path, expected: Mapping[Position, Rated]) -> int:
    """Exactly these records, each rated exactly so, and conservation at every commit; gives the rows compared."""
    found = in_ledger(ledger)
    missing, beyond = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    assert not missing, f"{len(missing)} records have no verdict: {missing[:_MOST_SHOWN]}"
    assert not beyond, f"{len(beyond)} verdicts are of no record: {beyond[:_MOST_SHOWN]}"
    unlike = [place for place in expected if _said(expected[place]) != _said(found[place])]
    shown = "\n".join(f"{at}: expected {_said(expected[at])}, was {_said(found[at])}" for at in unlike[:_MOST_SHOWN])
    assert not unlike, f"{len(unlike)} records are rated otherwise:\n{shown}"
    lines = sum(len(rated.lines) for rated in found.values())
    assert_conserved(ledger, len(found), lines)
    return len(found) + lines


def assert_as_oracle(ledger: Path, settings: Settings, catalog: Path) -> int:
    """The ledger holds every record of the topic, rated as the oracle does; gives the rows compared."""
    return assert_as_rated(ledger, rated_by_oracle(settings, catalog, records_in(settings)))


def _said(rated: Rated) -> tuple[Any, ...]:
    """The subscription counts only where lines may follow, as the oracle does not resolve the others."""
    subscription = rated.subscription if rated.verdict not in ("rejected", "parked", "late") else ""
    lines, notices = tuple(map(show, rated.lines)), tuple(map(show_notice, rated.notices))
    return rated.verdict, rated.reason, subscription, lines, notices, tuple(map(show_standing, rated.standings))
