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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from dataflows.connectors.files import InputFile
from dataflows.connectors.topic import TopicInput
from dataflows.errors import RatemillError
from dataflows.failures import SILENT
from dataflows.metrics import process_environment
from dataflows.preparation import is_all_read, prepare
from dataflows.rating import RatingPlan
from dataflows.settings import Settings

_SECONDS_TO_END = 5
_SECONDS_TO_END_ALONE = 2
LOOKS_PER_SECOND = 20
SENTENCE_EXIT = 65
UNMENDABLE_EXIT = 66
STOP = b"s"
PROGRAM = "dataflows.process"
# Led by this, a line is for a person although its process goes on.
_REMARK = "\x02"
KILLED = "a rating process was killed; the next run goes on from the last commit"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is told on its standard input: which one it is, and all that its plan is made from.

    Either `topic` is there, or `files` and the folder of their `catalog`. `settings` may hold secrets.
    """

    process: int
    addresses: list[str]
    ledger: str
    settings: str
    topic: TopicInput | None = None
    files: list[InputFile] = []
    catalog: str = ""


def tasks_of(
    ledger: Path,
    settings: Settings,
    *,
    topic: TopicInput | None = None,
    files: Sequence[InputFile] = (),
    catalog: str = "",
) -> list[Task]:
    """One task for each process of the settings."""
    addresses = free_addresses(settings.processes) if settings.processes > 1 else []
    return [
        Task(
            process=number,
            addresses=addresses,
            ledger=str(ledger),
            settings=settings.to_json(),
            topic=topic,
            files=list(files),
            catalog=catalog,
        )
        for number in range(settings.processes)
    ]


def run_processes(plan: RatingPlan, catalog_path: Path, lock: int, on_look: Callable[[], None]) -> None:
    """Run the flow in `plan.settings.processes` processes to the end of its files; `lock` is the ledger's."""
    assert not isinstance(plan.inputs, TopicInput), "a topic has no end; `supervisor` runs it"
    tasks = tasks_of(plan.folder.root, plan.settings, files=plan.inputs, catalog=str(catalog_path.resolve()))
    children = Children(tasks, lock)
    try:
        _watch(children, on_look)
    finally:
        children.end()
    try:
        _raise_first_failure(children, plan, plan.inputs)
    finally:
        children.forget()


class Child:
    """One process of the flow; what it writes is kept back, as most of it is the engine's noise."""

    def __init__(self, task: Task, lock: int, program: str) -> None:
        self._heard = 0
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (`forget` closes it)
        root = str(Path(__file__).resolve().parents[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", program],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            pass_fds=[lock],
            env={
                # Processes and workers are the parallelism. With one thread for all of Polars, readers and writers of a
                # process wait for each other.
                "POLARS_MAX_THREADS": "2",
                **os.environ,
                **process_environment(task.process),
                "PYTHONPATH": os.pathsep.join([root, *sys.path]),
            },
        )
        self._tell(msgspec.json.encode(task) + b"\n")

    def ask_to_stop(self) -> None:
        """The flow shall end by itself, with all that it has read committed."""
        self._tell(STOP)

    def end(self, seconds: float) -> None:
        """End the process, politely first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def text(self) -> str:
        """What the process wrote, but for its remarks; once it has ended."""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith(_REMARK))

    def remarks(self) -> list[str]:
        """What it passed on since this was asked before."""
        # The process writes where its last line ended: a `read` of ours would move that.
        size = os.fstat(self._said.fileno()).st_size
        lines = os.pread(self._said.fileno(), size - self._heard, self._heard)
        whole, ending, _ = lines.rpartition(b"\n")
        self._heard += len(whole + ending)
        return [
            line.removeprefix(_REMARK)
            for line in whole.decode("utf-8", "replace").splitlines()
            if line.startswith(_REMARK)
        ]

    def forget(self) -> None:
        """Let go of what it wrote."""
        self._said.close()

    def _tell(self, content: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(content)
            self.process.stdin.flush()
        except BrokenPipeError:
            # It has ended, which whoever watches it will see.
            return


def pass_on(remark: str) -> None:
    """Tell the process that started this one what a person should know; for processes of `Children` only."""
    sys.stderr.write(f"{_REMARK}{remark}\n")
    sys.stderr.flush()


class Children:
    """The processes of one run; `program` is the module that each of them runs."""

    def __init__(self, tasks: Iterable[Task], lock: int, program: str = PROGRAM) -> None:
        self._children: list[Child] = []
        try:
            for task in tasks:
                self._children.append(Child(task, lock, program))
        except BaseException:
            self.end()
            raise

    def alive(self) -> list[Child]:
        """Those that have not ended."""
        return [child for child in self._children if child.process.poll() is None]

    def ended(self) -> bool:
        """Whether one has ended, well or not."""
        return len(self.alive()) < len(self._children)

    def failed(self) -> list[Child]:
        """Those that ended otherwise than well."""
        return [child for child in self._children if child.process.poll()]

    def ask_to_stop(self) -> None:
        """All shall end by themselves."""
        for child in self._children:
            child.ask_to_stop()

    def end(self, seconds: float = _SECONDS_TO_END) -> None:
        """End those that still run."""
        for child in self._children:
            child.end(seconds)

    def forget(self) -> None:
        """Let go of what they wrote."""
        for child in self._children:
            child.forget()

    def remarks(self) -> list[str]:
        """What they passed on since this was asked before; several may say the same."""
        return [remark for child in self._children for remark in child.remarks()]

    def sentences(self, code: int) -> list[str]:
        """What those with this exit code said last, without those that could not say anything."""
        ended = [child.text().strip().splitlines() for child in self._children if child.process.poll() == code]
        return [lines[-1] for lines in ended if lines and lines[-1] != SILENT]

    def bugs(self) -> list[str]:
        """What those wrote that ended by a mistake of ours."""
        return [child.text() for child in self._children if child.process.poll() == 1]


def _watch(children: Children, on_look: Callable[[], None]) -> None:
    """Wait until all have ended well, or one has not; then the others get a moment to end by themselves."""
    looks_left = _SECONDS_TO_END_ALONE * LOOKS_PER_SECOND
    while children.alive() and looks_left:
        looks_left -= bool(children.failed())
        on_look()
        time.sleep(1 / LOOKS_PER_SECOND)


def _raise_first_failure(children: Children, plan: RatingPlan, files: Sequence[InputFile]) -> None:
    """What went wrong, if anything did: a sentence of a process, else its bug, else how one ended."""
    failed = children.failed()
    if not failed:
        return
    if told := [*children.sentences(UNMENDABLE_EXIT), *children.sentences(SENTENCE_EXIT)]:
        raise RatemillError(told[0])
    broken = children.bugs()
    assert not broken, "a rating process broke:\n" + "\n".join(broken)
    # The engine's network threads of processes that end at once may break each other after all has been committed.
    prepare(plan.folder)
    if not is_all_read(plan.folder, files):
        killed = any(child.process.returncode < 0 for child in failed)
        raise RatemillError(KILLED if killed else SILENT)


def free_addresses(count: int) -> list[str]:
    """So many addresses on this machine at which nobody listens now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in sockets]
    for taken in sockets:
        taken.close()
    return addresses
