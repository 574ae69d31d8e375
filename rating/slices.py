"""From usage before and after to lines: one slice per tier touched, and lines of their own for flats and reprices.

The rule (semantics 2): the lines of an event sum to F(usage_after) - F(usage_before), and each reads
quantity * unit_price = amount. Every function takes and gives whole columns; `pair` is the row of a (event, charge) pair.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from rating.prices import Index, Mode, PriceTable
from rating.wide import constant
from schemas.decimals import QUANTITY_SCALE

ONE = 10**QUANTITY_SCALE
ONE_UNIT = constant(ONE)
_UNIT = constant(1)
_NEGATIVE = constant(-1)
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

    `charge` int64; `before`, `after` Int128 micros. `multiplier` (Int128 micros) and `weighted_before` (Int128 micros,
    the sum of multiplier * priced quantity so far) are None where no charge of the catalog has a multiplier.
    """

    charge: Index
    before: pl.Series
    after: pl.Series
    trial: npt.NDArray[np.bool_]
    multiplier: pl.Series | None = None
    weighted_before: pl.Series | None = None


@dataclass(frozen=True, slots=True)
class _Zones:
    """Per pair: the zone that the usage before and after lies in, and the zones of the lowest and highest slice."""

    before: Index
    after: Index
    lowest: Index
    highest: Index
    falling: npt.NDArray[np.bool_]


def lines_of(usage: Usage, table: PriceTable) -> pl.DataFrame:
    """The lines of all pairs, in the order of the pairs and, within a pair, of `LineKind`.

    Columns: pair, kind, tier (Int64), quantity, usage_before, usage_after (Int128 micros), unit_price (Int128, 10^-12).
    """
    zones = _zones(usage, table)
    blocks = [_usage_lines(usage, zones, table)]
    moved = np.flatnonzero((zones.before != zones.after) & ~usage.trial)
    if len(moved):
        blocks.append(_reprice_lines(usage, zones, table, moved))
        if table.has_flat:
            blocks.append(_flat_lines(usage, zones, table, moved))
    lines = _with_multiplier(pl.concat(blocks), usage) if usage.multiplier is not None else pl.concat(blocks)
    per_event = np.flatnonzero(table.per_event[usage.charge] & ~usage.trial)
    if len(per_event):
        lines = _with_per_event_amounts(lines, usage, table, per_event)
    if len(lines) == len(usage.charge):
        return lines
    order = np.argsort(lines["pair"].to_numpy() * len(LineKind) + lines["kind"].to_numpy(), kind="stable")
    return lines[order]


def _zones(usage: Usage, table: PriceTable) -> _Zones:
    before, after = table.zones_of(usage.charge, usage.before), table.zones_of(usage.charge, usage.after)
    falling = (usage.after < usage.before).to_numpy()
    still = (usage.after == usage.before).to_numpy()
    above_low = table.zones_above(usage.charge, _choose(falling, usage.after, usage.before))
    lowest = np.where(still, after, above_low)
    highest = np.where(falling, before, after)
    mode = table.mode[usage.charge]
    in_one = mode != Mode.GRADUATED
    lowest = np.where(usage.trial, after, np.where(in_one, np.minimum(lowest, 1), lowest))
    highest = np.where(usage.trial, after, np.where(in_one, np.minimum(highest, 1), highest))
    return _Zones(before, after, lowest, highest, falling)


def _choose(mask: npt.NDArray[np.bool_], yes: pl.Series, no: pl.Series) -> pl.Series:
    return no if not mask.any() else yes.zip_with(pl.Series(mask), no)


def _usage_lines(usage: Usage, zones: _Zones, table: PriceTable) -> pl.DataFrame:
    pair, zone = _explode(zones.lowest, zones.highest, zones.falling)
    low, high = _bounds(usage, zones, table, pair, zone)
    priced = _priced_zone(usage, zones, table, pair, zone)
    row = table.first_zone[usage.charge[pair]] + priced
    unit_price = table.unit_price.gather(row)
    trial = usage.trial[pair]
    free = trial | (table.mode[usage.charge[pair]] == Mode.STAIRSTEP)
    if free.any():
        unit_price = unit_price.set(pl.Series(free), 0)
    falling = zones.falling[pair]
    start, stop = _choose(falling, high, low), _choose(falling, low, high)
    quantity = stop - start
    if table.has_packages:
        quantity = _in_packages(quantity, start, stop, row, table, ~trial)
    return _block(pair, np.where(trial, LineKind.TRIAL, LineKind.USAGE), np.where(trial, 0, priced), quantity, start, stop, unit_price)


