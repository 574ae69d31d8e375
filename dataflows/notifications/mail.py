"""Deliveries by e-mail: one message to each recipient, over connections to the one mail server that are kept.

Owns: the message, the connections, and what an answer of the server means. Does not own: when it is tried, or again.
The rule: 5xx to a recipient or to a message is final, 4xx is not; what befalls a connection is the server's fault and
not the recipient's. A message that is sent again has the same Message-ID, by which mail programs know it.
"""

import asyncio
import hashlib
import time
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_FORM
from functools import lru_cache
from types import TracebackType
from typing import Self

import aiosmtplib
import msgspec

from dataflows.delivery_settings import SmtpTls
from dataflows.notifications.endpoints import tls_context
from dataflows.notifications.outcomes import Delivered, Due, Failure, Outcome
from dataflows.notifications.records import columns_of, notification_of
from dataflows.notifications.rendering import Render, Rendered
from dataflows.notifications.store import MAIL_ENDPOINT
from dataflows.settings import Settings

_SECONDS_IDLE = 10.0
_MESSAGES_PER_CONNECTION = 100
_CONTENTS_KEPT = 64
_LONGEST_SUBJECT = 250


class _UnsendableError(Exception):
    """No message can be made of a notification for a recipient."""


class MailChannel:
    """The connections to the mail server, a context; `attempt` gives an outcome whatever the server does."""

    endpoint = MAIL_ENDPOINT
    shown = MAIL_ENDPOINT

    def __init__(self, settings: Settings, render: Render) -> None:
        assert settings.smtp_from is not None, "check_endpoints comes first"
        self.concurrency = settings.smtp_connections
        self._settings = settings
        self._sender = settings.smtp_from
        self._tls = None if settings.smtp_tls is SmtpTls.NONE else tls_context(settings.smtp_ca, "RATEMILL_SMTP_CA")
        self._idle: list[_Connection] = []
        # A list of thousands of recipients is read and rendered once.
        self._contents = lru_cache(_CONTENTS_KEPT)(lambda record: _content(render, record))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            await self._idle.pop().end()

    async def attempt(self, due: Due) -> Outcome:
        """Send one message; the outcome says what came of it."""
        seconds = self._settings.delivery_timeout_seconds
        try:
            message = self._message(due)
        except _UnsendableError as error:
            return Failure(str(error), final=True, of_endpoint=False)
        try:
            async with asyncio.timeout(seconds):
                return await self._send(due.recipient, message)
        except TimeoutError:
            return Failure(f"no answer of {self._server} within {seconds:g} s")
        except (aiosmtplib.SMTPException, OSError) as error:
            return _failure(error, self._server)

    @property
    def _server(self) -> str:
        return f"the mail server {self._settings.smtp_host}:{self._settings.smtp_port}"

    def _message(self, due: Due) -> bytes:
        try:
            return message_of(*self._contents(due.record), self._sender, due)
        except (ValueError, MessageError) as error:
            reason = f"no message can be made for {due.recipient!r}: {error}"
            raise _UnsendableError(" ".join(reason.split())) from error

    async def _send(self, recipient: str, message: bytes) -> Outcome:
        connection = await self._connected()
        try:
            outcome = await connection.send(self._sender, recipient, message)
        except BaseException:
            connection.drop()
            raise
        self._idle.append(connection)
        return outcome

    async def _connected(self) -> "_Connection":
        """A connection that is there, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh:
                return connection
            await connection.end()
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            timeout=settings.delivery_timeout_seconds,
            use_tls=settings.smtp_tls is SmtpTls.IMPLICIT,
            start_tls=settings.smtp_tls is SmtpTls.STARTTLS,
            tls_context=self._tls,
        )
        connection = _Connection(client)
        try:
            await client.connect()
            if settings.smtp_user is not None:
                await client.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        except BaseException:
            connection.drop()
            raise
        return connection


class _Connection:
    """A connection that sends one message after another, until it is old."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client
        self._messages = 0
        self._used_at = time.monotonic()

    @property
    def is_fresh(self) -> bool:
        """Whether the server will likely take another message: many close what is idle or has sent a lot."""
        idle = time.monotonic() - self._used_at
        return self._client.is_connected and self._messages < _MESSAGES_PER_CONNECTION and idle < _SECONDS_IDLE

    async def send(self, sender: str, recipient: str, message: bytes) -> Outcome:
        """Send one message; a refusal of it is an outcome, and leaves the connection as it was."""
        self._messages += 1
        try:
            await self._client.sendmail(sender, [recipient], message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = error.recipients[0]
            return _refusal(f"{recipient} is refused", refused.code, refused.message)
        except aiosmtplib.SMTPDataError as error:
            return _refusal("the message is refused", error.code, error.message)
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            return Failure(f"{recipient} cannot be written to: {error}", final=True, of_endpoint=False)
        finally:
            self._used_at = time.monotonic()
        return Delivered()

    async def end(self) -> None:
        """Say goodbye; a server that does not answer is left."""
        transport = self._client.transport
        try:
            await self._client.quit(timeout=1)
        except (aiosmtplib.SMTPException, OSError):
            self.drop()
        _abort(transport)

    def drop(self) -> None:
        """Leave without a word."""
        transport = self._client.transport
        self._client.close()
        _abort(transport)


def _abort(transport: asyncio.BaseTransport | None) -> None:
    """Close now: TLS would wait for the server to say goodbye as well."""
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def message_of(rendered: Rendered, occurred_at: datetime, sender: str, due: Due) -> bytes:
    """The message as it is sent, the same each time; ValueError if there can be none for this recipient."""
    message = EmailMessage(policy=SMTP_FORM)
    message["From"] = Address(addr_spec=sender)
    message["To"] = Address(addr_spec=due.recipient)
    message["Subject"] = " ".join(rendered.subject.split())[:_LONGEST_SUBJECT]
    message["Date"] = occurred_at
    message["Message-ID"] = message_id(due.notification_id, due.recipient, sender)
    message["Auto-Submitted"] = "auto-generated"
    message["X-Ratemill-Notification"] = msgspec.json.encode(due.notification_id).decode()
    message.set_content(rendered.text)
    if rendered.html is not None:
        message.add_alternative(rendered.html, subtype="html")
    return message.as_bytes()


def message_id(notification_id: str, recipient: str, sender: str) -> str:
    """The Message-ID of a notification for a recipient.

    >>> message_id("n1", "joe@acme.com", "billing@provider.example")
    '<0e20f4f783411fd0c03f9d22b98e419c@provider.example>'
    """
    told = hashlib.sha256(msgspec.json.encode([notification_id, recipient])).hexdigest()
    return f"<{told[:32]}@{sender.rpartition('@')[2]}>"


def _content(render: Render, record: bytes) -> tuple[Rendered, datetime]:
    """What a message says, and when that occurred."""
    try:
        return render(columns_of(record)), notification_of(record).occurred_at
    except Exception as error:
        # A template is a deployment's own, and one that fails must not keep the others from being sent.
        raise ValueError(f"its template fails ({type(error).__name__}: {error})") from error


def _refusal(what: str, code: int, reason: str) -> Failure:
    return Failure(f"{what}: {code} {' '.join(reason.split())}", final=code >= 500, of_endpoint=False)


def _failure(error: Exception, server: str) -> Failure:
    """Why a connection did not do; the server is asked again, as its people may mend it."""
    match error:
        case aiosmtplib.SMTPAuthenticationError(code=code, message=reason):
            told = f"{server} refuses the user or the password ({code} {reason}): check RATEMILL_SMTP_USER"
        case aiosmtplib.SMTPSenderRefused(code=code, message=reason):
            told = f"{server} refuses the sender ({code} {reason}): check RATEMILL_SMTP_FROM"
        case aiosmtplib.SMTPResponseException(code=code, message=reason):
            told = f"{server} answers {code} {reason}"
        case _:
            told = f"{server} does not do: {error}"
    return Failure(" ".join(told.split()))
