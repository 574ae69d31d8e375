"""Prices as zones: every model becomes rows of (lower, upper], unit price, flat amount and package size.

Zone 0 of a charge is free: usage below zero and the included usage. Zone n is tier n, moved up by the included usage.
A usage lies in zone n when lower < usage <= upper (semantics 2), so a bound itself belongs to the zone below it.

>>> from schemas.prices import GraduatedPrice, Tier
>>> tiers = Tier(up_to="100", unit_price="0.10"), Tier(unit_price="0.05")
>>> table = compile_prices([GraduatedPrice(tiers=tiers)], [False])
>>> usage = wide.from_integers([0, 100_000_000, 100_000_001])
>>> table.zones_of(np.zeros(3, np.int64), usage).tolist()
[0, 1, 2]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.compiled import compiled
from rating.wide import Wide
from schemas.decimals import scaled_price, scaled_quantity
from schemas.prices import (
    GraduatedPrice,
    IncludedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    Price,
    StairstepPrice,
    Tier,
    VolumePrice,
)

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LARGEST_AMOUNT = 10**38 - 1
LARGEST_USAGE = 10**36
MULTIPLIER_BOUND = 10**6
_UNBOUNDED = 10**37
_QUANTITY_ONE = 10**6


class Mode(IntEnum):
    """How the zones of a charge add up: overlap by overlap, all at the last zone's price, or by flat amounts only."""

    GRADUATED = 0
    VOLUME = 1
    STAIRSTEP = 2


@dataclass(frozen=True, slots=True)
class Zone:
    """One range of usage; `lower`, `upper` and `package_size` in micros, prices in 10^-12 units."""

    lower: int
    upper: int
    unit_price: int
    flat_amount: int
    package_size: int


