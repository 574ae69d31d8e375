"""Metrics and health of a running flow on a port of its own: /metrics, /healthz, /readyz.

Owns: the port, and what healthy and ready mean. Does not own: values (`metrics`, `metrics_facts`). The rule: whatever
goes wrong here is an answer to whoever asked, and never reaches the flow; only a port that cannot be had is told at
the start. Nothing secret is served, so there is no password; by default only this machine can ask.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dataflows.errors import RatemillError
from dataflows.ledger.folder import LedgerFolder
from dataflows.metrics import folder_for
from dataflows.metrics_facts import KafkaFacts, LedgerFacts
from dataflows.metrics_table import READY, RESTARTS, RUNNING
from dataflows.settings import Settings
from dataflows.supervisor import Condition, Ending

_SECONDS_OF_A_REQUEST = 10
_ATTEMPTS = 3
_SECONDS_BETWEEN_ATTEMPTS = 0.01
_PATHS = "/metrics /healthz /readyz"


@contextmanager
def serving(settings: Settings, folder: LedgerFolder, condition: Condition) -> Iterator[None]:
    """Serve metrics and health of the rating flow during the block; RatemillError if the port cannot be had.

    The processes that are started in the block keep their numbers where this can read them. Port 0 serves nothing.
    """
    if not settings.metrics_port:
        yield
        return
    ledger = LedgerFacts(folder)
    health = Health(condition, ledger.age, settings.stall_seconds)
    registry = CollectorRegistry()
    with folder_for(settings.processes) as numbers, KafkaFacts(settings, ledger.next_offsets) as kafka:
        for collector in (health, ProcessNumbers(numbers), ledger, kafka):
            registry.register(collector)
        with listening(settings, answering(registry, health.why_not_ready)):
            yield


@dataclass(frozen=True, slots=True, eq=False)
class Health(Collector):
    """Whether the flow is ready: its processes run, and all writers have published within `patience` seconds.

    `age` gives the seconds since the last publication.
    """

    condition: Condition
    age: Callable[[], float | None]
    patience: float

    def why_not_ready(self) -> str:
        """Empty if the flow is ready, else the reason in a line."""
        if not self.condition.running:
            why = self.condition.last_failure
            return f"the processes are not running: {why}" if why else "the processes are starting"
        age = self.age()
        if age is None:
            return "nothing has been published yet, or the ledger cannot be read"
        return f"nothing was published for {age:.0f} s" if age > self.patience else ""

    def collect(self) -> Iterator[Family]:
        """The metrics of the supervisor."""
        restarts = self.condition.restarts.copy()
        yield RUNNING.one(self.condition.running)
        yield READY.one(not self.why_not_ready())
        yield RESTARTS.family(
            ((ending.value,), restarts[ending.value]) for ending in Ending if ending is not Ending.STOPPED
        )


class ProcessNumbers(Collector):
    """The numbers of all processes of a flow, added up."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(None, str(folder))

    def collect(self) -> Iterable[Family]:
        """The metrics that processes count."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._files.collect()
            except struct.error:
                # A file that a process has just made is empty for a moment.
                time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        return self._files.collect()


Environment = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]


def answering(registry: CollectorRegistry, why_not_ready: Callable[[], str]) -> Application:
    """What answers requests."""
    metrics = make_wsgi_app(registry)

    def application(environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            match environment["PATH_INFO"]:
                case "/metrics":
                    return metrics(environment, start_response)
                case "/healthz":
                    status, text = "200 OK", "alive"
                case "/readyz":
                    why = why_not_ready()
                    status, text = ("503 Service Unavailable", why) if why else ("200 OK", "ready")
                case _:
                    status, text = "404 Not Found", f"there are {_PATHS}"
        except Exception as error:
            status, text = "500 Internal Server Error", f"cannot answer: {type(error).__name__}: {error}"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [" ".join(text.split()).encode() + b"\n"]

    return application


@contextmanager
def listening(settings: Settings, application: Application) -> Iterator[None]:
    """Answer requests in threads of their own during the block."""
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server = _Server(host, port)
    except OSError as error:
        raise RatemillError(
            f"metrics cannot be served at {host}:{port}: {(error.strerror or str(error)).lower()};"
            " set RATEMILL_METRICS_PORT to a free port, or to 0 for no metrics"
        ) from error
    with server:
        server.set_app(application)
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Quiet(WSGIRequestHandler):
    """Writes nothing to standard error, and waits for no slow request."""

    timeout = _SECONDS_OF_A_REQUEST

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a scrape every few seconds is no news."""
        del format, arguments


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Quiet)

    def server_bind(self) -> None:
        # The one it stands for asks for the name of the address, and a name server may not answer.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: whoever asked has gone."""
        del request, client_address
