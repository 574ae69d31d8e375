"""What a flow costs that has nothing to do: CPU time of all its processes over a topic without records."""

import time
from pathlib import Path
from time import perf_counter
from typing import Any

from ops.bench.kafka_command import running
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.kafka_topic import make_topics, settings_for

_SUBSCRIPTIONS = 1_000


def measure_idle(
    bootstrap: str, broker: int, prefix: str, partitions: int, seconds: int, ledger: str
) -> dict[str, Any]:
    """Shares of a core over so many seconds, after as many in which what happens only once is over."""
    settings = settings_for(bootstrap, prefix, topic_partitions=partitions)
    make_topics(settings, _SUBSCRIPTIONS)
    with running(settings, Path(ledger)) as flow:
        time.sleep(seconds)
        begun, cpu, of_broker = perf_counter(), flow.cpu(), cpu_seconds(broker)
        while perf_counter() < begun + seconds:
            flow.look()
        taken = perf_counter() - begun
        return {
            "partitions": partitions,
            "seconds": taken,
            "cores": (flow.cpu() - cpu) / taken,
            "broker_cores": (cpu_seconds(broker) - of_broker) / taken,
        }