def _explode(lowest: Index, highest: Index, falling: npt.NDArray[np.bool_]) -> tuple[Index, Index]:
    """The pair and the zone of every slice: ascending zones for a rising usage, descending for a falling one."""
    counts = highest - lowest + 1
    pair = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pair, np.where(falling[pair], highest[pair] - step, lowest[pair] + step)


def _bounds(usage: Usage, zones: _Zones, table: PriceTable, pair: Index, zone: Index) -> tuple[pl.Series, pl.Series]:
    """The lower and upper end of every slice: the usage's own ends, cut at the zone's bounds."""
    low, high = _choose(zones.falling, usage.after, usage.before), _choose(zones.falling, usage.before, usage.after)
    if len(pair) == len(usage.charge):
        return low, high
    charge = usage.charge[pair]
    row = table.first_zone[charge] + zone
    in_one = pl.Series((table.mode[charge] != Mode.GRADUATED) & (zone > 0))
    upper = table.upper.gather(row).set(in_one, int(table.upper.max()))  # type: ignore[arg-type]
    cut_low, cut_high = zone > zones.lowest[pair], zone < zones.highest[pair]
    return (
        table.lower.gather(row).zip_with(pl.Series(cut_low), low.gather(pair)),
        upper.zip_with(pl.Series(cut_high), high.gather(pair)),
    )


def _priced_zone(usage: Usage, zones: _Zones, table: PriceTable, pair: Index, zone: Index) -> Index:
    """The zone whose price a slice has: its own; for volume and stairstep the zone that the new total lies in."""
    mode = table.mode[usage.charge[pair]]
    after, before = zones.after[pair], zones.before[pair]
    in_one = np.where(zone == 0, 0, np.where(after > 0, after, before))
    return np.where(mode == Mode.GRADUATED, zone, in_one)


def _in_packages(
    quantity: pl.Series, start: pl.Series, stop: pl.Series, row: Index, table: PriceTable, wanted: npt.NDArray[np.bool_]
) -> pl.Series:
    """Where the zone is sold in packages: the packages that the slice newly starts, as a quantity."""
    size = table.package_size.gather(row)
    sold = np.flatnonzero((size > 0).to_numpy() & wanted)
    if not len(sold):
        return quantity
    lower, own = _package_origin(row[sold], table), size.gather(sold)
    started = _packages(stop.gather(sold) - lower, own) - _packages(start.gather(sold) - lower, own)
    return quantity.scatter(sold, started * ONE_UNIT)


def _package_origin(row: Index, table: PriceTable) -> pl.Series:
    """Where the packages of a zone are counted from: its lower bound; for volume, where the included usage ends."""
    charge = np.searchsorted(table.first_zone, row, side="right") - 1
    volume = pl.Series(table.mode[charge] == Mode.VOLUME)
    return table.included.gather(charge).zip_with(volume, table.lower.gather(row))


def _packages(usage: pl.Series, size: pl.Series) -> pl.Series:
    """The number of started packages of a usage that is not negative."""
    return (usage + size - _UNIT) // size


