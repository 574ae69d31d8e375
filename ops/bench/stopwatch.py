"""CPU time per stage of a running flow, measured from outside: stages' functions are wrapped in this process only.

The time of a stage is its own: what another stage takes inside it is counted there. It is the time on a processor, so
stages that overlap in threads add up to what one core would need. Wrapped functions are called once per batch, so the
watch itself costs nothing that can be seen.
"""

import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import thread_time
from typing import Any


class Stopwatch:
    """Seconds of CPU time per stage, in `seconds`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._of_thread = threading.local()

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
        inner: list[float] = self._of_thread.__dict__.setdefault("inner", [])
        begun = thread_time()
        inner.append(0.0)
        try:
            yield
        finally:
            whole = thread_time() - begun
            own = whole - inner.pop()
            if inner:
                inner[-1] += whole
            with self._lock:
                self.seconds[name] += own


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
