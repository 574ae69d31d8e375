"""What the elements of simulated transactions may say, so that the charges and quotas of a product meter them.

Owns: which elements a product looks at, the bounds of usage they lead to, and the constants they are compared with.
Does not own which value a transaction has. The rule: everything follows from the product as it is sold.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rating.expand import expand
from rating.expressions import Expression, compile_boolean, compile_number
from schemas.catalog import Product
from schemas.decimals import QUANTITY_SCALE, scaled_quantity
from schemas.prices import COUNT, IncludedPrice, Meter, PackagePrice, PercentagePrice, Price, PricingRule

WHOLE: int = 10**QUANTITY_SCALE
_CENT, _THOUSANDTH = WHOLE // 100, WHOLE // 1_000
_CONTINUOUS = ("_gb", "_mb", "_kb", "_hours", "_minutes", "_seconds", "_km")

Use = Literal["summed", "valued", "compared"]


@dataclass(frozen=True, slots=True)
class SimulatedElement:
    """One element. Quantities are micros.

    `use`: meters add it up, meters take it as it is (the greatest, distinct ones ...), or only conditions look at it.
    `unit` is the least step of a number; `bounds` are where prices and quotas change, ascending; `constants` are
    what conditions compare it with.
    """

    name: str
    is_text: bool
    use: Use
    unit: int
    bounds: tuple[int, ...]
    constants: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Metered:
    """One way of metering: of a charge, with its price, or of a quota, with its limit."""

    meter: Meter
    bounds: tuple[int, ...]
    expressions: tuple[Expression, ...]
    is_money: bool = False


def metered(product: Product, rules: Mapping[str, PricingRule]) -> list[Metered]:
    """How the charges and quotas of a product meter events."""
    found = []
    for charge in expand(product, rules).charges:
        of_rules = [(rule.where, (rule.multiplier, rule.quantity)) for rule in charge.rules]
        texts = _expressions(charge.meter, charge.exempt_where, of_rules)
        found.append(Metered(charge.meter, bounds_of(charge.price), texts, _is_money(charge.price)))
    for quota in product.quotas:
        meter = quota.meter or COUNT
        found.append(Metered(meter, (scaled_quantity(quota.limit),), _expressions(meter, None, ())))
    return found


def _expressions(
    meter: Meter, exempt: str | None, rules: Iterable[tuple[str | None, tuple[str | None, ...]]]
) -> tuple[Expression, ...]:
    conditions = [meter.where, exempt]
    numbers = [meter.quantity]
    for where, values in rules:
        conditions.append(where)
        numbers += values
    return (
        *(compile_boolean(text) for text in conditions if text is not None),
        *(compile_number(text) for text in numbers if text is not None),
    )


def _is_money(price: Price) -> bool:
    return isinstance(price.then if isinstance(price, IncludedPrice) else price, PercentagePrice)


def bounds_of(price: Price) -> tuple[int, ...]:
    """The usage (micros, ascending) up to which something costs what it does, above zero."""
    if isinstance(price, IncludedPrice):
        free = scaled_quantity(price.included)
        return tuple(sorted({free, *(free + bound for bound in bounds_of(price.then))} - {0}))
    if isinstance(price, PackagePrice):
        return (scaled_quantity(price.package_size),)
    tiers = getattr(price, "tiers", None) or ()
    return tuple(scaled_quantity(tier.up_to) for tier in tiers if tier.up_to is not None)


def elements_of(product: Product, rules: Mapping[str, PricingRule]) -> tuple[tuple[str, str], ...]:
    """The elements that the product looks at, each with "number" or "text", by name; `status` is always there."""
    found: set[tuple[str, str]] = {("status", "number")}
    for way in metered(product, rules):
        if way.meter.element is not None:
            found.add((way.meter.element, "text" if way.meter.aggregation == "unique" else "number"))
        found |= {element for expression in way.expressions for element in expression.elements}
    return tuple(sorted(found))


def simulated_elements(product: Product, rules: Mapping[str, PricingRule]) -> tuple[SimulatedElement, ...]:
    """The same, with all that decides their values."""
    ways = metered(product, rules)
    bounds: defaultdict[str, set[int]] = defaultdict(set)
    uses: defaultdict[str, set[Use]] = defaultdict(set)
    constants: defaultdict[str, set[int | str]] = defaultdict(set)
    money, read = set(), set()
    for way in ways:
        use: Use = "summed" if way.meter.aggregation == "sum" else "valued"
        quantities = {name for one in way.expressions if not one.is_condition for name, _ in one.elements}
        read |= quantities
        for name in quantities | ({way.meter.element} if way.meter.element else set()):
            uses[name].add(use)
            bounds[name] |= set(way.bounds)
        if way.is_money and way.meter.element:
            money.add(way.meter.element)
        for expression in way.expressions:
            for name, constant in expression.compared:
                constants[name].add(constant)
    kinds = defaultdict(set)
    for name, kind in elements_of(product, rules):
        kinds[name].add(kind)
    return tuple(
        SimulatedElement(
            name,
            "number" not in kinds[name],
            _use(uses[name]),
            _unit(name, name in money, name in read),
            tuple(sorted(bounds[name])),
            tuple(sorted(constants[name], key=lambda value: (isinstance(value, str), value))),
        )
        for name in sorted(kinds)
    )


def _use(uses: set[Use]) -> Use:
    if "summed" in uses:
        return "summed"
    return "valued" if uses else "compared"


def _unit(name: str, is_money: bool, in_formula: bool) -> int:
    """Formulas may multiply, and a product of fractions may have more digits than a quantity has."""
    if in_formula:
        return WHOLE
    if is_money:
        return _CENT
    return _THOUSANDTH if name.endswith(_CONTINUOUS) else WHOLE
