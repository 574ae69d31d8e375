"""Several processes of one flow on this machine: started together, ended together.

The rule: when one ends before its work is done, all are ended, and the next start resumes them together. A child holds
the ledger's lock as long as it lives, and ends when its parent does.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from dataflows.connectors.files import InputFile
from dataflows.errors import RatemillError
from dataflows.failures import sentence_of
from dataflows.preparation import is_all_read, prepare
from dataflows.rating import RatingPlan

_SECONDS_TO_END = 5
_SECONDS_TO_END_ALONE = 2
_LOOKS_PER_SECOND = 20
SENTENCE_EXIT = 65


class Task(msgspec.Struct, frozen=True):
    """What a process is told on its standard input: which one it is, and all that its plan is made from."""

    process: int
    addresses: list[str]
    catalog: str
    ledger: str
    inputs: list[InputFile]
    settings: str


def run_processes(plan: RatingPlan, catalog_path: Path, lock: int, on_look: Callable[[], None]) -> None:
    """Run the flow in `plan.settings.processes` processes to the end of its inputs; `lock` is the ledger's."""
    addresses = _free_addresses(plan.settings.processes)
    settings = plan.settings.model_dump_json()
    children: list[_Child] = []
    try:
        for number in range(plan.settings.processes):
            task = Task(
                number, addresses, str(catalog_path.resolve()), str(plan.folder.root), list(plan.inputs), settings
            )
            children.append(_Child(task, lock))
        _watch(children, on_look)
    finally:
        for child in children:
            child.stop()
    try:
        _raise_first_failure(children, plan)
    finally:
        for child in children:
            child.said.close()


class _Child:
    """One process of the flow; what it writes is kept back, as most of it is the engine's noise."""

    def __init__(self, task: Task, lock: int) -> None:
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (`end` closes it)
        root = str(Path(__file__).resolve().parents[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dataflows.process"],
            stdin=subprocess.PIPE,
            stdout=self.said,
            stderr=self.said,
            pass_fds=[lock],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(task) + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End the process, politely first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def text(self) -> str:
        """What the process wrote."""
        self.said.seek(0)
        return self.said.read().decode("utf-8", "replace")


def _watch(children: list[_Child], on_look: Callable[[], None]) -> None:
    """Wait until all have ended well, or one has not; then the others get a moment to end by themselves."""
    looks_left = _SECONDS_TO_END_ALONE * _LOOKS_PER_SECOND
    while any(child.process.poll() is None for child in children) and looks_left:
        looks_left -= any(child.process.returncode for child in children)
        on_look()
        time.sleep(1 / _LOOKS_PER_SECOND)


def _raise_first_failure(children: list[_Child], plan: RatingPlan) -> None:
    """RatemillError with the sentence of a process that has one to say, else with how one ended."""
    failed = [child for child in children if child.process.returncode]
    for child in failed:
        if child.process.returncode == SENTENCE_EXIT:
            raise RatemillError(child.text().strip().splitlines()[-1])
    said = "".join(child.text() for child in failed)
    if failed and (sentence := sentence_of(Exception(), plan.folder, said)):
        raise RatemillError(sentence)
    # The engine's network threads of two processes that end at once may break each other after all is committed.
    if failed:
        prepare(plan.folder)
        if is_all_read(plan.folder, plan.inputs):
            return
    for child in failed:
        if child.process.returncode in (-signal.SIGKILL, -signal.SIGTERM):
            raise RatemillError("a rating process was killed; the next start goes on from the last commit")
    assert not failed, f"a rating process broke:\n{said}"


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in sockets]
    for taken in sockets:
        taken.close()
    return addresses
