"""Settlement periods, naively: step the calendar from the subscription's start until the period holds the time."""

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

TEST_MODE_PERIODS = 12
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}


def period_of(start: datetime, unit: str, count: int, zone: str, time: datetime) -> tuple[datetime, datetime | None]:
    """The period `[start, end)` that holds the time; `time` is not before the subscription's start."""
    if unit == "none":
        return start, None
    number = max(0, _estimate(start, unit, count, time) - 3)
    while boundary(start, unit, count, zone, number + 1) <= time:
        number += 1
    return boundary(start, unit, count, zone, number), boundary(start, unit, count, zone, number + 1)


def boundary(start: datetime, unit: str, count: int, zone: str, number: int) -> datetime:
    """The start of the period with this number: months are counted from the anchor and clamped to the month's end."""
    if number == 0:
        return start
    if unit == "minute":
        return start + timedelta(minutes=count * number)
    anchor = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
    if unit in _DAYS:
        local = anchor + timedelta(days=_DAYS[unit] * count * number)
    else:
        month = anchor.year * 12 + anchor.month - 1 + _MONTHS[unit] * count * number
        year, month = month // 12, month % 12 + 1
        local = anchor.replace(year=year, month=month, day=min(anchor.day, calendar.monthrange(year, month)[1]))
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _estimate(start: datetime, unit: str, count: int, time: datetime) -> int:
    """A period number that is at most two too great, so that the walk is short."""
    days = {"minute": 1 / 1440, "day": 1, "week": 7, "month": 30.4, "quarter": 91.3, "year": 365.2}[unit]
    return int((time - start) / timedelta(days=days * count))
