"""Moments as everything here counts them: microseconds UTC since 1970.

>>> datetime_of(1_794_000_000_500_000).isoformat()
'2026-11-06T21:20:00.500000+00:00'
>>> moment_text(1_794_000_000_500_000)
'2026-11-06T21:20:00.500000Z'
"""

import time
from datetime import UTC, datetime, timedelta

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000


def datetime_of(moment: int) -> datetime:
    """The same moment as a datetime in UTC."""
    return _BEGINNING + timedelta(microseconds=moment)


def moment_text(moment: int) -> str:
    """The moment as it is written in a catalog."""
    stated = datetime_of(moment)
    return stated.isoformat(timespec="microseconds" if stated.microsecond else "seconds").replace("+00:00", "Z")
