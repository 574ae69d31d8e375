"""The lines of one change of usage under one price (semantics 2), in exact fractions.

The real line is cut into zones: usage that costs nothing (tier 0: below zero, and the included usage), then the tiers.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any


@dataclass(frozen=True)
class Line:
    """One line item; quantity * unit_price = amount."""

    kind: str
    tier: int
    quantity: Fraction
    usage_before: Fraction
    usage_after: Fraction
    unit_price: Fraction

    @property
    def amount(self) -> Fraction:
        return self.quantity * self.unit_price


@dataclass(frozen=True)
class Zone:
    """A range `(lower, upper]` of usage; None is without bound."""

    tier: int
    lower: Fraction | None
    upper: Fraction | None
    unit_price: Fraction = Fraction(0)
    flat_amount: Fraction = Fraction(0)
    package_size: Fraction | None = None

    def holds(self, usage: Fraction) -> bool:
        return (self.lower is None or self.lower < usage) and (self.upper is None or usage <= self.upper)


def lines_of(price: Any, before: Fraction, after: Fraction, multiplier: Fraction, weighted: Fraction) -> list[Line]:
    """The lines for usage going from `before` to `after`; `weighted` is the sum of m * priced quantity until now."""
    free, price = free_usage(price), innermost(price)
    zones = zones_of(price, free)
    if price.model in ("volume", "stairstep"):
        return _whole(price, zones, before, after, multiplier, weighted)
    lines = _graduated(zones, before, after, multiplier)
    if price.model == "percentage" and priced(free, before, after) > 0:
        lines = _per_event(price, lines, after, multiplier, next(z.tier for z in zones if z.holds(after)))
    return lines


def priced(free: Fraction, before: Fraction, after: Fraction) -> Fraction:
    """The part of the change that lies above the free usage."""
    return max(after - free, Fraction(0)) - max(before - free, Fraction(0))


def free_usage(price: Any) -> Fraction:
    """How much usage is included before any price applies."""
    return Fraction(price.included) + free_usage(price.then) if price.model == "included" else Fraction(0)


def zones_of(price: Any, free: Fraction) -> list[Zone]:
    zones = [Zone(0, None, free)]
    for tier, (up_to, unit_price, flat_amount, package_size) in enumerate(_tiers(price), start=1):
        upper = None if up_to is None else free + Fraction(up_to)
        size = None if package_size is None else Fraction(package_size)
        zones.append(Zone(tier, zones[-1].upper, upper, Fraction(unit_price), Fraction(flat_amount), size))
    return zones


def _tiers(price: Any) -> list[tuple[Decimal | None, Decimal, Decimal, Decimal | None]]:
    zero = Decimal(0)
    match price.model:
        case "per_unit":
            return [(None, price.unit_price, zero, None)]
        case "package":
            return [(None, price.package_price, zero, price.package_size)]
        case "percentage" if price.rate is not None:
            return [(None, price.rate, zero, None)]
        case "graduated" | "volume" | "stairstep" | "percentage":
            return [(t.up_to, t.unit_price, t.flat_amount, t.package_size) for t in price.tiers]
    raise AssertionError(price.model)


def _graduated(zones: list[Zone], before: Fraction, after: Fraction, multiplier: Fraction) -> list[Line]:
    ordered = zones if after >= before else zones[::-1]
    lines = [_slice(zone, before, after, multiplier) for zone in ordered if _touches(zone, before, after)]
    for zone in ordered:
        if zone.tier and zone.flat_amount and (before > zone.lower) != (after > zone.lower):
            lines.append(_flat(zone, Fraction(1 if after > before else -1), after, multiplier))
    return lines


def _touches(zone: Zone, before: Fraction, after: Fraction) -> bool:
    if before == after:
        return zone.holds(after)
    low, high = _within(zone, min(before, after)), _within(zone, max(before, after))
    return low < high


def _within(zone: Zone, usage: Fraction) -> Fraction:
    if zone.lower is not None and usage < zone.lower:
        return zone.lower
    return zone.upper if zone.upper is not None and usage > zone.upper else usage


def _slice(zone: Zone, before: Fraction, after: Fraction, multiplier: Fraction) -> Line:
    first, last = _within(zone, before), _within(zone, after)
    quantity = last - first if zone.tier == 0 else _units(zone, last) - _units(zone, first)
    return Line("usage", zone.tier, quantity, first, last, times(multiplier, zone.unit_price))


def _units(zone: Zone, usage: Fraction) -> Fraction:
    """How much of the zone is priced: its usage, or its started packages."""
    used = usage - zone.lower
    return used if zone.package_size is None else Fraction(ceil(used / zone.package_size))


def _flat(zone: Zone, sign: Fraction, after: Fraction, multiplier: Fraction) -> Line:
    return Line("tier_flat", zone.tier, sign, after, after, times(multiplier, zone.flat_amount))


def _whole(
    price: Any, zones: list[Zone], before: Fraction, after: Fraction, multiplier: Fraction, weighted: Fraction
) -> list[Line]:
    """volume and stairstep: all priced usage lies in one tier."""
    old, new = (next(zone for zone in zones if zone.holds(usage)) for usage in (before, after))
    shown = new if new.tier else old
    if price.model == "stairstep":
        shown = replace(shown, unit_price=Fraction(0))
    paying = replace(shown, lower=zones[0].upper, upper=None, flat_amount=Fraction(0))
    lines = _graduated([zones[0], paying] if shown.tier else [zones[0]], before, after, multiplier)
    if price.model == "volume" and old.tier and new.tier and old.tier != new.tier:
        lines += _reprice(zones[0], old, new, before, after, weighted)
    if old.tier != new.tier:
        flats = ((old, Fraction(-1)), (new, Fraction(1)))
        lines += [_flat(zone, sign, after, multiplier) for zone, sign in flats if zone.tier and zone.flat_amount]
    return lines


def _reprice(free: Zone, old: Zone, new: Zone, before: Fraction, after: Fraction, weighted: Fraction) -> list[Line]:
    """What was rated in the old tier at the new tier's price; packages are given back and started anew."""
    if old.package_size is None and new.package_size is None:
        changes = [(new.tier, weighted, new.unit_price - old.unit_price)]
    else:
        started = [_units(replace(zone, lower=free.upper), before) for zone in (old, new)]
        changes = [(old.tier, -started[0], old.unit_price), (new.tier, started[1], new.unit_price)]
    return [Line("reprice", tier, quantity, after, after, unit) for tier, quantity, unit in changes if quantity]


