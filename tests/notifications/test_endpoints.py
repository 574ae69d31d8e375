"""Endpoints of webhooks that fail, hang, redirect or lie in private networks; and those beside them."""

import asyncio
import time
from itertools import pairwise

import pytest
from aiohttp import web

from dataflows.delivery_settings import shown_url
from dataflows.notifications.networks import PrivateAddressError, public_socket, refusal_of
from dataflows.notifications.outcomes import Delivered, Due, Failure
from dataflows.notifications.webhook import WebhookChannel
from dataflows.settings import Settings
from tests.kafka.relaying import wait_until
from tests.notifications.flows import (
    QUICK,
    notification,
    rows,
    running,
    send,
    settings_for,
    wait_for_counts,
)
from tests.notifications.servers import Endpoint

RECORD = b'{"notification_id": "n1", "kind": "quota_reached", "occurred_at": "2026-11-20T10:00:00Z", "recipients": []}'


def attempt(url: str, **update):
    """One attempt at an endpoint."""
    settings = Settings.model_validate({**QUICK, **update})

    async def run():
        async with WebhookChannel(url, settings) as channel:
            return await channel.attempt(Due(1, "n1", "quota_reached", url, 0, 0, RECORD))

    return asyncio.run(run())


async def hang(seconds: float = 60) -> int:
    await asyncio.sleep(seconds)
    return 204


def test_what_failed_is_sent_again_until_it_is_taken(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: 500 if number < 8 else 200) as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, circuit_seconds=0.1)
        send(settings, [notification("n1"), notification("n2")])
        with running(settings, tmp_path) as flow:
            wait_for_counts(tmp_path, webhook_delivered=2)
    assert len(endpoint.requests) == 10
    assert set(endpoint.ids) == {"n1", "n2"}
    assert len({(request.id, request.body) for request in endpoint.requests}) == 2, "a message changes on its way"
    assert sum(row["attempts"] for row in rows(tmp_path)) == 10
    assert any("rest for a while after failures in a row: answered 500" in remark for remark in flow.remarks)
    assert flow.remarks[-1] == f"{shown_url(endpoint.url)} takes deliveries again"


def test_what_is_never_taken_fails_in_sight(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: web.Response(status=500, text="out of\norder")) as endpoint:
        settings = settings_for(broker, topic_prefix, endpoint, delivery_attempts=3)
        send(settings, [notification("n1")])
        with running(settings, tmp_path):
            wait_for_counts(tmp_path, webhook_failed=1)
    (row,) = rows(tmp_path, "failed")
    assert (row["attempts"], row["last_error"]) == (3, "answered 500: out of order")
    assert endpoint.ids == {"n1": 3}


def test_an_endpoint_that_hangs_delays_nobody_and_is_soon_left_alone(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: hang()) as bad, Endpoint() as good:
        settings = settings_for(
            broker, topic_prefix, bad, good, delivery_timeout_seconds=1, circuit_seconds=30, webhook_connections=4
        )
        send(settings, [notification(f"n{number}") for number in range(500)])
        with running(settings, tmp_path) as flow:
            wait_until(lambda: len(good.ids) == 500, "the good endpoint has all")
            assert len(bad.requests) < 20
            wait_until(lambda: flow.progress.circuits[shown_url(bad.url)], "the circuit opens")
            tried = len(bad.requests)
            assert tried <= 5 + 4
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert len(bad.requests) == tried
    assert not flow.progress.circuits[shown_url(good.url)]
    errors = {row["last_error"] for row in rows(tmp_path, "pending")}
    assert errors == {None, "no answer within 1 s"}
    assert good.ids.total() == 500


def test_a_circuit_lets_one_delivery_try_at_a_time(broker, topic_prefix, tmp_path):
    with Endpoint(lambda number, request: 503) as endpoint:
        settings = settings_for(
            broker, topic_prefix, endpoint, webhook_connections=1, circuit_failures=3, circuit_seconds=0.5
        )
        send(settings, [notification(f"n{number}") for number in range(50)])
        with running(settings, tmp_path):
            wait_until(lambda: len(endpoint.requests) >= 6, "it was tried three times more")
    times = [request.at for request in endpoint.requests]
    # An answer comes after its request, and the rest begins with the answer.
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(times[2:]))


