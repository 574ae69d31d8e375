"""Reading and decoding in a thread of its own, while the flow rates what was taken before.

Owns: what has been read and not yet taken. The rule: what comes while the flow is busy is ready when it asks again, but
no more is kept ready than a batch, and one poll. Of several polls, what one catalog rates of a partition is one batch:
what a batch costs, it costs however small it is.
"""

from collections.abc import Callable, Iterable, Sequence
from threading import Condition, Thread

from dataflows.connectors.kafka_reader import Poll
from dataflows.settings import Settings
from rating.batch import DecodedBatch


class ReadAhead:
    """Calls `read` in its thread until `close`; what it raises, `take` raises once all before has been taken."""

    def __init__(self, read: Callable[[], Poll], settings: Settings) -> None:
        self._read = read
        self._settings = settings
        self._polls: list[Poll] = []
        self._failure: BaseException | None = None
        self._silent = False
        self._closing = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="read", daemon=True)
        self._thread.start()

    @property
    def silent(self) -> bool:
        """Whether the last poll brought no record."""
        return self._silent

    def wait(self, seconds: float) -> bool:
        """Whether there is something to take; waits so long for it."""
        with self._changed:
            return self._changed.wait_for(self._has_come, seconds)

    def take(self) -> list[Poll]:
        """What has been read, in its order; nothing if nothing has come."""
        with self._changed:
            if self._failure is not None and not self._polls:
                raise self._failure
            polls, self._polls = self._polls, []
            self._changed.notify_all()
        return joined(polls)

    def close(self) -> None:
        """Read no further; returns when nothing is being read any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _has_come(self) -> bool:
        return bool(self._polls) or self._failure is not None

    def _has_room(self) -> bool:
        settings = self._settings
        records = sum(poll.records for poll in self._polls)
        size = sum(poll.size for poll in self._polls)
        return self._closing or (records < settings.batch_records and size < settings.batch_bytes)

    def _run(self) -> None:
        try:
            while not self._closing:
                poll = self._read()
                with self._changed:
                    self._silent = not poll.batches
                    if poll.batches or poll.idle:
                        self._polls.append(poll)
                    self._changed.notify_all()
                    self._changed.wait_for(self._has_room)
        except BaseException as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()


def joined(polls: Sequence[Poll]) -> list[Poll]:
    """The polls, those between two looks at idle partitions as one: a look tells how far all before it was."""
    found: list[Poll] = []
    begun: list[Poll] = []
    for poll in polls:
        begun.append(poll)
        if poll.idle:
            found.append(_as_one(begun))
            begun = []
    return [*found, _as_one(begun)] if begun else found


def _as_one(polls: Sequence[Poll]) -> Poll:
    if len(polls) == 1:
        return polls[0]
    batches = _joined_batches(batch for poll in polls for batch in poll.batches)
    return Poll(batches, sum(poll.size for poll in polls), polls[-1].idle)


def _joined_batches(batches: Iterable[tuple[str, DecodedBatch]]) -> list[tuple[str, DecodedBatch]]:
    of_partition: dict[int, list[tuple[str, list[DecodedBatch]]]] = {}
    for digest, batch in batches:
        own = of_partition.setdefault(batch.partition, [])
        if not own or own[-1][0] != digest:
            own.append((digest, []))
        own[-1][1].append(batch)
    return [(digest, DecodedBatch.joined(parts)) for own in of_partition.values() for digest, parts in own]
