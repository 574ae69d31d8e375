"""Looking at deliveries and trying them again; what is refused before anything is delivered."""

import json
import threading

import pytest

from dataflows.delivery_settings import shown_url
from dataflows.errors import RatemillError
from dataflows.notifications.flow import run_notifications
from dataflows.settings import Settings, load_settings
from tests.kafka.relaying import wait_until
from tests.notifications.flows import (
    QUICK,
    SECRET,
    in_plain_text,
    mail_settings,
    notification,
    running,
    send,
    settings_for,
    wait_for_counts,
)
from tests.notifications.servers import Endpoint, Mailbox
from tests.ops.ratemill import inside


def test_failed_deliveries_are_listed_and_tried_again(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: 204 if number >= 6 else 500) as endpoint, Mailbox() as mail:
        mail.refusals = {"gone@acme.example": "550 no such user"}
        settings = settings_for(broker, topic_prefix, endpoint, mail=mail, delivery_attempts=2, circuit_failures=100)
        messages = [notification("n1", "gone@acme.example"), notification("n2", "joe"), notification("n3")]
        send(settings, [*messages, b"no notification"])
        folder = ("--deliveries", str(tmp_path))
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, mail_failed=1, webhook_failed=3, unknown_failed=1)
            listed = inside("notifications", "list", "--state", "failed", "--json", *folder)
            again = inside("notifications", "retry", "n1", *folder)
            # The running flow hears of it.
            wait_for_counts(tmp_path, mail_failed=1, webhook_failed=2, webhook_delivered=1, unknown_failed=1)
            mail.refusals = {}
            everything = inside("notifications", "retry", "--all-failed", *folder)
            wait_for_counts(tmp_path, mail_delivered=1, webhook_delivered=3, unknown_failed=1)
    found = {(row["notification_id"], row["channel"]): row for row in json.loads(listed.out)}
    assert len(found) == 5
    assert found["n1", "webhook"]["recipient"] == shown_url(endpoint.url)
    assert found["n1", "webhook"]["attempts"] == 2
    assert found["n1", "webhook"]["last_error"] == "answered 500"
    assert found["n2", "unknown"]["last_error"] == "'joe' is not an email address"
    assert (again.code, again.out) == (0, "2 failed deliveries are pending again.\n")
    assert everything.out == "3 failed deliveries are pending again.\n"
    table = inside("notifications", "list", *folder)
    assert "gone@acme.example" in table.out
    assert "3 delivered by webhook" in table.err
    (record,) = json.loads(inside("notifications", "malformed", "--json", *folder).out)
    assert record["record"] == "no notification"


def test_what_cannot_be_tried_again(tmp_path):
    folder = ("--deliveries", str(tmp_path))
    assert "no notification flow has run" in inside("notifications", "list", *folder).err.lower()
    assert inside("notifications", "retry", *folder).code == 2
    assert inside("notifications", "retry", "n1", "--all-failed", *folder).code == 2
    (tmp_path / "deliveries.sqlite").write_bytes(b"x" * 10_000)
    damaged = inside("notifications", "retry", "n1", *folder)
    assert damaged.code == 1
    assert "restore it from a backup" in damaged.err


