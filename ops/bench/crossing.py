"""`python -m ops.bench.crossing`: how long a crossed threshold takes to become a message in Kafka, at an even rate.

Everything that `ratemill run rating` and `ratemill run relay` do lies between the sending of an event, which is its
record's time, and the moment when a reader of committed messages has its notification.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.kafka_client import topic_name
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from ops.bench.kafka_command import environment_of, running
from ops.bench.kafka_topic import settings_for
from ops.bench.scenario import bench_catalog
from ops.bench.worker import ROOT, measure
from ops.kafka.broker import Broker
from ops.topics import check_topics

_TOPIC = "notifications"
_EPOCH_SECONDS = 0.5
_WARM_UP_SECONDS = 10
_SECONDS_OF_SILENCE = 10
_MESSAGES_PER_POLL = 10_000
_SEEN = {"partition": pl.Int32, "offset": pl.Int64, "came": pl.Float64}


def measure_crossing(settings: Settings, ledger: Path, subscriptions: int, per_second: int, seconds: int) -> np.ndarray:
    """Seconds from each event that crossed a threshold to its message, those of the warm-up left out."""
    check_topics(settings, make=True)
    publish_catalog(settings, bench_catalog(subscriptions, notification_threshold="0.5"))
    where: dict[str, Any] = {"bootstrap": settings.kafka["bootstrap.servers"], "prefix": settings.topic_prefix}
    paced: dict[str, Any] = {"per_second": per_second, "seconds": seconds + _WARM_UP_SECONDS}
    with ThreadPoolExecutor(1) as thread, running(settings, ledger), _relay(settings, ledger):
        producer = thread.submit(measure, "kafka_paced", subscriptions=subscriptions, **paced, **where)
        came = pl.DataFrame(list(_messages(settings, producer.done)), _SEEN, orient="row")
    records = read_table(ledger, "events").select(
        "partition", "offset", sent=pl.col("record_time").dt.epoch("ms") / 1e3
    )
    seen = came.join(records, on=["partition", "offset"])
    assert seen.height == came.height, "a message tells of no record"
    steady = seen.filter(pl.col("sent") >= pl.lit(records["sent"]).min() + _WARM_UP_SECONDS)
    return (steady["came"] - steady["sent"]).to_numpy()


def _messages(settings: Settings, is_sent: Callable[[], bool]) -> Iterator[tuple[int, int, float]]:
    """Partition and offset of the event of each message, and when the message came, until nothing comes any more."""
    topic = topic_name(settings, _TOPIC)
    own = {"group.id": "bench", "isolation.level": "read_committed", "fetch.wait.max.ms": 10}
    with closing(Consumer({**settings.kafka, **own})) as consumer:
        partitions = range(settings.topic_partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        heard = time.monotonic()
        while not (is_sent() and time.monotonic() > heard + _SECONDS_OF_SILENCE):
            for message in consumer.consume(_MESSAGES_PER_POLL, 0.02):
                came, heard = time.time(), time.monotonic()
                assert message.error() is None, message.error()
                told = orjson.loads(message.value() or b"")
                yield told["partition"], told["offset"], came


@contextmanager
def _relay(settings: Settings, ledger: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "ops.cli", "run", "relay", "--ledger", str(ledger)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment_of(settings, 0), stdout=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, "the relay ended"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.crossing", description="From a crossing to its message.")
    parser.add_argument("--subscriptions", type=int, default=100_000)
    parser.add_argument("--per-second", type=int, default=80_000, help="half of what a flow rates at most")
    parser.add_argument("--seconds", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Broker() as broker:
        settings = settings_for(broker.bootstrap, "crossing.", epoch_seconds=_EPOCH_SECONDS)
        found = measure_crossing(
            settings, Path(folder) / "ledger", asked.subscriptions, asked.per_second, asked.seconds
        )
    shown = ", ".join(f"p{percent} {np.percentile(found, percent):.2f} s" for percent in (50, 90, 99))
    print(f"{len(found):,} notifications at {asked.per_second:,} events a second: {shown}, most {found.max():.2f} s")


if __name__ == "__main__":
    main()
