"""`ratemill run rating` as a real process, and what is seen of it from outside: its metrics, its ledger, its CPU time.

The rule: it runs as a deployment runs it, metrics served, and must never have been restarted.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from dataflows.ledger.published import read_table
from dataflows.metrics_table import RUNNING
from dataflows.settings import Settings
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.worker import ROOT
from ops.kafka.broker import free_port

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_START = 300
_SECONDS_TO_SETTLE = 2
_SECONDS_TO_STOP = 120
_SECONDS_TO_ANSWER = 10


@dataclass(frozen=True, slots=True)
class RunningFlow:
    """A flow that runs; `process` is its supervisor, which says what is wrong in `said`."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]
    ledger: Path
    port: int

    def cpu(self) -> float:
        """Seconds of CPU time that all its processes have spent so far."""
        return cpu_seconds(self.process.pid)

    def received(self) -> int:
        """Records with a published verdict."""
        if not (self.ledger / "manifest").exists():
            return 0
        return int(read_table(self.ledger, "commits")["received"].sum())

    def wait_until_it_runs(self) -> None:
        """Return when its processes have started: whatever is sent now meets a running flow."""
        self._wait(self._runs, _SECONDS_TO_START, "does not run")
        time.sleep(_SECONDS_TO_SETTLE)

    def wait_until_received(self, records: int, seconds: float) -> None:
        """Return as soon as so many records have a published verdict."""
        self._wait(lambda: self.received() >= records, seconds, f"has not published {records:,} records")

    def look(self) -> None:
        """Wait a moment; AssertionError if the flow has ended meanwhile, or said that something went wrong."""
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        said = self.text()
        assert self.process.poll() is None and not said, f"the flow ended or was started again: {said}"

    def text(self) -> str:
        """What the flow has said."""
        self.said.seek(0)
        return self.said.read().decode("utf-8", "replace").strip()

    def _wait(self, until: Callable[[], bool], seconds: float, what: str) -> None:
        last = time.monotonic() + seconds
        while not until():
            self.look()
            assert time.monotonic() < last, f"the flow {what} after {seconds:g} s"

    def _runs(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=_SECONDS_TO_ANSWER) as answer:
                return f"\n{RUNNING.name} 1".encode() in answer.read()
        except (URLError, TimeoutError):
            return False


@contextmanager
def running(settings: Settings, ledger: Path) -> Iterator[RunningFlow]:
    """A flow that has started, and is asked to stop after the block, which must end well."""
    port = free_port()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "run", "rating", "--ledger", str(ledger)],
            cwd=ROOT,
            env=environment_of(settings, port),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        flow = RunningFlow(process, said, ledger, port)
        try:
            flow.wait_until_it_runs()
            yield flow
            process.send_signal(signal.SIGTERM)
            assert process.wait(_SECONDS_TO_STOP) == 0, flow.text()
        finally:
            process.kill()
            process.wait()


def environment_of(settings: Settings, port: int) -> dict[str, str]:
    """The settings that are stated, as variables of the environment; metrics are served at the port."""
    stated = settings.model_dump(mode="json", exclude_unset=True, exclude={"kafka", "metrics_port"})
    ours = {f"RATEMILL_{name.upper()}": str(value) for name, value in stated.items()}
    kafka = {f"RATEMILL_KAFKA_{name.replace('.', '_').upper()}": value for name, value in settings.kafka.items()}
    return {**os.environ, **ours, **kafka, "RATEMILL_METRICS_PORT": str(port)}
