"""Keeps what came of attempts, many at once: a transaction for what ended within some milliseconds.

The rule: what cannot be kept is kept later, and until then nothing new is attempted, as nobody would remember it.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from dataflows.errors import RatemillError, UnmendableError
from dataflows.notifications.outcomes import Result
from dataflows.notifications.store import Store

_SECONDS_OF_GATHERING = 0.02
_SECONDS_BEFORE_AGAIN = 0.5
_ATTEMPTS_AT_THE_END = 6

Kept = Callable[[Iterable[int]], None]


class Recorder:
    """Takes results from all lanes; `trouble` is a sentence while the store cannot be written, None otherwise."""

    def __init__(self, store: Store, executor: Executor, remark: Callable[[str], None]) -> None:
        self._store = store
        self._executor = executor
        self._remark = remark
        self._waiting: list[tuple[Result, Kept]] = []
        self._came = asyncio.Event()
        self._ending = False
        self.trouble: str | None = None

    def add(self, result: Result, kept: Kept) -> None:
        """Keep a result soon, and then call `kept` with the delivery's id."""
        self._waiting.append((result, kept))
        self._came.set()

    def end(self) -> None:
        """Keep what is waiting, and then end `run`."""
        self._ending = True
        self._came.set()

    async def run(self) -> None:
        """Keep results until told to end; RatemillError if the last ones cannot be kept, so they will be sent again."""
        while not self._ending or self._waiting:
            await self._came.wait()
            if not self._ending:
                await asyncio.sleep(_SECONDS_OF_GATHERING)
            self._came.clear()
            batch, self._waiting = self._waiting, []
            if batch:
                await self._keep(batch)

    async def _keep(self, batch: list[tuple[Result, Kept]]) -> None:
        results = [result for result, _ in batch]
        attempts_left = _ATTEMPTS_AT_THE_END
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self._store.record, results)
                break
            except UnmendableError:
                raise
            except RatemillError as error:
                attempts_left -= self._ending
                if not attempts_left:
                    raise
                self._tell(str(error))
                await asyncio.sleep(_SECONDS_BEFORE_AGAIN)
        if self.trouble is not None:
            self.trouble = None
            self._remark("the store of deliveries can be written again")
        for result, kept in batch:
            kept((result.delivery_id,))

    def _tell(self, sentence: str) -> None:
        if self.trouble is None:
            self._remark(f"{sentence}; waiting, and going on by itself")
        self.trouble = sentence
