"""Time per stage of a running flow, measured from outside: the stages' functions are wrapped in this process only.

The time of a stage is its own: what another stage takes inside it is counted there. Wrapped functions are called once
per batch, so the watch itself costs nothing that can be seen.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any


class Stopwatch:
    """Seconds per stage, in `seconds`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Replaces `owner.name` by a function that does the same and counts its time for the stage."""
        original: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(original)
        def watched(*arguments: Any, **options: Any) -> Any:
            with self.stage(stage):
                return original(*arguments, **options)

        setattr(owner, name, watched)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time of the block for the stage."""
        begun = perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = perf_counter() - begun
            self.seconds[name] += whole - self._inner.pop()
            if self._inner:
                self._inner[-1] += whole


def peak_memory() -> int:
    """The most memory this process has had, in bytes; not its parent's, which getrusage would include."""
    return _memory("VmHWM")


def present_memory() -> int:
    """The memory of this process now, in bytes."""
    return _memory("VmRSS")


def _memory(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    row = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(row.split()[1]) * 1024