def _reprice_lines(usage: Usage, zones: _Zones, table: PriceTable, moved: Index) -> pl.DataFrame:
    """What a volume tier change adds: the usage rated before at the difference of the prices.

    Where a tier is sold in packages, a package is not the same quantity in both tiers: then the old usage is taken
    back in a line of its own and charged anew in another.
    """
    before, after = zones.before[moved], zones.after[moved]
    changed = moved[(table.mode[usage.charge[moved]] == Mode.VOLUME) & (before > 0) & (after > 0)]
    charge = usage.charge[changed]
    old, new = (table.first_zone[charge] + zone[changed] for zone in (zones.before, zones.after))
    priced_before = _priced_before(usage, table, changed)
    old_price, new_price = table.unit_price.gather(old), table.unit_price.gather(new)
    old_size, new_size = table.package_size.gather(old), table.package_size.gather(new)
    packaged = ((old_size > 0) | (new_size > 0)).to_numpy()
    plain, sold = np.flatnonzero(~packaged), np.flatnonzero(packaged)
    difference = (new_price - old_price).gather(plain)
    rows = changed[plain]
    blocks = [_event_block(usage, rows, LineKind.REPRICE, zones.after[rows], priced_before.gather(plain), difference)]
    if len(sold):
        excess = usage.before.gather(changed[sold]) - table.included.gather(charge[sold])
        for sign, zone, size, price in ((-1, zones.before, old_size, old_price), (1, zones.after, new_size, new_price)):
            quantity = _quantity_sold(excess, size.gather(sold)) * constant(sign)
            rows = changed[sold]
            blocks.append(_event_block(usage, rows, LineKind.REPRICE, zone[rows], quantity, price.gather(sold)))
    lines = pl.concat(blocks)
    return lines.filter(lines["quantity"] != 0)


def _quantity_sold(usage: pl.Series, size: pl.Series) -> pl.Series:
    in_packages = _packages(usage, size.set(size == 0, 1)) * ONE_UNIT
    return usage.zip_with(size == 0, in_packages)


def _priced_before(usage: Usage, table: PriceTable, rows: Index) -> pl.Series:
    """The usage above the included one; for charges with multipliers, the sum of multiplier * that usage."""
    charge = usage.charge[rows]
    excess = usage.before.gather(rows) - table.included.gather(charge)
    if usage.weighted_before is None:
        return excess
    return usage.weighted_before.gather(rows).zip_with(pl.Series(table.multiplied[charge]), excess)


def _flat_lines(usage: Usage, zones: _Zones, table: PriceTable, moved: Index) -> pl.DataFrame:
    """Flat amounts: of every tier entered or left (graduated), or of the old and the new tier (volume, stairstep)."""
    graduated = table.mode[usage.charge[moved]] == Mode.GRADUATED
    crossing, switching = moved[graduated], moved[~graduated]
    low = np.minimum(zones.before[crossing], zones.after[crossing]) + 1
    high = np.maximum(zones.before[crossing], zones.after[crossing])
    crossed, crossed_zone = _explode(low, high, zones.falling[crossing])
    pair = np.concatenate([crossing[crossed], switching, switching])
    zone = np.concatenate([crossed_zone, zones.before[switching], zones.after[switching]])
    sign = np.concatenate(
        [np.where(zones.falling[crossing[crossed]], -1, 1), np.repeat(-1, len(switching)), np.repeat(1, len(switching))]
    )
    flat = table.flat_amount.gather(table.first_zone[usage.charge[pair]] + zone)
    due = np.flatnonzero((flat != 0).to_numpy())
    usage_after = usage.after.gather(pair[due])
    quantity = pl.Series(sign[due]).cast(pl.Int128) * ONE_UNIT
    kind = np.full(len(due), LineKind.TIER_FLAT)
    return _block(pair[due], kind, zone[due], quantity, usage_after, usage_after, flat.gather(due))


def _with_multiplier(lines: pl.DataFrame, usage: Usage) -> pl.DataFrame:
    """Unit prices scaled by the event's multiplier, rounded half away from zero to 12 digits; reprices stay."""
    assert usage.multiplier is not None
    multiplier = usage.multiplier.gather(lines["pair"])
    scaled = np.flatnonzero(((multiplier != ONE) & (lines["kind"] != LineKind.REPRICE)).to_numpy())
    if not len(scaled):
        return lines
    prices = scale_price(multiplier.gather(scaled), lines["unit_price"].gather(scaled))
    return lines.with_columns(lines["unit_price"].scatter(scaled, prices))


