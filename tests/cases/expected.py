"""What a case expects of an event."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction


@dataclass(frozen=True)
class LineExpectation:
    """One `line`; None means that the case does not say."""

    place: str
    kind: str
    charge: str | None
    tier: int | None
    quantity: Fraction
    unit_price: Fraction
    amount: Fraction
    usage: tuple[Fraction, Fraction] | None
    period: tuple[datetime, datetime | None] | None


@dataclass(frozen=True)
class Expectation:
    """What stands behind the arrow: a verdict, perhaps its reason, perhaps the amounts of the lines in order."""

    verdict: str
    reason: str | None = None
    amounts: tuple[Fraction, ...] | None = None


@dataclass(frozen=True)
class NoticeExpectation:
    """One `notify`; None means that the case does not say."""

    place: str
    kind: str
    of: str
    tier: int | None
    share: Fraction
    limit: Fraction
    usage: tuple[Fraction, Fraction] | None
    window: tuple[datetime, datetime | None] | None
    recipients: tuple[str, ...] | None


@dataclass(frozen=True)
class VerdictExpectation:
    """One `verdict`: the last one told of a quota; a window of None means that the case does not say."""

    place: str
    subscription: str
    quota: str
    verdict: str
    remaining: Fraction
    window: tuple[datetime, datetime | None] | None
