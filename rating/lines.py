"""All lines of a batch of priced pairs: slices of usage, reprices, flat amounts, and amounts per event.

The rule (semantics 2): the lines of an event sum to F(usage_after) - F(usage_before), and each reads
quantity * unit_price = amount.
"""

import numpy as np
import polars as pl

from rating.money import ONE, ONE_UNIT, scale_price
from rating.prices import Index, Mode, PriceTable
from rating.slices import LineKind, Usage, Zones, block, explode, packages, usage_slices, zones_of
from rating.wide import constant, picked


def lines_of(usage: Usage, table: PriceTable) -> pl.DataFrame:
    """The lines of all pairs, in the order of the pairs and, within a pair, of `LineKind`.

    Columns: pair, kind, tier (Int64), quantity, usage_before, usage_after (Int128 micros), unit_price (Int128, 10^-12),
    amount (Int128, 10^-18).
    """
    lines = _lines(usage, table)
    return lines.insert_column(len(lines.columns), (lines["quantity"] * lines["unit_price"]).alias("amount"))


def _lines(usage: Usage, table: PriceTable) -> pl.DataFrame:
    zones = zones_of(usage, table)
    blocks = [usage_slices(usage, zones, table)]
    moved = np.flatnonzero((zones.before != zones.after) & ~usage.trial)
    if len(moved) and table.has_volume:
        blocks.append(_reprice_lines(usage, zones, table, moved))
    if len(moved) and table.has_flat:
        blocks.append(_flat_lines(usage, zones, table, moved))
    lines = _with_multiplier(pl.concat(blocks), usage) if usage.multiplier is not None else pl.concat(blocks)
    per_event = np.flatnonzero(table.per_event[usage.charge] & ~usage.trial)
    if len(per_event):
        lines = _with_per_event_amounts(lines, usage, table, per_event)
    if len(blocks) == 1 and not len(per_event):
        return lines
    order = np.argsort(lines["pair"].to_numpy() * len(LineKind) + lines["kind"].to_numpy(), kind="stable")
    return lines[order]


def _reprice_lines(usage: Usage, zones: Zones, table: PriceTable, moved: Index) -> pl.DataFrame:
    """What a volume tier change adds: the usage rated before at the difference of the prices.

    Where a tier is sold in packages, a package is not the same quantity in both tiers: then the old usage is taken
    back in a line of its own and charged anew in another.
    """
    before, after = zones.before[moved], zones.after[moved]
    changed = moved[(table.mode[usage.charge[moved]] == Mode.VOLUME) & (before > 0) & (after > 0)]
    charge = usage.charge[changed]
    old, new = (table.first_zone[charge] + zone[changed] for zone in (zones.before, zones.after))
    priced_before = _priced_before(usage, table, changed)
    old_price, new_price = picked(table.unit_price, old), picked(table.unit_price, new)
    old_size, new_size = picked(table.package_size, old), picked(table.package_size, new)
    packaged = ((old_size > 0) | (new_size > 0)).to_numpy()
    plain, sold = np.flatnonzero(~packaged), np.flatnonzero(packaged)
    difference = picked((new_price - old_price), plain)
    rows = changed[plain]
    blocks = [_event_block(usage, rows, LineKind.REPRICE, zones.after[rows], picked(priced_before, plain), difference)]
    if len(sold):
        excess = picked(usage.before, changed[sold]) - picked(table.included, charge[sold])
        for sign, zone, size, price in ((-1, zones.before, old_size, old_price), (1, zones.after, new_size, new_price)):
            quantity = _quantity_sold(excess, picked(size, sold)) * constant(sign)
            rows = changed[sold]
            blocks.append(_event_block(usage, rows, LineKind.REPRICE, zone[rows], quantity, picked(price, sold)))
    lines = pl.concat(blocks)
    return lines.filter(lines["quantity"] != 0)


def _quantity_sold(usage: pl.Series, size: pl.Series) -> pl.Series:
    in_packages = packages(usage, size.set(size == 0, 1)) * ONE_UNIT
    return usage.zip_with(size == 0, in_packages)


