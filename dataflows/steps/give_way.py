"""A worker whose sources are held back until a commit gives way to the others.

The engine holds a source back from the end of an epoch until its commit, and looks meanwhile, again and again without
any pause, whether it still must. Such a worker takes the processor from those that it waits for: eight of them on two
processors committed nothing for minutes. So at the end of each epoch every worker is sent an item; where a source is
held back, the step that gets it sleeps for a moment at each of the engine's turns, until the commit.
"""

import time
from collections import defaultdict
from datetime import UTC, datetime
from threading import get_ident

from bytewax.operators import StatefulBatchLogic

from dataflows.items import EpochEnds
from dataflows.key_groups import key_group_names

# As long as the engine itself sleeps when it has nothing to do; longer, the longer a worker has waited.
_LEAST_SECONDS = 0.001
_MOST_SECONDS = 0.02
_OF_WAITED = 0.05
# The engine looks at its clock before it asks, and where all processors are busy, long before. An end that is told and
# is none costs an item; one that is not told costs a processor until the commit.
_TOLERANCE = 0.1

# The sources that are held back, by worker, which is a thread. What is `threading.local` to a thread of the engine is
# gone at its next call, for the interpreter forgets threads that it has not started.
_held_back: defaultdict[int, set["Backpressure"]] = defaultdict(set)


class Backpressure:
    """What a source tells of itself, from its worker's thread."""

    def __init__(self, epoch_seconds: float) -> None:
        self._epoch_seconds = epoch_seconds
        self._asked_at = self._epoch_began_at = time.monotonic()

    def asked(self) -> bool:
        """The engine asks for a batch, so it does not hold the source back; whether it did until now."""
        was_held_back = self in _held_back[get_ident()]
        _held_back[get_ident()].discard(self)
        self._asked_at = time.monotonic()
        return was_held_back

    def ends_epoch(self) -> bool:
        """Whether the engine ends the epoch after this batch."""
        return self._asked_at - self._epoch_began_at > self._epoch_seconds - _TOLERANCE

    def ended(self) -> None:
        """The engine has ended the epoch; the next one counts from when it asked."""
        _held_back[get_ident()].add(self)
        self._epoch_began_at = self._asked_at

    def closed(self) -> None:
        """There is no such source any more."""
        _held_back[get_ident()].discard(self)


class GiveWay(StatefulBatchLogic):
    """Sleeps while a source of its worker is held back, then ends."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def on_batch(self, values: list[EpochEnds]) -> tuple[list[None], bool]:
        return [], not _held_back[get_ident()]

    def on_notify(self) -> tuple[list[None], bool]:
        if not _held_back[get_ident()]:
            return [], self.DISCARD
        waited = time.monotonic() - self._since
        time.sleep(min(max(_LEAST_SECONDS, _OF_WAITED * waited), _MOST_SECONDS))
        return [], self.RETAIN

    def notify_at(self) -> datetime:
        return datetime.now(UTC)

    def snapshot(self) -> bytes:
        return b""


def to_workers(item: object, workers: int) -> list[tuple[str, EpochEnds]]:
    """The end of an epoch, for each of the workers; nothing for all other items."""
    return [(name, item) for name in key_group_names(workers)] if isinstance(item, EpochEnds) else []