MAIL = {"smtp_host": "mail.example.com", "smtp_from": "billing@example.com"}
HOOK = {"webhooks": "https://hooks.example.com/x", "webhook_secret": SECRET}
REFUSED = {
    "there is nowhere to deliver notifications to": {},
    "set RATEMILL_SMTP_FROM": {"smtp_host": "mail.example.com"},
    "SMTP_USER and RATEMILL_SMTP_PASSWORD belong together": MAIL | {"smtp_user": "me"},
    "a password is not sent in the clear": MAIL | {"smtp_user": "me", "smtp_password": "x", "smtp_tls": "none"},
    "set RATEMILL_WEBHOOK_SECRET": {"webhooks": HOOK["webhooks"]},
    "is not https": HOOK | {"webhooks": "http://hooks.example.com/"},
    "is on this machine": HOOK | {"webhooks": "https://localhost/"},
    "127.0.0.1 is in a private network": HOOK | {"webhooks": "https://127.1/"},
    "169.254.169.254 is in a private network": HOOK | {"webhooks": "https://169.254.169.254/latest"},
    "::1 is in a private network": HOOK | {"webhooks": "https://[::1]:8443/"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_work_is_refused_at_the_start(sentence, tmp_path):
    settings = Settings.model_validate(REFUSED[sentence])
    with pytest.raises(RatemillError, match=sentence.replace(".", r"\.")):
        run_notifications(settings, tmp_path, threading.Event(), render=in_plain_text)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("WEBHOOKS", "https://", "has no host"),
        ("WEBHOOKS", "ftp://a.example/", "must begin with https://"),
        ("WEBHOOKS", "https://me:hunter2@a.example/", "https://a.example/ cannot be a webhook: it holds a user or a"),
        ("WEBHOOKS", "https://me:hunter2/x@a.example/", "its host or its port cannot be read"),
        ("WEBHOOKS", "https://a.example:99999/hunter2", "cannot be a webhook"),
        ("WEBHOOKS", "ftp://a.example/hunter2", "must begin with https://"),
        ("WEBHOOKS", "a.example/hunter2", "must begin with https://"),
        ("WEBHOOKS", "https://a.example/***(39e9c2)", "which is shown in place of what may be a secret"),
        ("WEBHOOKS", "https://a.example/hunter2#invoice_isued", "did you mean 'invoice_issued'"),
        ("WEBHOOKS", "https://a.example/hunter2 https://a.example/hunter2#invoice_issued", "is listed twice"),
        ("WEBHOOKS", "https://a.example/#invoice_isued", "did you mean 'invoice_issued'"),
        ("WEBHOOKS", "https://a.example/ https://a.example/#invoice_issued", "is listed twice"),
        ("WEBHOOK_SECRET", "hunter2", "does not begin with whsec_"),
        ("WEBHOOK_SECRET", "whsec_hunter2!", "is no base64"),
        ("WEBHOOK_SECRET", "whsec_aHVudGVyMg==", "has 7 bytes"),
        ("WEBHOOK_SECRET", "***", "which is shown in place of a secret"),
        ("SMTP_FROM", "billing", "is not an email address"),
        ("SMTP_TLS", "maybe", "smtp_tls"),
    ],
)
def test_settings_are_looked_at_when_they_are_read(name, value, sentence):
    with pytest.raises(RatemillError, match="wrong settings: ") as refused:
        load_settings({f"RATEMILL_{name}": value})
    assert sentence in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_secrets_are_not_shown():
    hooks = "https://a.example/?token=hunter2 https://b.example:8443/hunter2#invoice_issued https://c.example/"
    settings = load_settings(
        {"RATEMILL_SMTP_PASSWORD": "hunter2", "RATEMILL_WEBHOOK_SECRET": SECRET, "RATEMILL_WEBHOOKS": hooks}
    )
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump(mode='json')}"
    assert "hunter2" not in shown
    assert SECRET not in shown
    first, second, third = settings.model_dump()["webhooks"]
    assert first.startswith("https://a.example/***(")
    assert second.startswith("https://b.example:8443/***(")
    assert second.endswith(")#invoice_issued")
    assert third == "https://c.example/"
    assert Settings.model_validate_json(settings.to_json()) == settings


def test_an_endpoint_that_is_no_longer_set_is_told(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: 500) as old, Mailbox() as mail:
        settings = settings_for(broker, topic_prefix, old, delivery_hours=3 / 3600, circuit_seconds=60)
        send(settings, [notification("n1")])
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, webhook_pending=1)
        only_mail = Settings.model_validate(
            {**QUICK, **mail_settings(mail), **settings.model_dump(include={"kafka", "topic_prefix"})}
        )
        with running(only_mail, tmp_path) as flow:
            wait_for_counts(tmp_path, webhook_failed=1)
            wait_until(lambda: flow.remarks, "it was said")
        shown = inside("notifications", "list", "--json", "--deliveries", str(tmp_path))
    (row,) = json.loads(shown.out)
    assert row["last_error"] == "answered 500; given up: this endpoint is no longer set (RATEMILL_WEBHOOKS)"
    assert flow.remarks == ["1 deliveries were given up: `ratemill notifications list --state failed`"]
