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

    @property
    def label(self) -> str:
        """The kind as the ledger writes it."""
        return self.name.lower()


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


def _choose(mask: npt.NDArray[np.bool_], yes: pl.Series, no: pl.Series) -> pl.Series:
    return no if not mask.any() else yes.zip_with(pl.Series(mask), no)


def usage_slices(usage: Usage, zones: Zones, table: PriceTable) -> pl.DataFrame:
    """The lines of kind usage and trial of all pairs, in the order of the pairs."""
    pair, zone = explode(zones.lowest, zones.highest, zones.falling)
    low, high = _bounds(usage, zones, table, pair, zone)
    priced = _priced_zone(usage, zones, table, pair, zone)
    row = table.first_zone[usage.charge[pair]] + priced
    unit_price = picked(table.unit_price, row)
    trial = usage.trial[pair]
    free = trial | (table.mode[usage.charge[pair]] == Mode.STAIRSTEP)
    if free.any():
        unit_price = unit_price.set(pl.Series(free), 0)
    falling = zones.falling[pair]
    start, stop = _choose(falling, high, low), _choose(falling, low, high)
    quantity = stop - start
    if table.has_packages:
        quantity = _in_packages(quantity, start, stop, row, table, ~trial)
    return block(
        pair,
        np.where(trial, LineKind.TRIAL, LineKind.USAGE),
        np.where(trial, 0, priced),
        quantity,
        start,
        stop,
        unit_price,
    )


def explode(lowest: Index, highest: Index, falling: npt.NDArray[np.bool_]) -> tuple[Index, Index]:
    """The pair and the zone of every slice: ascending zones for a rising usage, descending for a falling one."""
    counts = highest - lowest + 1
    pair = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pair, np.where(falling[pair], highest[pair] - step, lowest[pair] + step)


def _bounds(usage: Usage, zones: Zones, table: PriceTable, pair: Index, zone: Index) -> tuple[pl.Series, pl.Series]:
    """The lower and upper end of every slice: the usage's own ends, cut at the zone's bounds."""
    low, high = _choose(zones.falling, usage.after, usage.before), _choose(zones.falling, usage.before, usage.after)
    if len(pair) == len(usage.charge):
        return low, high
    charge = usage.charge[pair]
    row = table.first_zone[charge] + zone
    in_one = pl.Series((table.mode[charge] != Mode.GRADUATED) & (zone > 0))
    upper = picked(table.upper, row).set(in_one, int(table.upper.max()))  # type: ignore[arg-type]
    cut_low, cut_high = zone > zones.lowest[pair], zone < zones.highest[pair]
    return (
        picked(table.lower, row).zip_with(pl.Series(cut_low), picked(low, pair)),
        upper.zip_with(pl.Series(cut_high), picked(high, pair)),
    )


def _priced_zone(usage: Usage, zones: Zones, table: PriceTable, pair: Index, zone: Index) -> Index:
    """The zone whose price a slice has: its own; for volume and stairstep the zone that the new total lies in."""
    mode = table.mode[usage.charge[pair]]
    after, before = zones.after[pair], zones.before[pair]
    in_one = np.where(zone == 0, 0, np.where(after > 0, after, before))
    return np.where(mode == Mode.GRADUATED, zone, in_one)


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
