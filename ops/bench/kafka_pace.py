"""A producer that sends at an even rate, each record with the moment of its sending as its time."""

import time
from datetime import UTC, datetime
from time import perf_counter, process_time
from typing import Any

import numpy as np
from confluent_kafka import Producer

from dataflows.connectors.kafka_client import client_settings, topic_name
from dataflows.connectors.topic import EVENTS_TOPIC
from ops.bench.kafka_topic import as_message, key_of, settings_for
from ops.bench.scenario import events_from

_SECONDS_OF_A_TICK = 0.02
_SECONDS_TO_DELIVER = 120
# Producers are other machines' work: here they should cost little of the one that is measured.
_OWN = {"enable.idempotence": True, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}


def send_paced(bootstrap: str, prefix: str, subscriptions: int, per_second: int, seconds: int) -> dict[str, Any]:
    """Sends so many events a second; gives what was reached, and how late the latest of a hundred ticks was (p99)."""
    settings = settings_for(bootstrap, prefix)
    topic = topic_name(settings, EVENTS_TOPIC)
    values = events_from(datetime.now(UTC), per_second, per_second * seconds, subscriptions)
    records = [as_message(key_of(value), value, settings.topic_partitions) for value in values]
    producer = Producer(client_settings(settings, _OWN))
    begun, cpu, sent = perf_counter(), process_time(), 0
    late: list[float] = []
    while sent < len(records):
        due = min(int((perf_counter() - begun) * per_second), len(records))
        accepted = producer.produce_batch(topic, records[sent:due])
        assert accepted == due - sent, f"the producer took {accepted} of {due - sent} records"
        sent = due
        late.append(perf_counter() - begun - due / per_second)
        producer.poll(0)
        time.sleep(max(0.0, (sent / per_second + _SECONDS_OF_A_TICK) - (perf_counter() - begun)))
    taken, spent = perf_counter() - begun, process_time() - cpu
    assert producer.flush(_SECONDS_TO_DELIVER) == 0, "the broker has not taken all records"
    return {
        "sent": sent,
        "per_second": sent / taken,
        "cores": spent / taken,
        "late": float(np.quantile(late, 0.99)),
    }
