"""A mail server that refuses, delays, or is not there; and what a message says of itself."""

import asyncio
import json
import time

import pytest

from dataflows.notifications.mail import MailChannel
from dataflows.notifications.outcomes import Delivered, Due, Failure
from dataflows.settings import Settings
from tests.kafka.relaying import wait_until
from tests.notifications.flows import (
    QUICK,
    in_plain_text,
    mail_settings,
    notification,
    rows,
    running,
    send,
    settings_for,
    wait_for_counts,
)
from tests.notifications.servers import Mailbox


def attempt(mail: Mailbox, *addresses: str, identity: str = "n1", **update) -> list:
    """An attempt for each address, one after the other."""
    settings = Settings.model_validate({**QUICK, **mail_settings(mail, **update)})
    record = json.dumps(notification(identity, *addresses)).encode()

    async def run():
        async with MailChannel(settings, in_plain_text) as channel:
            return [await channel.attempt(Due(1, identity, "quota_reached", each, 0, 0, record)) for each in addresses]

    return asyncio.run(run())


def test_each_recipient_has_an_outcome_of_its_own(broker, topic_prefix, tmp_path):
    with Mailbox() as mail:
        mail.refusals = {"full@acme.example": "452 mailbox full", "gone@acme.example": "550 no such user"}
        settings = settings_for(broker, topic_prefix, mail=mail, delivery_attempts=1_000, circuit_failures=2)
        send(settings, [notification("n1", "joe@acme.com", "full@acme.example", "gone@acme.example")])
        with running(settings, tmp_path) as flow:
            wait_for_counts(tmp_path, mail_delivered=1, mail_failed=1, mail_pending=1)
            wait_until(lambda: rows(tmp_path, "pending")[0]["attempts"] > 3, "it is tried again and again")
            (waiting,) = rows(tmp_path, "pending")
            assert waiting["recipient"] == "full@acme.example"
            mail.refusals = {}
            wait_for_counts(tmp_path, mail_delivered=2, mail_failed=1)
    (failed,) = rows(tmp_path, "failed")
    assert failed["last_error"] == "gone@acme.example is refused: 550 no such user"
    assert failed["attempts"] == 1
    # Refused recipients say nothing about the server.
    assert flow.remarks == []
    assert waiting["last_error"] == "full@acme.example is refused: 452 mailbox full"
    assert mail.addresses == {"joe@acme.com": 1, "full@acme.example": 1}


def test_a_message_has_the_same_id_each_time_and_another_for_another_recipient():
    with Mailbox() as mail:
        first = attempt(mail, "joe@acme.com", "ann@acme.com")
        again = attempt(mail, "joe@acme.com")
        other = attempt(mail, "joe@acme.com", identity="n2")
    assert first + again + other == [Delivered()] * 4
    ids = [message["Message-ID"] for _, message in mail.messages]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
    assert all(identity.endswith("@provider.example>") for identity in ids)
    assert mail.messages[0][1]["Date"].datetime.isoformat() == "2026-11-20T10:00:00+00:00"
    assert mail.messages[0][1].as_bytes() == mail.messages[2][1].as_bytes()
    assert len(mail.sessions) == 3


def test_a_refused_message_is_final_or_not():
    with Mailbox() as mail:
        mail.data_answer = "554 looks like spam"
        assert attempt(mail, "joe@acme.com") == [
            Failure("the message is refused: 554 looks like spam", final=True, of_endpoint=False)
        ]
        mail.data_answer = "451 try later"
        assert attempt(mail, "joe@acme.com") == [Failure("the message is refused: 451 try later", of_endpoint=False)]


@pytest.mark.parametrize("address", ["ünder@acme.com", "a,b@acme.com", "<joe@acme.com", "joe@acme..com,ann@x.com"])
def test_an_address_that_cannot_be_written_to_is_final_and_stops_nobody(address):
    with Mailbox() as mail:
        refused, taken = attempt(mail, address, "joe@acme.com")
    assert isinstance(refused, Failure)
    assert refused.final
    assert address in refused.error
    assert taken == Delivered()
    assert mail.addresses == {"joe@acme.com": 1}


def test_tls_from_the_first_byte():
    with Mailbox(implicit_tls=True) as mail:
        assert attempt(mail, "joe@acme.com", smtp_tls="implicit") == [Delivered()]
        (failure,) = attempt(mail, "joe@acme.com", delivery_timeout_seconds=0.3)
        assert failure == Failure(f"no answer of the mail server 127.0.0.1:{mail.port} within 0.3 s")


def test_a_server_that_does_not_do_is_to_blame():
    with Mailbox() as mail:
        (wrong,) = attempt(mail, "joe@acme.com", smtp_password="wrong", delivery_timeout_seconds=20)
        assert "refuses the user or the password (535" in wrong.error
        assert "wrong" not in wrong.error
        (unknown,) = attempt(mail, "joe@acme.com", smtp_ca=None)
        assert "certificate verify failed" in unknown.error
    (away,) = attempt(mail, "joe@acme.com")
    assert f"the mail server 127.0.0.1:{mail.port} does not do: " in away.error
    for failure in (wrong, unknown, away):
        assert (failure.final, failure.of_endpoint) == (False, True)
    assert mail.messages == []


def test_a_server_that_comes_back_gets_all(broker, topic_prefix, tmp_path):
    mail = Mailbox()
    settings = settings_for(broker, topic_prefix, mail=mail)
    send(settings, [notification(f"n{number}", "joe@acme.com") for number in range(20)])
    with running(settings, tmp_path) as flow:
        wait_for_counts(tmp_path, mail_pending=20)
        time.sleep(0.5)
        with mail:
            wait_for_counts(tmp_path, mail_delivered=20)
    assert mail.addresses == {"joe@acme.com": 20}
    assert "mail takes deliveries again" in flow.remarks
