"""The port of a running flow, for those who watch it: /metrics, /healthz, /readyz.

Owns: the port and the answers. Does not own: values, or what ready means (`metrics_flows`). The rule: whatever goes
wrong here is an answer to whoever asked, and never reaches the flow; only a port that cannot be had is told at the
start. Nothing secret is served, so there is no password; by default only this machine can ask.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from dataflows.errors import RatemillError
from dataflows.settings import Settings

_SECONDS_OF_A_REQUEST = 10
_PATHS = "/metrics, /healthz and /readyz"

Environment = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]


@contextmanager
def listening(settings: Settings, collectors: Iterable[Collector], why_not_ready: Callable[[], str]) -> Iterator[None]:
    """Answer requests in threads of their own during the block; RatemillError if the port cannot be had.

    `why_not_ready` gives the reason in a line, empty for none.
    """
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server = _Server(host, port)
    except OSError as error:
        raise RatemillError(
            f"metrics cannot be served at {host}:{port}: {(error.strerror or str(error)).lower()};"
            " set RATEMILL_METRICS_PORT to a free port, or to 0 for no metrics"
        ) from error
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    server.set_app(_answering(registry, why_not_ready))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    with server:
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _answering(registry: CollectorRegistry, why_not_ready: Callable[[], str]) -> Application:
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
                    status, text = "404 Not Found", f"there is nothing but {_PATHS}"
        except Exception as error:
            status, text = "500 Internal Server Error", f"cannot answer: {type(error).__name__}: {error}"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [" ".join(text.split()).encode() + b"\n"]

    return application


class _Quiet(WSGIRequestHandler):
    """Writes nothing to standard error, and waits for no slow request."""

    timeout = _SECONDS_OF_A_REQUEST

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: that somebody looks is no news."""
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
