"""What the simulated transactions of a subscription come to, known before any of them is rated.

Owns a second, plain way from a price to an amount: the whole usage of a period at once, in integers. It shares nothing
with rating but the reading of filters and formulas. The rule: what it cannot know by itself it does not guess (None).
Usage is in micros, amounts in units of 10^-18.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rating.expand import ExpandedCharge
from rating.expressions import compile_number
from rating.synthetic import HOUR, Simulation, transactions
from rating.synthetic_reading import Values, evaluated, holds, number
from schemas.decimals import QUANTITY_SCALE, scaled_amount, scaled_price, scaled_quantity
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

_ONE: int = 10**QUANTITY_SCALE


@dataclass(frozen=True, slots=True)
class Total:
    """The usage of one charge in one period, counted from 1 as invoices do, and its cost."""

    period: int
    charge: str
    usage: int | None
    amount: int | None


def totals(simulation: Simulation) -> list[Total]:
    """Those of every charge and period of the hour."""
    found = []
    for period in range(simulation.periods):
        made = [one.values for one in transactions(simulation, period)]
        for charge in simulation.expanded.charges:
            usage = None if _is_beyond(simulation) else _usage(charge, made)
            free_of_rules = all(rule.multiplier is None for rule in charge.rules)
            amount = None if usage is None or not free_of_rules else cost(charge.price, usage)
            found.append(Total(period + 1, charge.id, usage, amount))
    return found


def hour_total(simulation: Simulation, found: Sequence[Total]) -> int | None:
    """What the hour's invoices come to, fees included, with all digits."""
    product, expanded = simulation.product, simulation.expanded
    bounds = [product.minimum_spend, product.maximum_spend]
    for charge in expanded.charges:
        bounds += [charge.minimum_spend, charge.maximum_spend]
    if any(bound is not None for bound in bounds):
        return None
    if simulation.end - simulation.start < HOUR or product.free_trial is not None:
        return None
    fees = 0
    for fee in expanded.fees:
        if fee.once_per == "organization":
            return None
        fees += scaled_amount(fee.amount) * (simulation.periods if fee.kind == "recurring" else 1)
    amounts = [one.amount for one in found]
    return None if None in amounts else fees + sum(amount for amount in amounts if amount is not None)


def _is_beyond(simulation: Simulation) -> bool:
    """Whether usage may be cut off or free, which the order of arrival or the calendar decides."""
    product = simulation.product
    return product.free_trial is not None or any(quota.on_exceed == "block" for quota in product.quotas)


def _usage(charge: ExpandedCharge, made: Sequence[Values]) -> int | None:
    if charge.meter.aggregation not in ("count", "sum") or any(rule.quantity for rule in charge.rules):
        return None
    filters = [charge.meter.where, *(rule.where for rule in charge.rules if rule.multiplier is None)]
    counts = [True] * len(made)
    for text in filters:
        if text is not None:
            counts = [left and right for left, right in zip(counts, holds(text, made), strict=True)]
    if charge.exempt_where is not None:
        exempt = holds(charge.exempt_where, made)
        counts = [left and not right for left, right in zip(counts, exempt, strict=True)]
    if charge.meter.aggregation == "count":
        return sum(counts) * _ONE
    pairs = zip(_quantities(charge, made), counts, strict=True)
    return sum(value for value, is_metered in pairs if is_metered and value is not None)


def _quantities(charge: ExpandedCharge, made: Sequence[Values]) -> Sequence[int | None]:
    """What each transaction adds; None where it lacks what is metered."""
    if charge.meter.quantity is not None:
        values: list[int | None] = evaluated(compile_number(charge.meter.quantity), made).values.to_list()
        return values
    assert charge.meter.element is not None, f"{charge.id} should have been refused: it sums nothing"
    return [number(one, charge.meter.element) for one in made]


def cost(price: Price, usage: int) -> int | None:
    """What this usage of a whole period costs; None where each event has a price of its own.

    >>> cost(PerUnitPrice(unit_price="0.05"), 3_000_000)
    150000000000000000
    """
    match price:
        case PerUnitPrice(unit_price=unit):
            return usage * scaled_price(unit)
        case IncludedPrice(included=included, then=then):
            return cost(then, max(0, usage - scaled_quantity(included)))
        case PackagePrice(package_size=size, package_price=unit):
            return _packages(usage, scaled_quantity(size)) * scaled_price(unit)
        case PercentagePrice():
            return _share(price, usage)
        case GraduatedPrice(tiers=tiers, flat_at_zero=flat) | VolumePrice(tiers=tiers, flat_at_zero=flat) if not usage:
            return _flat(tiers[0]) if flat else 0
        case StairstepPrice(tiers=tiers, flat_at_zero=flat) if not usage:
            return _flat(tiers[0]) if flat else 0
        case GraduatedPrice(tiers=tiers):
            return _graduated(tiers, usage)
        case VolumePrice(tiers=tiers):
            tier = _tier_of(tiers, usage)
            return _flat(tier) + _of_tier(tier, usage)
        case StairstepPrice(tiers=tiers):
            return _flat(_tier_of(tiers, usage))


def _share(price: PercentagePrice, usage: int) -> int | None:
    if price.fixed_amount or price.minimum_amount is not None or price.maximum_amount is not None:
        return None
    if price.rate is not None:
        return usage * scaled_price(price.rate)
    return _graduated(price.tiers or (), usage)


def _graduated(tiers: Iterable[Tier], usage: int) -> int:
    amount = lower = 0
    for tier in tiers:
        if usage <= lower:
            break
        upper = usage if tier.up_to is None else min(usage, scaled_quantity(tier.up_to))
        amount += _flat(tier) + _of_tier(tier, upper - lower)
        lower = upper
    return amount


def _tier_of(tiers: Sequence[Tier], usage: int) -> Tier:
    return next(tier for tier in tiers if tier.up_to is None or usage <= scaled_quantity(tier.up_to))


def _of_tier(tier: Tier, usage: int) -> int:
    """What usage within a tier costs, without its flat amount."""
    quantity = usage if tier.package_size is None else _packages(usage, scaled_quantity(tier.package_size))
    return quantity * scaled_price(tier.unit_price)


def _packages(usage: int, size: int) -> int:
    """Started packages, in micros."""
    return -(-usage // size) * _ONE


def _flat(tier: Tier) -> int:
    return scaled_amount(tier.flat_amount)
