"""An input that the recovery store knows and that is not read in this run, or has nothing new."""

from collections.abc import Iterable

from bytewax.inputs import StatefulSourcePartition

from rating.engine import Admitted


class RestingPartition(StatefulSourcePartition):
    """Only keeps its state: the engine needs a partition for every state that it has stored."""

    def __init__(self, state: bytes) -> None:
        self._state = state

    def next_batch(self) -> Iterable[Admitted]:
        raise StopIteration

    def snapshot(self) -> bytes:
        return self._state
