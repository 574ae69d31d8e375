"""The real command: killed while it delivers, stopped, started again; nothing is lost and each id stays what it was."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.request

from dataflows.delivery_settings import shown_url
from dataflows.metrics_deliveries_table import DELIVERY_METRICS
from ops.kafka.broker import free_port
from tests.kafka.flows import stop
from tests.kafka.relaying import wait_until
from tests.notifications.flows import (
    counts,
    notification,
    rows,
    running,
    send,
    settings_for,
    start_command,
    wait_for_counts,
)
from tests.notifications.servers import Endpoint, Mailbox

KILLS = 3


def kill(flow: "subprocess.Popen[str]") -> None:
    os.kill(flow.pid, signal.SIGKILL)
    flow.communicate()


def test_killed_while_it_delivers(broker, topic_prefix, tmp_path):
    """Each notification arrives by webhook and mail; few of them again, with the id and the body of the first time."""

    async def slow(number, request):
        await asyncio.sleep(0.02)
        return 500 if number % 7 == 3 else 204

    messages = [notification(f"n{number}", f"person-{number}@acme.example") for number in range(300)]
    with Endpoint(slow) as endpoint, Mailbox() as mail:
        settings = settings_for(broker, topic_prefix, endpoint, mail=mail, circuit_failures=50)
        for part in range(KILLS):
            send(settings, messages[part * 100 : part * 100 + 100])
            before = len(endpoint.requests)
            flow = start_command(settings, tmp_path)
            wait_until(lambda before=before: len(endpoint.requests) > before + 20, "it delivers", 30)
            kill(flow)
        assert counts(tmp_path) != {("webhook", "delivered"): 300, ("mail", "delivered"): 300}
        flow = start_command(settings, tmp_path)
        try:
            wait_for_counts(tmp_path, webhook_delivered=300, mail_delivered=300)
        finally:
            stop(flow)
    wanted = {message["notification_id"] for message in messages}
    assert set(endpoint.ids) == wanted
    bodies = {(request.id, request.body) for request in endpoint.requests}
    assert len(bodies) == 300
    assert {json.loads(body)["data"]["notification_id"] for _, body in bodies} == wanted
    refused = sum(1 for number in range(len(endpoint.requests)) if number % 7 == 3)
    # What was under way, or had ended some milliseconds before.
    assert endpoint.ids.total() - refused - 300 <= KILLS * 60
    assert set(mail.addresses) == {f"person-{number}@acme.example" for number in range(300)}
    ids = {(address, message["Message-ID"]) for address, message in mail.messages}
    assert len(ids) == 300


def test_killed_while_it_reads(broker, topic_prefix, tmp_path):
    """Records and the place behind them are kept together: all of them once, whenever that is."""
    with Endpoint(lambda number, request: 503) as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, circuit_failures=1, circuit_seconds=60)
        recipients = [f"person-{number}@acme.example" for number in range(500)]
        send(settings, [notification(f"n{number}", *recipients) for number in range(60)])
        flow = start_command(settings, tmp_path)
        wait_until(lambda: counts(tmp_path) != {}, "it has begun to read")
        kill(flow)
        with running(settings, tmp_path) as after:
            wait_for_counts(tmp_path, mail_pending=30_000, webhook_pending=60)
        assert after.progress.repeated == 0
    with sqlite3.connect(tmp_path / "deliveries.sqlite") as store:
        (places,) = store.execute("SELECT sum(next_offset) FROM positions").fetchone()
        (kept,) = store.execute("SELECT count(*) FROM notifications").fetchone()
    store.close()
    assert (places, kept) == (60, 60)


def test_stopped_within_seconds_and_started_again_without_repeats(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, metrics_port=0)
        send(settings, [notification(f"n{number}") for number in range(50)])
        for _ in range(2):
            flow = start_command(settings, tmp_path)
            wait_for_counts(tmp_path, webhook_delivered=50)
            began = time.monotonic()
            stop(flow)
            assert time.monotonic() - began < 10
    assert endpoint.ids.total() == 50
    assert len(endpoint.ids) == 50


def test_told_to_stop_while_an_endpoint_hangs(broker, topic_prefix, tmp_path):
    """What was under way stays pending, and is delivered by the next run."""

    async def hang(number, request):
        await asyncio.sleep(60 if number < 4 else 0)
        return 204

    with Endpoint(hang) as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, delivery_timeout_seconds=60)
        send(settings, [notification(f"n{number}") for number in range(4)])
        flow = start_command(settings, tmp_path)
        wait_until(lambda: len(endpoint.requests) == 4, "all are under way")
        began = time.monotonic()
        stop(flow)
        assert time.monotonic() - began < 15
        assert {row["state"] for row in rows(tmp_path)} == {"pending"}
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, webhook_delivered=4)
    assert set(endpoint.ids.values()) == {2}


def test_told_twice_it_waits_for_nobody(broker, topic_prefix, tmp_path):
    async def hang(number, request):
        await asyncio.sleep(60)
        return 204

    with Endpoint(hang) as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, delivery_timeout_seconds=60)
        send(settings, [notification("n1")])
        flow = start_command(settings, tmp_path)
        wait_until(lambda: len(endpoint.requests) == 1, "it is under way")
        flow.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        flow.send_signal(signal.SIGTERM)
        said = flow.communicate(timeout=20)[1]
    assert flow.returncode == 130, said
    assert {row["state"] for row in rows(tmp_path)} == {"pending"}


def test_metrics_and_health(broker, topic_prefix, tmp_path):
    port = free_port()
    with Endpoint() as good, Endpoint(lambda number, request: 500) as bad:
        settings = settings_for(
            broker, topic_prefix, good, bad, metrics_port=port, circuit_seconds=60, topic_partitions=1
        )
        send(settings, [*(notification(f"n{number}", "joe@acme.com") for number in range(6)), b"none"])
        flow = start_command(settings, tmp_path)
        try:
            wait_until(lambda: counts(tmp_path).get(("webhook", "delivered")) == 6, "the good one has all")
            wait_until(
                lambda: metrics(port).get(f'ratemill_delivery_circuit_open{{endpoint="{shown_url(bad.url)}"}}') == 1,
                "open",
            )
            found = metrics(port)
            ready = urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").read()
        finally:
            said = stop(flow)
    assert ready == b"ready\n"
    assert found['ratemill_deliveries{channel="webhook",state="delivered"}'] == 6
    assert found['ratemill_deliveries{channel="webhook",state="pending"}'] == 6
    assert found['ratemill_deliveries{channel="mail",state="pending"}'] == 6
    assert found['ratemill_deliveries{channel="mail",state="failed"}'] == 0
    assert found["ratemill_malformed_notifications"] == 1
    assert found["ratemill_notifications_total"] == 6
    assert found[f'ratemill_delivery_circuit_open{{endpoint="{shown_url(good.url)}"}}'] == 0
    assert found[f'ratemill_delivery_attempts_total{{endpoint="{shown_url(good.url)}",outcome="delivered"}}'] == 6
    assert found[f'ratemill_delivery_attempts_total{{endpoint="{shown_url(bad.url)}",outcome="failed"}}'] >= 5
    assert found['ratemill_oldest_pending_delivery_seconds{channel="mail"}'] > 0
    assert {metric.name for metric in DELIVERY_METRICS} <= {name.partition("{")[0] for name in found}
    assert "No mail server is set" in said


def metrics(port: int) -> dict[str, float]:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