@dataclass(frozen=True, slots=True)
class ZonedPrice:
    """One charge's price: its zones from zone 0 up, and what is added or bounded per event (None: nothing)."""

    mode: Mode
    zones: tuple[Zone, ...]
    fixed_amount: int = 0
    minimum_amount: int | None = None
    maximum_amount: int | None = None


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of all charges as columns; row i of the zone columns is a zone, grouped by charge.

    `first_zone` has one entry per charge and one more; `mode` (int64), `per_event`, `multiplied` (bool) and
    `usage_limit` (micros, also as a wide column) have one entry per charge. Zone columns are Polars Int128; `lower` of
    zone 0 and the upper end of the last are beyond any usage. `zone_ends` are both ends as wide columns.
    """

    first_zone: Index
    mode: Index
    per_event: Mask
    multiplied: Mask
    included: pl.Series
    lower: pl.Series
    unit_price: pl.Series
    flat_amount: pl.Series
    package_size: pl.Series
    zone_ends: tuple[Wide, Wide]
    has_flat: bool
    has_volume: bool
    has_packages: bool
    fixed_amount: pl.Series
    minimum_amount: pl.Series
    maximum_amount: pl.Series
    usage_limit: tuple[int, ...]
    usage_limit_wide: Wide
    bounds: Wide
    first_bound: Index

    def zones_of(self, charges: Index, usage: Wide) -> Index:
        """The number of the zone, from 0 within its charge, that each usage (wide micros) lies in."""
        return _bounds_below(self.bounds, self.first_bound, charges, usage, False)

    def zones_above(self, charges: Index, usage: Wide) -> Index:
        """The number of the zone that begins at or before each usage and reaches beyond it."""
        return _bounds_below(self.bounds, self.first_bound, charges, usage, True)


@compiled
def _bounds_below(bounds: Wide, first_bound: Index, charges: Index, usage: Wide, or_at: bool) -> Index:
    """How many bounds of its charge lie below each usage, or at it."""
    numbers = np.empty(len(charges), np.int64)
    for row in range(len(charges)):
        high, low = np.int64(usage[row, 1]), usage[row, 0]
        place, behind = first_bound[charges[row]], first_bound[charges[row] + 1]
        while place < behind:
            bound_high, bound_low = np.int64(bounds[place, 1]), bounds[place, 0]
            below = bound_high < high or (bound_high == high and bound_low < low)
            if not below and not (or_at and bound_high == high and bound_low == low):
                break
            place += 1
        numbers[row] = place - first_bound[charges[row]]
    return numbers


def compile_prices(prices: Sequence[Price], multiplied: Sequence[bool]) -> PriceTable:
    """The table of these prices, one charge each; `multiplied` says which charges have multipliers."""
    zoned = [zone_price(price) for price in prices]
    zones = [zone for price in zoned for zone in price.zones]
    limits = tuple(map(usage_limit, zoned, multiplied))
    upper_bounds = [[zone.upper for zone in price.zones[:-1]] for price in zoned]
    return PriceTable(
        first_zone=_starts(len(price.zones) for price in zoned),
        mode=np.array([price.mode for price in zoned], np.int64),
        per_event=np.array([_has_per_event(price) for price in zoned], np.bool_),
        multiplied=np.array(multiplied, np.bool_),
        included=_column(price.zones[0].upper for price in zoned),
        lower=_column(zone.lower for zone in zones),
        unit_price=_column(zone.unit_price for zone in zones),
        flat_amount=_column(zone.flat_amount for zone in zones),
        package_size=_column(zone.package_size for zone in zones),
        zone_ends=(
            wide.from_integers(zone.lower for zone in zones),
            wide.from_integers(zone.upper for zone in zones),
        ),
        has_flat=any(zone.flat_amount for zone in zones),
        has_volume=any(price.mode == Mode.VOLUME for price in zoned),
        has_packages=any(zone.package_size for zone in zones),
        fixed_amount=_column(price.fixed_amount for price in zoned),
        minimum_amount=_column(price.minimum_amount for price in zoned),
        maximum_amount=_column(price.maximum_amount for price in zoned),
        usage_limit=limits,
        usage_limit_wide=wide.from_integers(limits),
        bounds=wide.from_integers(bound for own in upper_bounds for bound in own),
        first_bound=_starts(len(own) for own in upper_bounds),
    )


def _starts(counts: Iterable[int]) -> Index:
    return np.array([0, *accumulate(counts)], np.int64)


def _column(values: Iterable[int | None]) -> pl.Series:
    return pl.Series(list(values), dtype=pl.Int128)


def _has_per_event(price: ZonedPrice) -> bool:
    return bool(price.fixed_amount) or price.minimum_amount is not None or price.maximum_amount is not None


def usage_limit(price: ZonedPrice, multiplied: bool) -> int:
    """The greatest usage in micros at which every line of the price surely fits 38 digits.

    (10^38 - 1) // (P * M), at most 10^36: P is the greatest unit price or flat amount in 10^-12 units (for packages
    smaller than one unit, times the packages in one unit), M is 10^6 where a multiplier may scale it, else 1.
    """
    greatest = max(1, *(abs(zone.flat_amount) for zone in price.zones), *map(_price_per_unit, price.zones))
    scale = MULTIPLIER_BOUND if multiplied else 1
    return min(LARGEST_USAGE, LARGEST_AMOUNT // (greatest * scale))


def _price_per_unit(zone: Zone) -> int:
    packages_in_unit = -(-_QUANTITY_ONE // zone.package_size) if zone.package_size else 1
    return abs(zone.unit_price) * max(1, packages_in_unit)


def zone_price(price: Price) -> ZonedPrice:
    """The zones of a price that passed the lint."""
    match price:
        case IncludedPrice():
            return _zoned(price.then, scaled_quantity(price.included))
        case _:
            return _zoned(price, 0)


def _zoned(price: Price, included: int) -> ZonedPrice:
    match price:
        case PerUnitPrice():
            return ZonedPrice(Mode.GRADUATED, _zones((Tier(unit_price=price.unit_price),), included))
        case PackagePrice():
            tier = Tier(unit_price=price.package_price, package_size=price.package_size)
            return ZonedPrice(Mode.GRADUATED, _zones((tier,), included))
        case GraduatedPrice():
            return ZonedPrice(Mode.GRADUATED, _zones(price.tiers, included))
        case VolumePrice():
            return ZonedPrice(Mode.VOLUME, _zones(price.tiers, included))
        case StairstepPrice():
            return ZonedPrice(Mode.STAIRSTEP, _zones(price.tiers, included))
        case PercentagePrice():
            return _percentage(price, included)
        case IncludedPrice():
            raise AssertionError("an included price inside another one should have been refused when it was read")


def _percentage(price: PercentagePrice, included: int) -> ZonedPrice:
    assert price.tiers is not None or price.rate is not None, "a percentage without a rate should have been refused"
    tiers = price.tiers if price.tiers is not None else (Tier(unit_price=price.rate or 0),)
    return ZonedPrice(
        Mode.GRADUATED,
        _zones(tiers, included),
        scaled_price(price.fixed_amount),
        None if price.minimum_amount is None else scaled_price(price.minimum_amount),
        None if price.maximum_amount is None else scaled_price(price.maximum_amount),
    )


def _zones(tiers: Sequence[Tier], included: int) -> tuple[Zone, ...]:
    zones = [Zone(-_UNBOUNDED, included, 0, 0, 0)]
    for tier in tiers:
        upper = _UNBOUNDED if tier.up_to is None else included + scaled_quantity(tier.up_to)
        size = 0 if tier.package_size is None else scaled_quantity(tier.package_size)
        zones.append(Zone(zones[-1].upper, upper, scaled_price(tier.unit_price), scaled_price(tier.flat_amount), size))
    return tuple(zones)
