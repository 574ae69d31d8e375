"""The bare limit on Kafka: one consumer reads a topic to its end and decodes each record's JSON, nothing else.

It fetches as the flow does. Garbage collection is off: it would look through the messages of each poll, which the
rating flow avoids as well.
"""

import gc
from time import perf_counter, process_time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from dataflows.connectors.kafka_client import client_settings
from dataflows.connectors.kafka_reader import FETCHING
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.kafka_topic import settings_for
from ops.bench.limit import DECODERS
from ops.bench.scenario import BATCH_RECORDS

_GATHERING_SECONDS = 0.1


def measure_kafka_limit(
    bootstrap: str, broker: int, prefix: str, topic: str, events: int, decoder: str
) -> dict[str, Any]:
    """From the poll that brings the first records to the last record decoded; CPU times are microseconds per event."""
    gc.disable()
    decode = DECODERS[decoder]
    settings = settings_for(bootstrap, prefix)
    ours = {**FETCHING, "group.id": f"{prefix}limit", "enable.auto.commit": False}
    consumer = Consumer(client_settings(settings, ours))
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(settings.topic_partitions)])
    read = 0
    while read < events:
        if not read:
            begun, cpu, cpu_of_broker = perf_counter(), process_time(), cpu_seconds(broker)
        messages = consumer.consume(BATCH_RECORDS, _GATHERING_SECONDS)
        for message in messages:
            decode(message.value() or b"")
        read += len(messages)
    seconds = perf_counter() - begun
    assert read == events, f"{topic} has {read} records, not {events}"
    return {
        "events": read,
        "seconds": seconds,
        "per_second": read / seconds,
        "cpu": 1e6 * (process_time() - cpu) / read,
        "broker_cpu": 1e6 * (cpu_seconds(broker) - cpu_of_broker) / read,
    }
