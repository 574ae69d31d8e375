"""What notifications are delivered to in tests: an HTTP endpoint and a mail server, each in a thread of its own."""

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Self

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from ops.kafka.broker import free_port
from tests.kafka.secured import AUTHORITY

USER, PASSWORD = "ratemill", "right-for-mail"


@dataclass(frozen=True)
class Request:
    """What an endpoint was sent, and when, on the monotonic clock."""

    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = Callable[[int, Request], "int | web.StreamResponse | Awaitable[int | web.StreamResponse]"]


def server_tls() -> ssl.SSLContext:
    """The certificate of the tests' broker, for 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(AUTHORITY)
    return context


class Endpoint:
    """An HTTP endpoint; `answer` gets the number of a request, from 0, and says the status or the whole answer."""

    def __init__(self, answer: Answer = lambda number, request: 204, tls: bool = False) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hook"
        self._tls = server_tls() if tls else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def ids(self) -> Counter[str]:
        """How often each message came."""
        return Counter(request.id for request in list(self.requests))

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def _end(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.02)

    async def _take(self, came: web.Request) -> web.StreamResponse:
        request = Request(
            {name.lower(): value for name, value in came.headers.items()}, await came.read(), time.monotonic()
        )
        number = len(self.requests)
        self.requests.append(request)
        answer = self.answer(number, request)
        if isinstance(answer, Awaitable):
            answer = await answer
        return web.Response(status=answer) if isinstance(answer, int) else answer


class _Controller(Controller):
    """One that closes what is open when it stops."""

    def factory(self) -> SMTP:
        self.__dict__.setdefault("made", []).append(made := super().factory())
        return made

    def stop(self, no_assert: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._close_all(), self.loop).result(10)
        super().stop(no_assert)

    async def _close_all(self) -> None:
        for made in self.__dict__.get("made", ()):
            if made.transport is not None:
                made.transport.abort()
        await asyncio.sleep(0.02)


class Mailbox:
    """A mail server with TLS and a password; `refusals` maps an address to the answer that it gets in RCPT."""

    def __init__(self, implicit_tls: bool = False) -> None:
        self.messages: list[tuple[str, EmailMessage]] = []
        self.refusals: dict[str, str] = {}
        self.data_answer = "250 OK"
        self.sessions: set[int] = set()
        self.port = free_port()
        tls = server_tls()
        how = {"tls_context": tls, "require_starttls": True, "auth_required": True}
        if implicit_tls:
            # It knows nothing of the TLS below it.
            how = {"ssl_context": tls, "auth_require_tls": False}
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=_authenticated,
            **how,
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def addresses(self) -> Counter[str]:
        """How many messages each address got."""
        return Counter(address for address, _ in list(self.messages))

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.sessions.add(id(session))
        if self.data_answer.startswith("250"):
            message = message_from_bytes(envelope.content, policy=default)
            self.messages += [(address, message) for address in envelope.rcpt_tos]
        return self.data_answer


def _authenticated(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    right = data.login == USER.encode() and data.password == PASSWORD.encode()
    return AuthResult(success=right, handled=right)