def _priced_before(usage: Usage, table: PriceTable, rows: Index) -> pl.Series:
    """The usage above the included one; for charges with multipliers, the sum of multiplier * that usage."""
    charge = usage.charge[rows]
    excess = picked(usage.before, rows) - picked(table.included, charge)
    if usage.weighted_before is None:
        return excess
    return picked(usage.weighted_before, rows).zip_with(pl.Series(table.multiplied[charge]), excess)


def _flat_lines(usage: Usage, zones: Zones, table: PriceTable, moved: Index) -> pl.DataFrame:
    """Flat amounts: of every tier entered or left (graduated), or of the old and the new tier (volume, stairstep)."""
    graduated = table.mode[usage.charge[moved]] == Mode.GRADUATED
    crossing, switching = moved[graduated], moved[~graduated]
    low = np.minimum(zones.before[crossing], zones.after[crossing]) + 1
    high = np.maximum(zones.before[crossing], zones.after[crossing])
    crossed, crossed_zone = explode(low, high, zones.falling[crossing])
    pair = np.concatenate([crossing[crossed], switching, switching])
    zone = np.concatenate([crossed_zone, zones.before[switching], zones.after[switching]])
    sign = np.concatenate(
        [np.where(zones.falling[crossing[crossed]], -1, 1), np.repeat(-1, len(switching)), np.repeat(1, len(switching))]
    )
    flat = picked(table.flat_amount, table.first_zone[usage.charge[pair]] + zone)
    due = np.flatnonzero((flat != 0).to_numpy())
    usage_after = picked(usage.after, pair[due])
    quantity = pl.Series(sign[due]).cast(pl.Int128) * ONE_UNIT
    kind = np.full(len(due), LineKind.TIER_FLAT)
    return block(pair[due], kind, zone[due], quantity, usage_after, usage_after, picked(flat, due))


def _with_multiplier(lines: pl.DataFrame, usage: Usage) -> pl.DataFrame:
    """Unit prices scaled by the event's multiplier, rounded half away from zero to 12 digits; reprices stay."""
    assert usage.multiplier is not None
    multiplier = picked(usage.multiplier, lines["pair"].to_numpy())
    scaled = np.flatnonzero(((multiplier != ONE) & (lines["kind"] != LineKind.REPRICE)).to_numpy())
    if not len(scaled):
        return lines
    prices = scale_price(picked(multiplier, scaled), picked(lines["unit_price"], scaled))
    return lines.with_columns(lines["unit_price"].scatter(scaled, prices))


def _with_per_event_amounts(lines: pl.DataFrame, usage: Usage, table: PriceTable, rows: Index) -> pl.DataFrame:
    """Adds the fixed amount of each priced event, and puts the least or greatest amount in place of its lines."""
    charge = usage.charge[rows]
    paid = (
        (picked(usage.after, rows) > picked(usage.before, rows))
        & (picked(usage.after, rows) > picked(table.included, charge))
    ).to_numpy()
    rows, charge = rows[paid], charge[paid]
    after = table.zones_of(charge, np.take(usage.ends[1], rows, axis=0))
    fixed = _event_block(usage, rows, LineKind.FIXED_AMOUNT, after, _ones(rows), picked(table.fixed_amount, charge))
    fixed = fixed.filter(fixed["unit_price"] != 0)
    lines = pl.concat([lines, fixed if usage.multiplier is None else _with_multiplier(fixed, usage)])
    owed = _amount_of(lines, rows)
    least, most = picked(table.minimum_amount, charge), picked(table.maximum_amount, charge)
    for kind, limit, beyond in (
        (LineKind.MINIMUM_AMOUNT, least, owed < least * ONE_UNIT),
        (LineKind.MAXIMUM_AMOUNT, most, owed > most * ONE_UNIT),
    ):
        hit = np.flatnonzero(beyond.fill_null(value=False).to_numpy())
        if len(hit):
            lines = _replace_by(lines, kind, rows[hit], after[hit], picked(limit, hit), usage)
    return lines


def _amount_of(lines: pl.DataFrame, rows: Index) -> pl.Series:
    """The exact amount (Int128, 10^-18) of these pairs' lines."""
    amounts = (
        lines.select("pair", amount=pl.col("quantity") * pl.col("unit_price"))
        .group_by("pair")
        .agg(pl.col("amount").sum())
    )
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
    after = picked(usage.after, pair)
    return block(pair, np.full(len(pair), kind), tier, quantity, after, after, unit_price)
