"""The circuit of an endpoint: after failures in a row it opens, then one attempt at a time shows whether it may close.

>>> seconds = iter([0.0, 1.0, 10.0])
>>> circuit = Circuit(failures=2, seconds=5.0, clock=lambda: next(seconds))
>>> circuit.failed(), circuit.failed(), circuit.permits()
(None, None, False)
>>> circuit.permits(), circuit.permits()
(True, False)
"""

import time
from collections.abc import Callable


class Circuit:
    """Closed, all attempts are permitted; open, none for `seconds`, and then one, whose outcome decides."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._in_a_row = 0
        self._opens_until: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is considered down."""
        return self._opens_until is not None

    def permits(self) -> bool:
        """Whether an attempt may begin; where one is to show whether the endpoint is back, this begins it."""
        if self._opens_until is None:
            return True
        if self._trying or self._clock() < self._opens_until:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """The endpoint has answered as it should."""
        self._in_a_row = 0
        self._opens_until = None
        self._trying = False

    def failed(self) -> None:
        """The endpoint has not; attempts that began before the circuit opened do not keep it open for longer."""
        self._in_a_row += 1
        if self._trying or (self._opens_until is None and self._in_a_row >= self._limit):
            self._opens_until = self._clock() + self._seconds
            self._trying = False
