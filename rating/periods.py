"""Settlement periods: which one holds a moment, for whole columns of subscriptions and moments.

Periods are half-open and counted from the subscription's start, its anchor. Days, weeks, months, quarters and years run
on the wall clock of the organization's zone, minutes in UTC; months are counted from the anchor and clamped to the
month's end. A wall time that a zone skips moves forward by the gap; one that occurs twice is the first.

>>> clocks = PeriodClocks.of([PeriodClock("month", 1, parse("2026-01-31T00:00:00Z"), "UTC")])
>>> number, start, end = clocks.periods_of(np.array([0]), np.array([parse("2026-03-15T12:00:00Z")]))
>>> [str(np.datetime64(int(moment), "us"))[:10] for moment in (start[0], end[0])]
['2026-02-28', '2026-03-31']
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from rating.compiled import compiled

Times = npt.NDArray[np.int64]
Index = npt.NDArray[np.int64]

ENDLESS = np.iinfo(np.int64).max
_DAY = 86_400_000_000
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_FIXED = {"minute": 60_000_000, "hour": 3_600_000_000, "day": _DAY, "week": 7 * _DAY}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class PeriodClock:
    """What a subscription's periods are counted by: `count` units from `anchor` (microseconds UTC) in `zone`."""

    unit: str
    count: int
    anchor: int
    zone: str


@dataclass(frozen=True, slots=True)
class FoundPeriods:
    """The period found last for each clock: number, start, end and an unused column, shape (clocks, 4), int64.

    At first each is an empty one, which holds no moment. They change with every look-up, so they belong to one lane and
    are never shared between threads. One clock's row is half a line of the processor's cache, never a part of two.
    """

    periods: npt.NDArray[np.int64]

    @classmethod
    def none(cls, height: int) -> "FoundPeriods":
        """Nothing found yet, for that many clocks."""
        return cls(np.zeros((height, 4), np.int64))


@compiled
def _look_up(
    periods: npt.NDArray[np.int64], rows: Index, moments: Times, number: Index, start: Times, end: Times
) -> int:
    """Fills in the periods last found; gives how many do not hold their moment, which get an empty period."""
    missed = 0
    for place in range(len(rows)):
        row, moment = rows[place], moments[place]
        number[place], start[place], end[place] = periods[row, 0], periods[row, 1], periods[row, 2]
        if moment < start[place] or moment >= end[place]:
            end[place] = start[place]
            missed += 1
    return missed


@dataclass(frozen=True, slots=True)
class PeriodClocks:
    """The clocks of all subscriptions as columns, one row each.

    `length` is the fixed length of a period in microseconds of wall time (0: none), `months` its number of months
    (0: none); both 0 is one endless period. `anchor` is UTC, `local_anchor` the wall time in the zone, both in
    microseconds. `zone` indexes `zones`.
    """

    length: Times
    months: Index
    anchor: Times
    local_anchor: Times
    zone: Index
    zones: tuple[str, ...]

    @classmethod
    def of(cls, clocks: Sequence[PeriodClock]) -> "PeriodClocks":
        """The columns of these clocks."""
        return cls.of_columns(
            np.array([fixed_length(clock.unit) * clock.count for clock in clocks], np.int64),
            np.array([month_length(clock.unit) * clock.count for clock in clocks], np.int64),
            np.array([clock.anchor for clock in clocks], np.int64),
            ["UTC" if clock.unit == "minute" else clock.zone for clock in clocks],
        )

    @classmethod
    def of_columns(cls, length: Times, months: Index, anchor: Times, zone_names: Sequence[str]) -> "PeriodClocks":
        """The clocks whose lengths, anchors and zones stand in these columns."""
        zones = tuple(dict.fromkeys(zone_names))
        number = {zone: index for index, zone in enumerate(zones)}
        zone = np.array([number[name] for name in zone_names], np.int64)
        wall = _by_zone(zones, zone, anchor, _to_wall)
        return cls(length, months, anchor, wall, zone, zones)

    def distinct(self) -> tuple["PeriodClocks", Index]:
        """Each clock once, and for every row here the row of its clock there."""
        columns = {"length": self.length, "months": self.months, "anchor": self.anchor, "zone": self.zone}
        clocks = pl.DataFrame(columns).with_columns(wall=pl.Series(self.local_anchor))
        once = clocks.unique(maintain_order=True).with_row_index("row")
        row = clocks.join(once, on=clocks.columns, how="left", maintain_order="left")["row"].cast(pl.Int64)
        length, months, anchor, wall, zone = (
            once[name].to_numpy() for name in ("length", "months", "anchor", "wall", "zone")
        )
        return PeriodClocks(length, months, anchor, wall, zone, self.zones), row.to_numpy()

    def periods_of(self, rows: Index, moments: Times, found: FoundPeriods | None = None) -> tuple[Index, Times, Times]:
        """Per row: the number of its clock's period that holds the moment, and the period's start and end.

        Moments are microseconds UTC, not before the anchor; an earlier one is given the first period. The end of an
        endless period is ENDLESS. With `found`, the period last found for each clock is looked at first, for most
        moments lie in it again.
        """
        if found is None:
            return self._find(rows, moments)
        number, start, end = (np.empty(len(rows), np.int64) for _ in range(3))
        if _look_up(found.periods, rows, moments, number, start, end):
            missed = np.flatnonzero(start == end)
            asked = rows[missed]
            number[missed], start[missed], end[missed] = self._find(asked, moments[missed])
            for column, values in enumerate((number, start, end)):
                found.periods[asked, column] = values[missed]
        return number, start, end

    def numbers_of(self, rows: Index, moments: Times) -> Index:
        """The numbers alone, as `periods_of` gives them."""
        number = np.maximum(self._numbers(rows, moments), 0)
        elsewhere = np.flatnonzero(np.array([name != "UTC" for name in self.zones], np.bool_)[self.zone[rows]])
        if len(elsewhere):
            number[elsewhere], _, _ = self._find(rows[elsewhere], moments[elsewhere])
        return number

    def _find(self, rows: Index, moments: Times) -> tuple[Index, Times, Times]:
        zone = self.zone[rows]
        wall = _by_zone(self.zones, zone, moments, _to_wall)
        number = np.maximum(self._numbers(rows, wall), 0)
        start, end = self.starts(rows, number), self.starts(rows, number + 1)
        late = np.flatnonzero((moments >= end) & (end != ENDLESS))
        early = np.flatnonzero((moments < start) & (number > 0))
        for moved, step in ((late, 1), (early, -1)):
            if len(moved):
                number[moved] += step
                start[moved] = self.starts(rows[moved], number[moved])
                end[moved] = self.starts(rows[moved], number[moved] + 1)
        return number, start, end

    def _numbers(self, rows: Index, wall: Times) -> Index:
        """The period numbers by wall time; around a change of the clocks they may be one off."""
        anchor, length, months = self.local_anchor[rows], self.length[rows], self.months[rows]
        number = (wall - anchor) // np.where(length > 0, length, ENDLESS)
        monthly = np.flatnonzero(months)
        if len(monthly):
            passed = _month(wall[monthly]) - _month(anchor[monthly])
            candidate = passed // months[monthly]
            begun = _clamped(anchor[monthly], candidate * months[monthly]) <= wall[monthly]
            number[monthly] = candidate - ~begun
        return number

    def starts(self, rows: Index, number: Index) -> Times:
        """When these periods begin, in microseconds UTC; ENDLESS for any but the first of an endless clock."""
        anchor, length, months = self.local_anchor[rows], self.length[rows], self.months[rows]
        wall = anchor + length * number
        monthly = np.flatnonzero(months)
        if len(monthly):
            wall[monthly] = _clamped(anchor[monthly], number[monthly] * months[monthly])
        start = _by_zone(self.zones, self.zone[rows], wall, _to_utc)
        start = np.where(number == 0, self.anchor[rows], start)
        return np.where((length == 0) & (months == 0) & (number > 0), ENDLESS, start)


