"""Keeping the rating flow of a topic running: processes that die, stall or never start are all started again together.

Owns: when to restart, when to give up, and how to stop. Does not own: processes (`processes`) or the flow. The rule:
before every start no process of the flow lives, the recovery store is clean and the ledger stands at its last commit.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from dataflows.connectors.topic import topic_input
from dataflows.errors import RatemillError, UnmendableError
from dataflows.ledger.folder import LedgerFolder, locked, open_folder
from dataflows.preparation import prepare
from dataflows.processes import LOOKS_PER_SECOND, PROGRAM, SENTENCE_EXIT, UNMENDABLE_EXIT, Children, tasks_of
from dataflows.settings import Settings

_SECONDS_TO_STOP = 30
_SECONDS_TO_END = 2
_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0
_MOST_BUGS_IN_A_ROW = 5


class Ending(Enum):
    """Why the processes of a run were ended."""

    STOPPED = "stopped"
    DIED = "died"
    STALLED = "stalled"
    NOT_STARTED = "not started"
    UNREACHABLE = "unreachable"


@dataclass(slots=True)
class Condition:
    """How the supervised flow is, for whoever watches it; written by the supervisor's thread only."""

    running: bool = False
    restarts: Counter[str] = field(default_factory=Counter)
    last_failure: str = ""


@dataclass(slots=True)
class Supervisor:
    """`remark` is told, in sentences, what a person should know; `on_look` is called some times a second.

    `program` is the module that each process runs.
    """

    folder: LedgerFolder
    settings: Settings
    accept_loss: bool = False
    remark: Callable[[str], None] = lambda sentence: None
    on_look: Callable[[], None] = lambda: None
    program: str = PROGRAM
    stopping: threading.Event = field(default_factory=threading.Event)
    condition: Condition = field(default_factory=Condition)
    _remarked: set[str] = field(default_factory=set)
    _failures_in_a_row: int = 0
    _bugs_in_a_row: int = 0
    _commits: int = 0

    def run(self) -> None:
        """Run until `stopping` is set, and publish what is committed; RatemillError for what no restart can mend."""
        with locked(self.folder) as lock:
            first = True
            while not self.stopping.is_set():
                try:
                    self._count_progress()
                    ending, why = self._run_once(lock)
                except UnmendableError:
                    raise
                except RatemillError as error:
                    # At the very first start it is a wrong setting rather than a broker that is away, or a full disk.
                    if first:
                        raise
                    ending, why = Ending.UNREACHABLE, str(error)
                first = False
                if ending is not Ending.STOPPED:
                    self._pause(ending, why)
            prepare(self.folder)

    def _run_once(self, lock: int) -> tuple[Ending, str]:
        """Start all processes and wait for the end of the first; none of them lives afterwards."""
        given = topic_input(self.folder, self.settings, accept_loss=self.accept_loss, remark=self.remark)
        children = Children(tasks_of(self.folder.root, self.settings, topic=given), lock, self.program)
        try:
            ending = self._watch(children)
            if ending is Ending.STOPPED:
                self._let_end(children)
            children.end(_SECONDS_TO_END)
            self._pass_on(children)
            return ending, self._why(children)
        finally:
            if self.condition.running:
                # The loss that was accepted lies behind us; of another one, people are told.
                self.accept_loss = False
            self.condition.running = False
            children.end(0.0)
            children.forget()

    def _watch(self, children: Children) -> Ending:
        """Until one has ended, none moves, or we shall stop."""
        store = self.folder.recovery
        began = seen_at = time.monotonic()
        seen = _last_change(store)
        while not self.stopping.is_set():
            if children.ended():
                return Ending.DIED
            now, change = time.monotonic(), _last_change(store)
            if change != seen:
                self.condition.running = True
                seen, seen_at = change, now
            elif not self.condition.running and now - began > self.settings.start_seconds:
                return Ending.NOT_STARTED
            elif self.condition.running and now - seen_at > self.settings.stall_seconds:
                return Ending.STALLED
            self._pass_on(children)
            self.on_look()
            self.stopping.wait(1 / LOOKS_PER_SECOND)
        return Ending.STOPPED

    def _pass_on(self, children: Children) -> None:
        """What processes remark; each of them says it."""
        for remark in children.remarks():
            if remark not in self._remarked:
                self._remarked.add(remark)
                self.remark(remark)

    def _let_end(self, children: Children) -> None:
        children.ask_to_stop()
        last = time.monotonic() + _SECONDS_TO_STOP
        while children.alive() and not children.failed() and time.monotonic() < last:
            time.sleep(1 / LOOKS_PER_SECOND)

    def _why(self, children: Children) -> str:
        """What the processes said of their end; raises what no restart mends."""
        if unmendable := children.sentences(UNMENDABLE_EXIT):
            raise UnmendableError(unmendable[0])
        if told := children.sentences(SENTENCE_EXIT):
            return told[0]
        bugs = children.bugs()
        self._bugs_in_a_row = self._bugs_in_a_row + 1 if bugs else 0
        assert self._bugs_in_a_row < _MOST_BUGS_IN_A_ROW, "a rating process breaks again and again:\n" + bugs[0]
        return bugs[0].strip().splitlines()[-1] if bugs else ""

    def _count_progress(self) -> None:
        """Clean the store, publish what is committed; a commit since the last start ends a row of failures."""
        commits = sum(prepare(self.folder))
        if commits > self._commits:
            self._failures_in_a_row = self._bugs_in_a_row = 0
        self._commits = commits

    def _pause(self, ending: Ending, why: str) -> None:
        """Say why all are started again, and wait the longer the more often that was in vain."""
        seconds = min(_SHORTEST_PAUSE * 2**self._failures_in_a_row, _LONGEST_PAUSE)
        self._failures_in_a_row += 1
        self.condition.restarts[ending.value] += 1
        self.condition.last_failure = why or _REASONS[ending].format(settings=self.settings)
        self.remark(f"{self.condition.last_failure}; starting again in {seconds:g} s from the last commit")
        self.stopping.wait(seconds)


_REASONS = {
    Ending.DIED: "a rating process ended",
    Ending.STALLED: "nothing was committed for {settings.stall_seconds:g} s",
    Ending.NOT_STARTED: "the rating processes had not all started after {settings.start_seconds:g} s",
    Ending.UNREACHABLE: "Kafka cannot be reached",
}


def _last_change(store: Path) -> int:
    """When the recovery store was last written, which every epoch does, whether there are records or not."""
    last = 0
    for path in store.iterdir():
        # SQLite removes its journals when a process that had them open ends.
        with suppress(FileNotFoundError):
            last = max(last, path.stat().st_mtime_ns)
    return last


def supervised(settings: Settings, ledger: Path) -> Supervisor:
    """A supervisor of the ledger, which is made if there is none."""
    return Supervisor(open_folder(ledger, settings.key_groups, settings.writers), settings)
