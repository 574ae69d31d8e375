"""Notification flows in tests, in a thread or as the real command; notifications that are sent to their topic."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from dataflows.connectors.kafka_client import topic_name
from dataflows.notifications.flow import DeliveryProgress, run_notifications
from dataflows.notifications.looks import listed, tallies
from dataflows.settings import Settings
from ops.topics import check_topics
from tests.kafka.relaying import wait_until
from tests.kafka.secured import AUTHORITY
from tests.notifications.servers import PASSWORD, USER, Endpoint, Mailbox

ROOT = Path(__file__).resolve().parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# Pauses that a test can wait for; each test sets what it is about.
QUICK = {
    "delivery_timeout_seconds": 2,
    "delivery_retry_seconds": 0.05,
    "delivery_pause_seconds": 0.2,
    "circuit_failures": 5,
    "circuit_seconds": 0.3,
    "webhook_private_networks": True,
    "webhook_secret": SECRET,
    "topic_partitions": 2,
    "metrics_port": 0,
}
_PR_SET_PDEATHSIG = 1


def settings_for(broker, prefix: str, *endpoints: Endpoint | str, mail: Mailbox | None = None, **update) -> Settings:
    """Settings of a deployment with these endpoints, and its topics made."""
    urls = [endpoint if isinstance(endpoint, str) else endpoint.url for endpoint in endpoints]
    values = {
        **QUICK,
        "kafka": {"bootstrap.servers": broker.bootstrap},
        "topic_prefix": prefix,
        "notifications_group": f"{prefix}notifications",
        "webhooks": urls,
        **(mail_settings(mail) if mail else {}),
        **update,
    }
    settings = Settings.model_validate(values)
    check_topics(settings, make=True)
    return settings


def mail_settings(mail: Mailbox, **update) -> dict:
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": mail.port,
        "smtp_user": USER,
        "smtp_password": PASSWORD,
        "smtp_from": "billing@provider.example",
        "smtp_ca": str(AUTHORITY),
        **update,
    }


def notification(identity: str, *recipients: str, **more) -> dict:
    """A notification as the relay sends it; what is absent is null."""
    return {
        "notification_id": identity,
        "kind": "quota_threshold",
        "occurred_at": "2026-11-20T10:00:00.000001Z",
        "subscription_id": "sub-acme-1",
        "credential_id": None,
        "quota": "requests",
        "tier": 2,
        "share": "0.5",
        "limit": "1000000000000000000000.000001",
        "recipients": list(recipients),
        "synthetic": False,
        "catalog_digest": "0a",
        **more,
    }


@dataclass(frozen=True)
class PlainText:
    """A message without HTML."""

    subject: str
    text: str
    html: str | None = None


def in_plain_text(columns: Mapping[str, Any]) -> PlainText:
    """All that a notification says, column by column."""
    stated = "".join(f"{name}: {value}\n" for name, value in columns.items() if name != "recipients" and value)
    return PlainText(f"{columns['kind']}: {columns['subscription_id']}".replace("_", " "), stated)


def send(settings: Settings, messages: Iterable[dict | bytes]) -> None:
    """Send notifications, or records as they are, to the topic."""
    producer = Producer({**settings.kafka, "linger.ms": 5, "message.max.bytes": 2_000_000})
    topic = topic_name(settings, "notifications")
    for message in messages:
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        key = None if isinstance(message, bytes) else message["subscription_id"]
        producer.produce(topic, raw, key)
        producer.poll(0)
    assert producer.flush(30) == 0


class Running:
    """A flow in a thread; `remarks` is what it said."""

    def __init__(self, settings: Settings, folder: Path, **how) -> None:
        self.progress = DeliveryProgress()
        self.remarks: list[str] = []
        self._stop = threading.Event()
        self.failure: BaseException | None = None
        self._run = lambda: run_notifications(
            settings,
            folder,
            self._stop,
            **{"render": in_plain_text, "progress": self.progress, "remark": self.remarks.append} | how,
        )
        self._thread = threading.Thread(target=self._guarded)
        self._thread.start()

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as failure:
            self.failure = failure

    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def leave(self) -> None:
        """Stop, whatever came of it."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def end(self) -> None:
        """Stop; it must not have failed."""
        self.leave()
        if self.failure is not None:
            raise self.failure


@contextmanager
def running(settings: Settings, folder: Path, **how) -> Iterator[Running]:
    """A flow that runs during the block; it must not fail."""
    flow = Running(settings, folder, **how)
    try:
        yield flow
    except BaseException:
        flow.leave()
        print(f"the flow said {flow.remarks}, and ended with {flow.failure!r}", file=sys.stderr)
        raise
    flow.end()


def start_command(settings: Settings, folder: Path, *options: str) -> "subprocess.Popen[str]":
    """`ratemill run notifications` as a process."""
    values = json.loads(settings.to_json())
    values = {name: value for name, value in values.items() if value != _DEFAULTS.get(name)}
    kafka = values.pop("kafka")
    values["webhooks"] = " ".join(values.get("webhooks", ()))
    environment = os.environ | {f"RATEMILL_{name.upper()}": str(value) for name, value in values.items()}
    environment["RATEMILL_KAFKA_BOOTSTRAP_SERVERS"] = kafka["bootstrap.servers"]
    return subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "--debug", "run", "notifications", "--deliveries", str(folder), *options],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )


_DEFAULTS = json.loads(Settings().to_json())


def counts(folder: Path) -> dict[tuple[str, str], int]:
    """Deliveries by channel and state, those that there are."""
    if not (folder / "deliveries.sqlite").exists():
        return {}
    return {(each.channel, each.state): each.deliveries for each in tallies(folder) if each.deliveries}


def wait_for_counts(folder: Path, seconds: float = 60, **wanted: int) -> None:
    """Until so many deliveries are as named: `webhook_delivered=3`, and no others are in the store."""
    expected = {tuple(name.split("_")): count for name, count in wanted.items() if count}
    wait_until(lambda: counts(folder) == expected, f"{wanted}", seconds)


def rows(folder: Path, state: str | None = None) -> list[dict]:
    return listed(folder, state, 100_000)