def fixed_length(unit: str) -> int:
    """The microseconds of wall time in one such unit; 0 for a unit that has no fixed length."""
    return _FIXED.get(unit, 0)


def month_length(unit: str) -> int:
    """The months in one such unit; 0 for a unit that is not counted in months."""
    return _MONTHS.get(unit, 0)


def parse(text: str) -> int:
    """Microseconds UTC of an ISO 8601 text with a zone."""
    return microseconds(datetime.fromisoformat(text))


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment_of(time: int) -> datetime:
    """The aware datetime in UTC of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=time)


def ends_of(moments: Times) -> pl.Series:
    """The ends of periods as UTC times; null of those that have none."""
    ends = pl.Series(moments).cast(pl.Datetime("us", "UTC"))
    endless = moments == ENDLESS
    return ends.set(pl.Series(endless), None) if endless.any() else ends


def _month(wall: Times) -> Index:
    """Months since January 1970; few months are met, and to find one among them is less work than to count days."""
    ends = np.array([wall.min(), wall.max()]).view("M8[us]").astype("M8[M]").view(np.int64)
    months: Index = ends[0] + np.searchsorted(_month_starts(ends[0], ends[1]), wall, side="right") - 1
    return months


def _clamped(anchor: Times, months: Index) -> Times:
    """The anchor's wall time that many months later, on the month's last day where it has no such day."""
    first = _month(anchor)
    day_and_time = anchor - _month_start(first)
    month = first + months
    start, following = _month_start(month), _month_start(month + 1)
    time_of_day = day_and_time % _DAY
    last_day = following - _DAY + time_of_day
    return np.minimum(start + day_and_time, last_day)


def _month_start(month: Index) -> Times:
    lowest = month.min()
    starts: Times = _month_starts(lowest, month.max())[month - lowest]
    return starts


def _month_starts(first: np.int64, last: np.int64) -> Times:
    return np.arange(first, last + 1).view("M8[M]").astype("M8[us]").view(np.int64)


def _by_zone(zones: tuple[str, ...], zone: Index, times: Times, convert: Callable[[Times, str], Times]) -> Times:
    converted = times.copy()
    for number, name in enumerate(zones):
        if name == "UTC":
            continue
        here = np.flatnonzero(zone == number)
        if len(here):
            converted[here] = convert(times[here], name)
    return converted


def _to_wall(times: Times, zone: str) -> Times:
    moments = pl.Series(times.view("M8[us]")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return moments.dt.replace_time_zone(None).to_physical().to_numpy().copy()


def _to_utc(wall: Times, zone: str) -> Times:
    local = pl.Series(wall.view("M8[us]"))
    moments = _located(local, zone)
    skipped = moments.is_null()
    if skipped.any():
        gap = _gap(local, zone)
        moments = moments.zip_with(~skipped, _located(local + gap, zone))
    return moments.dt.convert_time_zone("UTC").to_physical().to_numpy().copy()


def _located(local: pl.Series, zone: str) -> pl.Series:
    return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _gap(local: pl.Series, zone: str) -> pl.Series:
    """By how much the zone's clock was put forward around a wall time that it skipped."""
    day = pl.duration(days=1)
    around = local.to_frame("wall").select(before=pl.col("wall") - day, after=pl.col("wall") + day)
    before, after = (_located(around[name], zone) for name in ("before", "after"))
    elapsed = after.dt.convert_time_zone("UTC") - before.dt.convert_time_zone("UTC")
    return (around["after"] - around["before"]) - elapsed
