"""`python -m ops.bench.deliveries`: webhooks per minute to one endpoint on this machine, the flow on one core.

The real command reads real notifications from a real broker, on the first core; the endpoint, which answers at once,
and the broker have the others. Counted is from the first outcome that is in the store to the last.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from aiohttp import web
from confluent_kafka import Producer

from dataflows.connectors.kafka_client import topic_name
from dataflows.notifications.looks import tallies
from dataflows.settings import Settings
from ops.bench.worker import ROOT
from ops.kafka.broker import Broker, free_port
from ops.topics import check_topics

_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_AT_MOST = 600
_CORE = 0


def measure(bootstrap: str, prefix: str, notifications: int) -> dict[str, float]:
    """Deliveries per minute and the share of its core that the flow took; RuntimeError if it ends too soon."""
    settings = Settings(kafka={"bootstrap.servers": bootstrap}, topic_prefix=prefix)
    check_topics(settings, make=True)
    _fill(settings, notifications)
    with tempfile.TemporaryDirectory() as folder, _endpoint() as url, _flow(settings, url, Path(folder)) as flow:
        begun = _wait(flow, Path(folder), 1)
        first = _cpu(flow)
        ended = _wait(flow, Path(folder), notifications)
        seconds = ended - begun
        return {
            "notifications": notifications,
            "seconds": seconds,
            "per_minute": notifications / seconds * 60,
            "cores": (_cpu(flow) - first) / seconds,
        }


def serve(port: int) -> None:
    """An endpoint that takes everything, until it is killed."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


@contextmanager
def _endpoint() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "ops.bench.deliveries", "--serve", str(port)], cwd=ROOT)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


@contextmanager
def _flow(settings: Settings, url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "RATEMILL_KAFKA_BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
        "RATEMILL_TOPIC_PREFIX": settings.topic_prefix,
        "RATEMILL_WEBHOOKS": url,
        "RATEMILL_WEBHOOK_SECRET": _SECRET,
        "RATEMILL_WEBHOOK_PRIVATE_NETWORKS": "true",
        "RATEMILL_METRICS_PORT": "0",
    }
    command = [sys.executable, "-m", "ops.cli", "run", "notifications", "--deliveries", str(folder)]
    process = subprocess.Popen(["taskset", "-c", str(_CORE), *command], cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _fill(settings: Settings, notifications: int) -> None:
    producer = Producer({**settings.kafka, "queue.buffering.max.messages": notifications + 1})
    for number in range(notifications):
        producer.produce(topic_name(settings, "notifications"), _notification(number), f"sub-{number % 1_000}")
    producer.flush()


def _notification(number: int) -> bytes:
    return orjson.dumps(
        {
            "notification_id": f"n-{number}",
            "kind": "quota_threshold",
            "occurred_at": "2026-11-20T10:00:00.000000Z",
            "subscription_id": f"sub-{number % 1_000}",
            "organization_id": "acme",
            "product_id": "platinum",
            "product_version": "1.0.0",
            "quota": "requests",
            "share": "0.5",
            "threshold": "500",
            "limit": "1000",
            "usage_before": "499",
            "usage_after": "501",
            "recipients": [],
            "synthetic": False,
            "catalog_digest": "0" * 64,
        }
    )


def _wait(flow: subprocess.Popen[bytes], folder: Path, delivered: int) -> float:
    """When so many were delivered, on the monotonic clock."""
    last = time.monotonic() + _SECONDS_AT_MOST
    while _delivered(folder) < delivered:
        if flow.poll() is not None or time.monotonic() > last:
            raise RuntimeError(f"the flow delivered {_delivered(folder)} of {delivered} notifications")
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return time.monotonic()


def _delivered(folder: Path) -> int:
    if not (folder / "deliveries.sqlite").exists():
        return 0
    return sum(each.deliveries for each in tallies(folder) if each.state == "delivered")


def _cpu(flow: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that the flow has taken, all threads."""
    fields = Path(f"/proc/{flow.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notifications", type=int, default=30_000)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with Broker() as broker:
        found = measure(broker.bootstrap, "", given.notifications)
    print(
        f"{found['per_minute']:,.0f} webhooks per minute to one endpoint: {given.notifications:,} in"
        f" {found['seconds']:.1f} s, {found['cores']:.2f} of the flow's one core"
    )


if __name__ == "__main__":
    main()
