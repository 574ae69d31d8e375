"""From the topic to recipients: what they get, what they do not, and what is seen of it."""

import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from dataflows.errors import RatemillError
from dataflows.notifications.looks import malformed
from tests.kafka.relaying import wait_until
from tests.notifications.flows import (
    SECRET,
    PlainText,
    notification,
    rows,
    running,
    send,
    settings_for,
    wait_for_counts,
)
from tests.notifications.servers import Endpoint, Mailbox


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    """RFC 2104, by its definition."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + content).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def test_each_recipient_and_each_endpoint_gets_a_notification(broker, topic_prefix, tmp_path):
    with Mailbox() as mail, Endpoint() as all_kinds, Endpoint() as invoices:
        settings = settings_for(
            broker, topic_prefix, all_kinds, f"{invoices.url}#invoice_issued,trial_ending", mail=mail
        )
        send(
            settings,
            [
                notification("n1", "ops@acme.example", "joe@acme.com", "joe@acme.com"),
                notification("n2", "joe@acme.com", kind="invoice_issued"),
                # Nobody but the endpoint; and a repeat, of which nobody hears.
                notification("n3"),
                notification("n1", "ops@acme.example", "else@acme.example"),
            ],
        )
        with running(settings, tmp_path) as flow:
            wait_for_counts(tmp_path, mail_delivered=3, webhook_delivered=4)
            wait_until(lambda: flow.progress.repeated == 1, "the repeat was read")
    assert mail.addresses == {"ops@acme.example": 1, "joe@acme.com": 2}
    assert all_kinds.ids == {"n1": 1, "n2": 1, "n3": 1}
    assert invoices.ids == {"n2": 1}
    assert (flow.progress.notifications, flow.remarks) == (3, [])
    delivered = rows(tmp_path, "delivered")
    assert {(row["attempts"], row["last_error"]) for row in delivered} == {(1, None)}
    assert all(row["ended_at"] >= row["came_at"] for row in delivered)


def test_a_webhook_is_as_the_specification_says(broker, topic_prefix, tmp_path):
    with Endpoint(tls=True) as endpoint:
        both = f"{SECRET} whsec_{b64encode(b'1' * 32).decode()}"
        authority = str(Path("tests/kafka/broker.pem").resolve())
        settings = settings_for(broker, topic_prefix, endpoint, webhook_secret=both, webhook_ca=authority)
        sent = notification("n1.with stop", "joe@acme.com")
        send(settings, [sent])
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, mail_pending=1, webhook_delivered=1)
    (request,) = endpoint.requests
    told = json.loads(request.body)
    assert told == {
        "type": "quota_threshold",
        "timestamp": "2026-11-20T10:00:00.000001Z",
        "data": {name: value for name, value in sent.items() if name != "recipients"},
    }
    assert request.headers["content-type"] == "application/json"
    assert "." not in request.id
    signatures = request.headers["webhook-signature"].split()
    content = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    assert len(signatures) == 2
    for secret, signature in zip(both.split(), signatures, strict=True):
        key = b64decode(secret.removeprefix("whsec_"))
        assert signature == f"v1,{b64encode(hmac_sha256(key, content)).decode()}"


def test_a_message_says_all_and_is_rendered_by_the_deployment(broker, topic_prefix, tmp_path):
    def render(message):
        if message["notification_id"] == "broken":
            raise KeyError("no such thing")
        return PlainText(f"About\n{message['quota']}", f"{message['limit']} ü", f"<b>{message['tier']}</b>")

    with Mailbox() as mail:
        settings = settings_for(broker, topic_prefix, mail=mail)
        send(settings, [notification("n1", "joe@acme.com"), notification("broken", "joe@acme.com")])
        with running(settings, tmp_path, render=render):
            wait_for_counts(tmp_path, mail_delivered=1, mail_failed=1)
    ((_, message),) = mail.messages
    assert message["Subject"] == "About requests"
    assert message["From"] == "billing@provider.example"
    assert message["To"] == "joe@acme.com"
    assert message.get_body(("plain",)).get_content().split() == ["1000000000000000000000.000001", "ü"]
    assert message.get_body(("html",)).get_content().strip() == "<b>2</b>"
    (failed,) = rows(tmp_path, "failed")
    assert failed["notification_id"] == "broken"
    assert "its template fails (KeyError: 'no such thing')" in failed["last_error"]


def test_what_is_no_notification_and_who_is_no_address_stay_in_sight(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint, Mailbox() as mail:
        settings = settings_for(broker, topic_prefix, endpoint, mail=mail, topic_partitions=1)
        without_kind = notification("n2")
        del without_kind["kind"]
        strange = ["joe", "a b@acme.com", "https://hooks.example.com", "x" * 300 + "@acme.com"]
        send(
            settings,
            [
                *(b"\xff\xfe", b"{", b"[]", b'{"a":' * 5_000, without_kind, notification("n\n3", "joe@acme.com")),
                {**notification("n4"), "occurred_at": "yesterday"},
                notification("n5", *strange, "joe@acme.com"),
            ],
        )
        with running(settings, tmp_path) as flow:
            wait_for_counts(tmp_path, mail_delivered=1, unknown_failed=len(strange), webhook_delivered=1)
            assert flow.progress.malformed == 7
    records = malformed(tmp_path, 100)
    assert sorted((row["partition"], row["offset"]) for row in records) == [(0, offset) for offset in range(7)]
    assert {row["offset"]: row["record"] for row in records}[1] == "{"
    reasons = {row["offset"]: row["reason"] for row in records}
    assert "missing required field `kind`" in reasons[4]
    assert "control character" in reasons[5]
    faults = {row["recipient"]: row["last_error"] for row in rows(tmp_path, "failed")}
    assert faults["https://hooks.example.com"] == "'https://hooks.example.com' is not an email address"
    assert set(faults) == set(strange)


def test_ten_thousand_recipients(broker, topic_prefix, tmp_path):
    """All are kept at once; none is written to twice."""
    addresses = [f"person-{number}@acme.example" for number in range(10_000)]
    with Mailbox() as mail, Endpoint() as endpoint:
        settings = settings_for(
            broker, topic_prefix, endpoint, mail=mail, smtp_connections=8, delivery_timeout_seconds=30
        )
        send(settings, [notification("n1", *addresses), notification("n2", "joe@acme.com")])
        with running(settings, tmp_path):
            # The endpoint does not wait for ten thousand messages.
            wait_until(lambda: endpoint.ids == {"n1": 1, "n2": 1}, "the endpoint heard of both")
            assert len(mail.messages) < 5_000
            wait_until(lambda: len(mail.messages) >= 400, "hundreds of messages")
    done = mail.addresses
    assert max(done.values()) == 1
    pending = [row["recipient"] for row in rows(tmp_path, "pending")]
    assert len(pending) + len(done) == 10_001
    assert set(pending).isdisjoint(done)
    # Connections are used again.
    assert len(mail.sessions) < len(done) / 20


def test_without_a_mail_server_mail_waits_and_then_fails_with_the_reason(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, delivery_hours=2 / 3600)
        send(settings, [notification("n1", "joe@acme.com")])
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, mail_pending=1, webhook_delivered=1)
            wait_for_counts(tmp_path, mail_failed=1, webhook_delivered=1)
    (failed,) = rows(tmp_path, "failed")
    assert failed["last_error"] == "given up: no mail server is set (RATEMILL_SMTP_HOST)"


def test_one_flow_has_the_folder(broker, topic_prefix, tmp_path):
    with Endpoint() as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint)
        with running(settings, tmp_path):
            wait_until(lambda: (tmp_path / "deliveries.sqlite").exists(), "the flow runs")
            with pytest.raises(RatemillError, match="in use by another process"), running(settings, tmp_path):
                pass
