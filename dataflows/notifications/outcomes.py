"""What came of an attempt, and what follows: delivered, another attempt after a pause, or failed and in sight.

The rule: pauses double from the first one to the longest, and each is drawn evenly from 0 to that (full jitter), so
that what failed together does not come back together.

>>> Limits(40, 5.0, 3600.0).longest_pause(1), Limits(40, 5.0, 3600.0).longest_pause(4)
(5.0, 40.0)
"""

import random
from dataclasses import dataclass

from dataflows.settings import Settings

_LONGEST_ERROR = 500
_MICROSECONDS = 1_000_000
_MOST_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come; `attempts` were made before, after `give_up_at` (microseconds) none follows."""

    delivery_id: int
    notification_id: str
    kind: str
    recipient: str
    attempts: int
    give_up_at: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """The other side has taken it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed.

    `final`: another one would fail as well. `of_endpoint`: the endpoint is to blame, not this delivery. The next
    attempt comes `not_before` seconds from now at the earliest.
    """

    error: str
    final: bool = False
    of_endpoint: bool = True
    not_before: float = 0.0


Outcome = Delivered | Failure


@dataclass(frozen=True, slots=True)
class Result:
    """A row as it is to be after an attempt; moments in microseconds."""

    delivery_id: int
    state: str
    attempts: int
    next_attempt_at: int
    ended_at: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """How often and how fast: attempts, and pauses in seconds."""

    attempts: int
    first_pause: float
    most_pause: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those of a deployment."""
        return cls(settings.delivery_attempts, settings.delivery_retry_seconds, settings.delivery_pause_seconds)

    def longest_pause(self, attempts: int) -> float:
        """Seconds until the next attempt, at most, after so many."""
        return min(self.most_pause, self.first_pause * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS))


def result_of(due: Due, outcome: Outcome, limits: Limits, moment: int) -> Result:
    """What becomes of a delivery; `moment` is when the attempt ended, in microseconds."""
    attempts = due.attempts + 1
    if isinstance(outcome, Delivered):
        return Result(due.delivery_id, "delivered", attempts, moment, moment, None)
    error = outcome.error[:_LONGEST_ERROR]
    pause = max(random.uniform(0, limits.longest_pause(attempts)), min(outcome.not_before, limits.most_pause))
    again = moment + round(pause * _MICROSECONDS)
    if outcome.final or attempts >= limits.attempts or again > due.give_up_at:
        return Result(due.delivery_id, "failed", attempts, moment, moment, error)
    return Result(due.delivery_id, "pending", attempts, again, None, error)
