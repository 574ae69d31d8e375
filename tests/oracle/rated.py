"""What became of one record, as the oracle says it."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from tests.oracle.pricing import Line


@dataclass(frozen=True)
class RatedLine:
    """A line with the charge and the period it belongs to."""

    charge: str
    line: Line
    period_start: datetime
    period_end: datetime | None


@dataclass(frozen=True)
class Notice:
    """A threshold that was crossed: `share` of the `limit` of a quota or, with `tier`, of the tier of a charge."""

    kind: str
    of: str
    tier: int | None
    share: Fraction
    threshold: Fraction
    limit: Fraction
    usage: tuple[Fraction, Fraction]
    window: tuple[datetime, datetime | None]
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """The verdict of a quota, told anew."""

    quota: str
    verdict: str
    usage: Fraction
    remaining: Fraction
    window: tuple[datetime, datetime | None]


@dataclass(frozen=True)
class Rated:
    """What became of one record."""

    verdict: str
    reason: str | None = None
    subscription: str | None = None
    lines: tuple[RatedLine, ...] = ()
    notices: tuple[Notice, ...] = ()
    standings: tuple[Standing, ...] = ()
