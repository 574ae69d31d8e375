"""From usage before and after to slices: one line per tier touched, each at that tier's price.

Owns which zones a change of usage runs through and where it is cut. Lines that are no slice of usage (flats, reprices,
amounts per event) are in `lines`. Every function takes and gives whole columns; `pair` is the row of an (event, charge)
pair.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.compiled import compiled
from rating.money import ONE_UNIT
from rating.prices import Index, Mode, PriceTable
from rating.wide import Wide, constant, picked

_UNIT = constant(1)
_LINE_COLUMNS = ("pair", "kind", "tier", "quantity", "usage_before", "usage_after", "unit_price")


class LineKind(IntEnum):
    """The kinds of line that rating writes, in the order in which they stand within one charge of an event."""

    USAGE = 0
    TRIAL = 1
    REPRICE = 2
    TIER_FLAT = 3
    FIXED_AMOUNT = 4
    MINIMUM_AMOUNT = 5
    MAXIMUM_AMOUNT = 6
    BLOCKED = 7

    @property
    def label(self) -> str:
        """The kind as the ledger writes it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Blocked:
    """What quotas take away: rows of pairs whose usage stays as it is, and the `quantity` (Int128 micros) of each."""

    pair: Index
    quantity: pl.Series


@dataclass(frozen=True, slots=True)
class Usage:
    """The running usage around each (event, charge) pair, one row per pair in the order of the events.

    `charge` int64; `before`, `after` Int128 micros, and both once more in `ends`, as wide columns. `multiplier` (Int128
    micros) and `weighted_before` (Int128 micros, the sum of multiplier * priced quantity so far) are None where no
    charge of the catalog has a multiplier.
    """

    charge: Index
    before: pl.Series
    after: pl.Series
    ends: tuple[Wide, Wide]
    trial: npt.NDArray[np.bool_]
    blocked: Blocked | None = None
    multiplier: pl.Series | None = None
    weighted_before: pl.Series | None = None


@dataclass(frozen=True, slots=True)
class Zones:
    """Per pair: the zone that the usage before and after lies in, and the zones of the lowest and highest slice."""

    before: Index
    after: Index
    lowest: Index
    highest: Index
    falling: npt.NDArray[np.bool_]


def zones_of(usage: Usage, table: PriceTable) -> Zones:
    """Where each change of usage begins and ends. Only graduated prices are cut at every tier, others at zone 0."""
    start, stop = usage.ends
    before, after = table.zones_of(usage.charge, start), table.zones_of(usage.charge, stop)
    falling = wide.less(stop, start)
    still = (start == stop).all(axis=1)
    above_low = table.zones_above(usage.charge, np.where(falling[:, None], stop, start) if falling.any() else start)
    lowest = np.where(still, after, above_low)
    highest = np.where(falling, before, after)
    mode = table.mode[usage.charge]
    in_one = mode != Mode.GRADUATED
    lowest = np.where(usage.trial, after, np.where(in_one, np.minimum(lowest, 1), lowest))
    highest = np.where(usage.trial, after, np.where(in_one, np.minimum(highest, 1), highest))
    return Zones(before, after, lowest, highest, falling)


def usage_slices(usage: Usage, zones: Zones, table: PriceTable) -> pl.DataFrame:
    """The lines of kind usage, trial and blocked of all pairs, in the order of the pairs."""
    pair, zone, wide_start, wide_stop = _cut_at_bounds(usage, zones, table)
    charge, trial = usage.charge[pair], usage.trial[pair]
    mode = table.mode[charge]
    priced = _priced_zone(zones, mode, pair, zone)
    row = table.first_zone[charge] + priced
    unit_price = picked(table.unit_price, row)
    free = trial | (mode == Mode.STAIRSTEP)
    if free.any():
        unit_price = unit_price.set(pl.Series(free), 0)
    start, stop = wide.to_series(wide_start), wide.to_series(wide_stop)
    quantity = stop - start
    if table.has_packages:
        quantity = _in_packages(quantity, start, stop, row, table, ~trial)
    kind, tier = np.where(trial, LineKind.TRIAL, LineKind.USAGE), np.where(trial, 0, priced)
    if usage.blocked is not None:
        # Usage that stays as it is has one line.
        rows = np.searchsorted(pair, usage.blocked.pair)
        kind[rows], tier[rows] = LineKind.BLOCKED, 0
        quantity, unit_price = quantity.scatter(rows, usage.blocked.quantity), unit_price.scatter(rows, 0)
    return block(pair, kind, tier, quantity, start, stop, unit_price)


