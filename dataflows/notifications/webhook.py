"""Deliveries to one webhook endpoint, as the Standard Webhooks specification has them.

Owns: the request, what an answer means, and which addresses are connected to. Does not own: when it is tried, or again.
The rule: 2xx alone is success; no redirect is followed; of an answer little is read, and nothing is unpacked.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from dataflows.delivery_settings import shown_url, signing_keys, without_url
from dataflows.notifications.endpoints import tls_context
from dataflows.notifications.networks import PrivateAddressError, public_socket
from dataflows.notifications.outcomes import Delivered, Due, Failure, Outcome
from dataflows.notifications.records import raw_columns_of
from dataflows.notifications.signatures import signed, webhook_id
from dataflows.settings import Settings

_BYTES_OF_AN_ANSWER = 4_096
_LETTERS_SHOWN = 200
_GONE = 410
_SECONDS_IDLE = 30.0
_HEADERS = {"content-type": "application/json", "user-agent": "ratemill", "accept-encoding": "identity"}


def webhook_body(record: bytes) -> bytes:
    """The body for a notification: its kind, when it occurred, and its columns as they are written in the record.

    >>> webhook_body(b'{"kind": "a", "occurred_at": "2026-11-20T10:00:00Z", "share": "1.0", "recipients": []}')[:57]
    b'{"type":"a","timestamp":"2026-11-20T10:00:00Z","data":{"k'
    """
    columns = raw_columns_of(record)
    columns.pop("recipients", None)
    return msgspec.json.encode({"type": columns["kind"], "timestamp": columns["occurred_at"], "data": columns})


class WebhookChannel:
    """The connections to one endpoint, a context; `attempt` gives an outcome whatever the endpoint does."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.endpoint = url
        self.shown = shown_url(url)
        self.concurrency = settings.webhook_connections
        self._keys = signing_keys(settings.webhook_secret.get_secret_value())
        self._seconds = settings.delivery_timeout_seconds
        self._is_private = settings.webhook_private_networks
        self._tls = tls_context(settings.webhook_ca, "RATEMILL_WEBHOOK_CA")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self.concurrency,
            ssl=self._tls,
            keepalive_timeout=_SECONDS_IDLE,
            socket_factory=None if self._is_private else public_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def attempt(self, due: Due) -> Outcome:
        """Send one notification; the outcome says what came of it."""
        assert self._session is not None, "a channel is used as a context"
        body = webhook_body(due.record)
        proof = signed(self._keys, webhook_id(due.notification_id), int(time.time()), body)
        try:
            async with self._session.post(
                self.endpoint, data=body, headers=_HEADERS | proof, allow_redirects=False
            ) as answer:
                return outcome_of(self.endpoint, answer.status, answer.headers, await _beginning(answer))
        except TimeoutError:
            return Failure(f"no answer within {self._seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failure(_sentence(error, self.endpoint))


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a body; none if they do not come, as the status has answered already."""
    try:
        return await answer.content.read(_BYTES_OF_AN_ANSWER)
    except (TimeoutError, aiohttp.ClientError):
        return b""


def outcome_of(url: str, status: int, headers: Mapping[str, str], text: bytes) -> Outcome:
    """What an endpoint's answer means: its status, headers, and the beginning of its body.

    >>> outcome_of("https://hooks.example.com/", 302, {"location": "https://elsewhere.example/"}, b"").error
    'answered 302 and points to https://elsewhere.example/: redirects are not followed, set the new address'
    """
    if 200 <= status < 300:
        return Delivered()
    if 300 <= status < 400:
        target = _one_line(headers.get("location", "nowhere"), url)
        return Failure(f"answered {status} and points to {target}: redirects are not followed, set the new address")
    shown = _one_line(text.decode(errors="replace"), url)
    error = f"answered {status}: {shown}" if shown else f"answered {status}"
    return Failure(error, final=status == _GONE, not_before=_retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> float:
    stated = headers.get("retry-after", "")
    return float(stated) if stated.isascii() and stated.isdigit() else 0.0


def _one_line(text: str, url: str) -> str:
    """What others wrote, without control characters and without the URL, part of which may be a secret."""
    shown = without_url(" ".join("".join(sign if sign.isprintable() else " " for sign in text).split()), url)
    return shown if len(shown) <= _LETTERS_SHOWN else f"{shown[:_LETTERS_SHOWN]}..."


def _sentence(error: Exception, url: str) -> str:
    refused: BaseException | None = error
    while refused is not None and not isinstance(refused, PrivateAddressError):
        refused = refused.__cause__
    return _one_line(str(refused.strerror if refused is not None else error), url) or type(error).__name__
