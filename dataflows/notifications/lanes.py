"""A lane: the deliveries to one endpoint, some of them at a time, however slow or broken the endpoint is.

Owns: what is attempted when. Does not own: the attempt (`webhook`, `mail`), what follows from it (`outcomes`). The
rule: lanes share nothing but the store, so one endpoint delays nobody else; a lane holds few deliveries in memory.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from types import TracebackType
from typing import Protocol

from dataflows.errors import RatemillError, UnmendableError
from dataflows.moments import now
from dataflows.notifications.circuit import Circuit
from dataflows.notifications.outcomes import Delivered, Due, Failure, Limits, Outcome, result_of
from dataflows.notifications.recorder import Recorder
from dataflows.notifications.store import Store
from dataflows.settings import Settings

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_FINISH = 3.0
_READY_PER_ATTEMPT = 8


class Channel(Protocol):
    """How an endpoint is delivered to, used as a context; `concurrency` attempts at a time, `shown` for people."""

    endpoint: str
    shown: str
    concurrency: int

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def attempt(self, due: Due) -> Outcome:
        """One attempt, which ends within the timeout of the settings and raises nothing that the endpoint caused."""


class Lane:
    """One endpoint: `run` delivers to it until `stopping` is set; `wake` says that there may be more to deliver."""

    def __init__(
        self,
        channel: Channel,
        settings: Settings,
        store: Store,
        executor: Executor,
        recorder: Recorder,
        stopping: asyncio.Event,
        remark: Callable[[str], None],
    ) -> None:
        self._channel = channel
        self._limits = Limits.of(settings)
        self._store = store
        self._executor = executor
        self._recorder = recorder
        self._stopping = stopping
        self._remark = remark
        self._woken = asyncio.Event()
        self._ready: deque[Due] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: set[int] = set()
        self._next_look = 0.0
        self.circuit = Circuit(settings.circuit_failures, settings.circuit_seconds)
        self.attempts: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        """Its URL, or `mail`."""
        return self._channel.endpoint

    @property
    def shown(self) -> str:
        """The endpoint as people may see it."""
        return self._channel.shown

    def wake(self) -> None:
        """Look at once what is to be delivered."""
        self._next_look = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Deliver; what is under way when told to stop may end within some seconds, or is attempted again later."""
        async with self._channel:
            try:
                while not self._stopping.is_set():
                    self._woken.clear()
                    await self._look()
                    self._begin_attempts()
                    await self._wait()
            finally:
                await self._finish()

    async def _look(self) -> None:
        """Fetch what is due, if there is room for it and reason to look."""
        concurrency = self._channel.concurrency
        if len(self._ready) >= concurrency or time.monotonic() < self._next_look:
            return
        wanted = concurrency * _READY_PER_ATTEMPT + len(self._held)
        try:
            loop = asyncio.get_running_loop()
            due = await loop.run_in_executor(self._executor, self._store.due, self.endpoint, wanted)
        except UnmendableError:
            raise
        except RatemillError as error:
            self._remark(f"{error}; trying again")
            self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
            return
        fresh = [each for each in due if each.delivery_id not in self._held]
        self._held.update(each.delivery_id for each in fresh)
        self._ready.extend(fresh)
        if len(due) < wanted:
            self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS

    def _begin_attempts(self) -> None:
        while (
            self._ready
            and len(self._tasks) < self._channel.concurrency
            and self._recorder.trouble is None
            and self.circuit.permits()
        ):
            task = asyncio.create_task(self._attempt(self._ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _attempt(self, due: Due) -> None:
        outcome = await self._channel.attempt(due)
        self._note(outcome)
        self._recorder.add(result_of(due, outcome, self._limits, now()), self._release)

    def _note(self, outcome: Outcome) -> None:
        was_open = self.circuit.is_open
        match outcome:
            case Failure(of_endpoint=True, error=error):
                self.attempts["failed"] += 1
                self.circuit.failed()
                if self.circuit.is_open and not was_open:
                    self._remark(f"deliveries to {self.shown} rest for a while after failures in a row: {error}")
            case Failure():
                self.attempts["failed"] += 1
                self.circuit.succeeded()
            case Delivered():
                self.attempts["delivered"] += 1
                self.circuit.succeeded()
        if was_open and not self.circuit.is_open:
            self._remark(f"{self.shown} takes deliveries again")

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._woken.set()
        # A mistake of our own is found by the next wait, and ends the flow; the others are done with.
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    def _release(self, kept: Iterable[int]) -> None:
        """These are as the store has them: whoever of them is due again may be fetched."""
        self._held.difference_update(kept)
        if self._stopping.is_set() or self._ready:
            return
        self._woken.set()

    async def _wait(self) -> None:
        """Until an attempt has ended, something came, or it is time to look again."""
        for task in self._tasks:
            if task.done():
                task.result()
        try:
            async with asyncio.timeout(_SECONDS_BETWEEN_LOOKS):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _finish(self) -> None:
        tasks = set(self._tasks)
        if not tasks:
            return
        _, unfinished = await asyncio.wait(tasks, timeout=_SECONDS_TO_FINISH)
        for task in unfinished:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