def test_a_redirect_is_a_failure_that_says_where_it_points():
    with Endpoint() as elsewhere:
        new = elsewhere.url.replace("/hook", "/moved")
        moved = {"location": new}
        with Endpoint(lambda number, request: web.Response(status=307, headers=moved)) as endpoint:
            outcome = attempt(endpoint.url)
        assert outcome.error == (f"answered 307 and points to {new}: redirects are not followed, set the new address")
        assert not outcome.final
        assert elsewhere.requests == []


def test_answers_and_what_they_mean():
    answers = [
        (web.Response(status=200), Delivered()),
        (web.Response(status=299, text="x" * 100_000), Delivered()),
        (web.Response(status=410), Failure("answered 410", final=True)),
        (web.Response(status=404, text="\x1b[31mno"), Failure("answered 404: [31mno")),
        (web.Response(status=429, headers={"retry-after": "7"}), Failure("answered 429", not_before=7.0)),
        (web.Response(status=503, headers={"retry-after": "soon"}), Failure("answered 503")),
        (web.Response(status=500, text="y" * 100_000), Failure(f"answered 500: {'y' * 200}...")),
    ]
    for answer, outcome in answers:
        with Endpoint(lambda number, request, answer=answer: answer) as endpoint:
            assert attempt(endpoint.url) == outcome


def test_what_an_endpoint_quotes_of_its_url_is_not_kept():
    path = "/hook?token=hunter2"
    answers = [
        web.Response(status=301, headers={"location": f"https://b.example{path}"}),
        web.Response(status=404, text=f"nothing at {path}, {'x' * 150} at {path}"),
    ]
    with Endpoint(lambda number, request: answers[number]) as endpoint:
        secret = endpoint.url.replace("/hook", path)
        errors = [attempt(secret).error, attempt(secret).error]
    mark = shown_url(secret).rpartition("/")[2]
    assert errors[0].startswith(f"answered 301 and points to https://b.example/{mark}:")
    assert errors[1].startswith(f"answered 404: nothing at /{mark}, x")
    assert "hunt" not in "".join(errors)


def test_an_endpoint_that_is_not_there():
    with Endpoint() as endpoint:
        url = endpoint.url
    outcome = attempt(url)
    assert outcome.error.startswith("Cannot connect to host 127.0.0.1")
    assert (outcome.final, outcome.of_endpoint) == (False, True)
    assert "certificate" in attempt_of_tls().error


def attempt_of_tls():
    """At an endpoint whose certificate nobody here knows."""
    with Endpoint(tls=True) as endpoint:
        return attempt(endpoint.url)


def test_a_body_that_does_not_come_changes_no_answer():
    """The status has said it; a client that waited for more would send the same again."""

    def stuck(number, request):
        return web.StreamResponse(status=200, headers={"content-length": "10"})

    with Endpoint(stuck) as endpoint:
        assert attempt(endpoint.url, delivery_timeout_seconds=0.5) == Delivered()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]"])
def test_private_networks_are_not_connected_to(host):
    """Looked at when the socket is made: what a name stood for before does not matter."""
    with Endpoint() as endpoint:
        outcome = attempt(f"http://{host}:{endpoint.port}/hook", webhook_private_networks=False)
        assert "in a private network: set RATEMILL_WEBHOOK_PRIVATE_NETWORKS=true if it is meant" in outcome.error
        assert endpoint.requests == []
        assert host != "127.0.0.1" or attempt(endpoint.url) == Delivered()


@pytest.mark.parametrize(
    "address",
    "10.0.0.1 172.16.5.5 192.168.1.1 127.0.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 ::1 ::"
    " fe80::1 fe80::1%eth0 fc00::1 ::ffff:10.0.0.1 64:ff9b::a9fe:a9fe 2002:7f00:1::".split(),
)
def test_private_addresses(address):
    assert refusal_of(address) == f"{address} is in a private network"
    family = 10 if ":" in address else 2
    with pytest.raises(PrivateAddressError):
        public_socket((family, 1, 6, "", (address, 443)))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses(address):
    assert refusal_of(address) == ""
    public_socket((10 if ":" in address else 2, 1, 6, "", (address, 443))).close()
