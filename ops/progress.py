"""Live progress of a rating run: counts per verdict and events per second, on a terminal only.

In a pipe nothing is shown: a log of moving numbers helps nobody.
"""

import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dataflows.launcher import Progress
from schemas.verdicts import VERDICT_LABELS

_REFRESHES_PER_SECOND = 8
_SHORTEST = 0.001


class _Shown(ABC):
    """A line that is shown until the block ends."""

    _live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._live = Live(
                console=Console(stderr=True), get_renderable=self._line, refresh_per_second=_REFRESHES_PER_SECOND
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @abstractmethod
    def _line(self) -> Text:
        """The line as it is now."""


class LiveProgress(_Shown):
    """Shows what it is told last, until the block ends; `update` may be called from another thread."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._progress = Progress({}, 0, 0, 0)

    def update(self, progress: Progress) -> None:
        """How far the run has come."""
        self._progress = progress

    def _line(self) -> Text:
        now = self._progress
        speed = round(now.received / max(time.monotonic() - self._began, _SHORTEST))
        # Where several processes read, nobody here knows how far they are.
        known = now.bytes_read is not None and now.bytes_total
        read = f"{100 * (now.bytes_read or 0) // now.bytes_total} % read  " if known else ""
        counts = "  ".join(f"{label} {now.verdicts[label]:,}" for label in VERDICT_LABELS if now.verdicts.get(label))
        return Text(f"{self._what}  {read}{now.received:,} events  {speed:,} events/s  {counts}")


class CountingProgress(_Shown):
    """Shows how many of how many things are done, until the block ends."""

    def __init__(self, what: str, things: str) -> None:
        self._what, self._things = what, things
        self._done = self._all = 0

    def update(self, done: int, of: int) -> None:
        """How far it has come."""
        self._done, self._all = done, of

    def _line(self) -> Text:
        return Text(f"{self._what}  {self._done:,} of {self._all:,} {self._things}")