def explode(lowest: Index, highest: Index, falling: npt.NDArray[np.bool_]) -> tuple[Index, Index]:
    """The pair and the zone of every slice: ascending zones for a rising usage, descending for a falling one."""
    counts = highest - lowest + 1
    pair = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pair, np.where(falling[pair], highest[pair] - step, lowest[pair] + step)


def _cut_at_bounds(usage: Usage, zones: Zones, table: PriceTable) -> tuple[Index, Index, Wide, Wide]:
    """Per slice: its pair, its zone, and its start and stop: the usage's own ends, cut at the zones' bounds."""
    height = int((zones.highest - zones.lowest).sum()) + len(zones.lowest)
    pair, zone = np.empty((2, height), np.int64)
    start, stop = np.empty((2, height, 2), np.uint64)
    first = table.first_zone[usage.charge]
    ends = *usage.ends, *table.zone_ends
    _cut(zones.lowest, zones.highest, zones.falling, first, *ends, pair, zone, start, stop)
    return pair, zone, start, stop


@compiled
def _cut(
    lowest: Index,
    highest: Index,
    falling: npt.NDArray[np.bool_],
    first_zone: Index,
    before: Wide,
    after: Wide,
    lower: Wide,
    upper: Wide,
    pair: Index,
    zone: Index,
    start: Wide,
    stop: Wide,
) -> None:
    row = 0
    for number in range(len(lowest)):
        step = -1 if falling[number] else 1
        begin = highest[number] if falling[number] else lowest[number]
        for count in range(highest[number] - lowest[number] + 1):
            here = begin + step * count
            place = first_zone[number] + here
            low, high = (stop, start) if falling[number] else (start, stop)
            own_low, own_high = (after, before) if falling[number] else (before, after)
            cut_low, cut_high = here > lowest[number], here < highest[number]
            pair[row], zone[row] = number, here
            for limb in range(2):
                low[row, limb] = lower[place, limb] if cut_low else own_low[number, limb]
                high[row, limb] = upper[place, limb] if cut_high else own_high[number, limb]
            row += 1


def _priced_zone(zones: Zones, mode: Index, pair: Index, zone: Index) -> Index:
    """The zone whose price a slice has: its own; for volume and stairstep the zone that the new total lies in."""
    in_one = mode != Mode.GRADUATED
    if not in_one.any():
        return zone
    after, before = zones.after[pair], zones.before[pair]
    total = np.where(zone == 0, 0, np.where(after > 0, after, before))
    return np.where(in_one, total, zone)


def _in_packages(
    quantity: pl.Series, start: pl.Series, stop: pl.Series, row: Index, table: PriceTable, wanted: npt.NDArray[np.bool_]
) -> pl.Series:
    """Where the zone is sold in packages: the packages that the slice newly starts, as a quantity."""
    size = picked(table.package_size, row)
    sold = np.flatnonzero((size > 0).to_numpy() & wanted)
    if not len(sold):
        return quantity
    lower, own = _package_origin(row[sold], table), picked(size, sold)
    started = packages(picked(stop, sold) - lower, own) - packages(picked(start, sold) - lower, own)
    return quantity.scatter(sold, started * ONE_UNIT)


def _package_origin(row: Index, table: PriceTable) -> pl.Series:
    """Where the packages of a zone are counted from: its lower bound; for volume, where the included usage ends."""
    charge = np.searchsorted(table.first_zone, row, side="right") - 1
    volume = pl.Series(table.mode[charge] == Mode.VOLUME)
    return picked(table.included, charge).zip_with(volume, picked(table.lower, row))


def packages(usage: pl.Series, size: pl.Series) -> pl.Series:
    """The number of started packages of a usage that is not negative."""
    return (usage + size - _UNIT) // size


def block(
    pair: Index, kind: Index, tier: Index, quantity: pl.Series, start: pl.Series, stop: pl.Series, unit_price: pl.Series
) -> pl.DataFrame:
    """Lines as a table with the columns that `lines.lines_of` describes."""
    columns = (pl.Series(pair), pl.Series(kind.astype(np.int64)), pl.Series(tier), quantity, start, stop, unit_price)
    return pl.DataFrame([column.alias(name) for name, column in zip(_LINE_COLUMNS, columns, strict=True)])
