"""The price's cumulative function F(x) (semantics 2), written from its table alone and from no other code."""

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from math import ceil
from typing import Any

from rating.expand import expand
from schemas.catalog import Catalog
from tests.oracle.rated import Rated


def cost(price: Any, usage: Fraction) -> Fraction:
    """F(usage): what a period's usage costs in total; a usage below zero costs what none costs."""
    if usage <= 0:
        return Fraction(0)
    match price.model:
        case "per_unit":
            return Fraction(price.unit_price) * usage
        case "package":
            return ceil(usage / Fraction(price.package_size)) * Fraction(price.package_price)
        case "percentage" if price.rate is not None:
            return Fraction(price.rate) * usage
        case "graduated" | "percentage":
            return sum((_graduated(*bounds, usage) for bounds in _ranges(price.tiers)), Fraction(0))
        case "volume" | "stairstep":
            tier = next(tier for tier in price.tiers if tier.up_to is None or usage <= tier.up_to)
            return _units(tier, usage) * Fraction(tier.unit_price) + Fraction(tier.flat_amount)
        case "included":
            return cost(price.then, usage - Fraction(price.included))
    raise AssertionError(price.model)


def _ranges(tiers: Any) -> list[tuple[Any, Fraction]]:
    """Each tier with its lower bound."""
    lowers = [Fraction(0), *(Fraction(tier.up_to) for tier in tiers[:-1])]
    return list(zip(tiers, lowers, strict=True))


def _graduated(tier: Any, lower: Fraction, usage: Fraction) -> Fraction:
    if usage <= lower:
        return Fraction(0)
    overlap = (usage if tier.up_to is None else min(usage, Fraction(tier.up_to))) - lower
    return _units(tier, overlap) * Fraction(tier.unit_price) + Fraction(tier.flat_amount)


def _units(tier: Any, usage: Fraction) -> Fraction:
    """The usage, or the packages it starts."""
    return usage if tier.package_size is None else Fraction(ceil(usage / Fraction(tier.package_size)))


def wrong_sums(catalog: Catalog, rated: Iterable[Rated]) -> list[str]:
    """Each subscription, charge and period whose amounts do not sum to F of its usage."""
    prices = _prices(catalog)
    return [
        f"{key}: the lines sum to {amount}, F({usage}) is {cost(prices[key[0], key[1]], usage)}"
        for key, (usage, amount) in sums(rated).items()
        if amount != cost(prices[key[0], key[1]], usage)
    ]


def sums(rated: Iterable[Rated]) -> dict[tuple[str, str, Any], tuple[Fraction, Fraction]]:
    """Per subscription, charge and period start: the usage and the amount of all lines."""
    usage: dict[tuple[str, str, Any], Fraction] = defaultdict(Fraction)
    amount: dict[tuple[str, str, Any], Fraction] = defaultdict(Fraction)
    for result in rated:
        for line in result.lines if result.verdict == "rated" else ():
            key = str(result.subscription), line.charge, line.period_start
            amount[key] += line.line.amount
            usage[key] += line.line.usage_after - line.line.usage_before if line.line.kind == "usage" else 0
    return {key: (usage[key], amount[key]) for key in amount}


def _prices(catalog: Catalog) -> dict[tuple[str, str], Any]:
    """The price of each charge of each subscription."""
    products = {product.reference: product for product in catalog.products}
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    return {
        (subscription.id, charge.id): charge.price
        for subscription in catalog.subscriptions
        for charge in expand(products[subscription.product], rules).charges
    }