def _per_event(price: Any, lines: list[Line], after: Fraction, multiplier: Fraction, tier: int) -> list[Line]:
    """The fixed, least and greatest amount of a percentage price."""
    usage = lines
    if price.fixed_amount:
        fixed = times(multiplier, Fraction(price.fixed_amount))
        lines = [*lines, Line("fixed_amount", tier, Fraction(1), after, after, fixed)]
    amount = sum(line.amount for line in lines)
    for kind, bound in (("minimum_amount", price.minimum_amount), ("maximum_amount", price.maximum_amount)):
        if bound is not None and (amount < bound if kind == "minimum_amount" else amount > bound):
            shown = [replace(line, unit_price=Fraction(0)) for line in usage]
            return [*shown, Line(kind, tier, Fraction(1), after, after, Fraction(bound))]
    return lines


def times(multiplier: Fraction, unit_price: Fraction) -> Fraction:
    """The scaled unit price: at most 12 digits, half away from zero."""
    return round_half_away(multiplier * unit_price, 12)


def round_half_away(value: Fraction, digits: int) -> Fraction:
    units = abs(value) * 10**digits
    return Fraction(floor(units + Fraction(1, 2)) * (1 if value >= 0 else -1), 10**digits)


def largest_usage(price: Any, has_multiplier: bool) -> Fraction:
    """The usage above which an amount could pass 38 digits; events that lead above it are refused."""
    zones = zones_of(innermost(price), Fraction(0))
    smallest = min((zone.package_size for zone in zones if zone.package_size is not None), default=Fraction(1))
    greatest = max(max(abs(zone.unit_price), abs(zone.flat_amount)) for zone in zones) * 10**12
    greatest = max(greatest, Fraction(1)) * max(1, ceil(1 / smallest)) * (10**6 if has_multiplier else 1)
    return Fraction(min((10**38 - 1) // greatest, 10**36), 10**6)


def innermost(price: Any) -> Any:
    """The price for usage that is not included."""
    return innermost(price.then) if price.model == "included" else price