def scale_price(multiplier: pl.Series, unit_price: pl.Series) -> pl.Series:
    """multiplier (micros) * unit price, half away from zero; the product fits, see `prices.usage_limit`."""
    return divide_half_away(multiplier * unit_price, ONE_UNIT)


def divide_half_away(numerator: pl.Series, denominator: pl.Series) -> pl.Series:
    """Int128 division to the nearest integer, halves away from zero; denominators are positive."""
    negative = numerator < 0
    magnitude = numerator.abs()
    quotient = (magnitude + magnitude + denominator) // (denominator + denominator)
    return (quotient * _NEGATIVE).zip_with(negative, quotient)


def _with_per_event_amounts(lines: pl.DataFrame, usage: Usage, table: PriceTable, rows: Index) -> pl.DataFrame:
    """Adds the fixed amount of each priced event, and puts the least or greatest amount in place of its lines."""
    charge = usage.charge[rows]
    paid = (
        (usage.after.gather(rows) > usage.before.gather(rows))
        & (usage.after.gather(rows) > table.included.gather(charge))
    ).to_numpy()
    rows, charge = rows[paid], charge[paid]
    after = table.zones_of(charge, usage.after.gather(rows))
    fixed = _event_block(usage, rows, LineKind.FIXED_AMOUNT, after, _ones(rows), table.fixed_amount.gather(charge))
    fixed = fixed.filter(fixed["unit_price"] != 0)
    lines = pl.concat([lines, fixed if usage.multiplier is None else _with_multiplier(fixed, usage)])
    owed = _amount_of(lines, rows)
    least, most = table.minimum_amount.gather(charge), table.maximum_amount.gather(charge)
    for kind, limit, beyond in (
        (LineKind.MINIMUM_AMOUNT, least, owed < least * ONE_UNIT),
        (LineKind.MAXIMUM_AMOUNT, most, owed > most * ONE_UNIT),
    ):
        hit = np.flatnonzero(beyond.fill_null(value=False).to_numpy())
        if len(hit):
            lines = _replace_by(lines, kind, rows[hit], after[hit], limit.gather(hit), usage)
    return lines


def _amount_of(lines: pl.DataFrame, rows: Index) -> pl.Series:
    """The exact amount (Int128, 10^-18) of these pairs' lines."""
    amounts = lines.select("pair", amount=pl.col("quantity") * pl.col("unit_price")).group_by("pair").agg(pl.col("amount").sum())
    return pl.DataFrame({"pair": rows}).join(amounts, on="pair", how="left", maintain_order="left")["amount"]


def _replace_by(
    lines: pl.DataFrame, kind: LineKind, rows: Index, zone: Index, amount: pl.Series, usage: Usage
) -> pl.DataFrame:
    """The pairs' lines shown at price 0, the fixed amount dropped, and one line that carries the amount."""
    hit = lines["pair"].is_in(rows)
    dropped = hit & (lines["kind"] == LineKind.FIXED_AMOUNT)
    free = lines.with_columns(lines["unit_price"].set(hit, 0)).filter(~dropped)
    return pl.concat([free, _event_block(usage, rows, kind, zone, _ones(rows), amount)])


def _ones(rows: Index) -> pl.Series:
    return pl.repeat(ONE, len(rows), dtype=pl.Int128, eager=True)


def _event_block(
    usage: Usage, pair: Index, kind: LineKind, tier: Index, quantity: pl.Series, unit_price: pl.Series
) -> pl.DataFrame:
    """Lines that are no slice of usage: usage_before and usage_after both show the usage after the event."""
    after = usage.after.gather(pair)
    return _block(pair, np.full(len(pair), kind), tier, quantity, after, after, unit_price)


def _block(
    pair: Index, kind: Index, tier: Index, quantity: pl.Series, start: pl.Series, stop: pl.Series, unit_price: pl.Series
) -> pl.DataFrame:
    columns = (pl.Series(pair), pl.Series(kind.astype(np.int64)), pl.Series(tier), quantity, start, stop, unit_price)
    return pl.DataFrame([column.alias(name) for name, column in zip(_LINE_COLUMNS, columns, strict=True)])
