"""Several processes of one flow on this machine: started together, ended together.

The rule: when one ends before its work is done, all are ended, and the next start resumes them together. A child holds
the ledger's lock as long as it lives, and ends when its parent does.
"""

import os
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
from dataflows.failures import SILENT
from dataflows.preparation import is_all_read, prepare
from dataflows.rating import RatingPlan

_SECONDS_TO_END = 5
_SECONDS_TO_END_ALONE = 2
_LOOKS_PER_SECOND = 20
SENTENCE_EXIT = 65
KILLED = "a rating process was killed; the next run goes on from the last commit"


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
    settings = plan.settings.to_json()
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
    """What went wrong, if anything did: a sentence of a process, else its bug, else how one ended."""
    failed = [child for child in children if child.process.returncode]
    if not failed:
        return
    sentences = [child.text().strip().splitlines()[-1] for child in failed if child.process.returncode == SENTENCE_EXIT]
    if told := [sentence for sentence in sentences if sentence != SILENT]:
        raise RatemillError(told[0])
    broken = [child.text() for child in failed if child.process.returncode == 1]
    assert not broken, "a rating process broke:\n" + "\n".join(broken)
    # The engine's network threads of processes that end at once may break each other after all has been committed.
    prepare(plan.folder)
    if not is_all_read(plan.folder, plan.inputs):
        killed = any(child.process.returncode < 0 for child in failed)
        raise RatemillError(KILLED if killed else SILENT)


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in sockets]
    for taken in sockets:
        taken.close()
    return addresses
