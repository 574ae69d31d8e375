"""What an input of the flow gives besides batches of admitted records: news of how far it has been read.

`catalog` is the digest of the catalog in effect then.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """An input partition has been read to its end; `record_time` is its progress in microseconds, None without any."""

    partition: int
    next_offset: int
    record_time: int | None
    catalog: str


@dataclass(frozen=True, slots=True)
class Reached:
    """What comes from an input partition from now on is of `moment` (microseconds UTC) or later."""

    partition: int
    moment: int


@dataclass(frozen=True, slots=True)
class Idle:
    """At `moment` (microseconds UTC) nothing stood in an input partition behind what has been read of it."""

    partition: int
    next_offset: int
    moment: int
    catalog: str


@dataclass(frozen=True, slots=True)
class EpochEnds:
    """The engine is about to end an epoch, and holds the input back until it is committed."""
