"""From a product as it is sold to what is rated: payment models become fees and charges.

The rule: only the expansion is rated. A shorthand and the fees and charges it stands for are the same product.

>>> from schemas.catalog import Product
>>> product = Product.model_validate({"id": "p", "version": "1.0.0", "currency": "USD", "settlement_period": "month",
...     "payment_model": "subscription_overage", "recurring_fee": "10", "included": 100, "overage_rate": "0.02"})
>>> expanded = expand(product, {})
>>> expanded.fees[0].amount, expanded.charges[0].id, expanded.charges[0].price.model
(Decimal('10'), 'usage', 'included')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from schemas.catalog import Product
from schemas.prices import (
    COUNT,
    Charge,
    GraduatedPrice,
    IncludedPrice,
    Meter,
    PaidPrice,
    PerUnitPrice,
    Price,
    PricingRule,
    VolumePrice,
)

SHORTHAND_CHARGE = "usage"


@dataclass(frozen=True, slots=True)
class Fee:
    """An amount that usage has no part in.

    `bill` says on which invoice of a period it stands; a one-time fee is billed on purchase. `once_per` says how often
    it is due: every period, or once per subscription or organization.
    """

    kind: Literal["recurring", "setup", "one_time"]
    amount: Decimal
    bill: Literal["in_advance", "in_arrears", "on_purchase"]
    once_per: Literal["period", "subscription", "organization"]


@dataclass(frozen=True, slots=True)
class ExpandedCharge:
    """A charge with everything that decides how it is metered and priced."""

    id: str
    meter: Meter
    price: Price
    rules: tuple[PricingRule, ...]
    exempt_where: str | None
    minimum_spend: Decimal | None
    maximum_spend: Decimal | None


@dataclass(frozen=True, slots=True)
class ExpandedProduct:
    """A product version as it is rated and settled."""

    product_id: str
    version: str
    fees: tuple[Fee, ...]
    charges: tuple[ExpandedCharge, ...]
    minimum_spend: Decimal | None = None
    maximum_spend: Decimal | None = None


def expand(product: Product, rules: Mapping[str, PricingRule]) -> ExpandedProduct:
    """The fees and charges of a product that passed the lint; `rules` holds the catalog's pricing rules by id."""
    listed = tuple(rules[rule] for rule in product.pricing_rules)
    charges = (*_shorthand_charges(product), *product.charges)
    return ExpandedProduct(
        product_id=product.id,
        version=product.version,
        fees=_fees(product),
        charges=tuple(_with_rules(charge, listed, product.exempt_where) for charge in charges),
        minimum_spend=product.minimum_spend,
        maximum_spend=product.maximum_spend,
    )


def _with_rules(charge: Charge, rules: tuple[PricingRule, ...], exempt_where: str | None) -> ExpandedCharge:
    return ExpandedCharge(
        charge.id, charge.meter, charge.price, rules, exempt_where, charge.minimum_spend, charge.maximum_spend
    )


def _fees(product: Product) -> tuple[Fee, ...]:
    fees = []
    if product.payment_model == "one_time":
        assert product.amount is not None, f"{product.reference} should have been refused: it has no amount"
        fees.append(Fee("one_time", product.amount, "on_purchase", "subscription"))
    if product.setup_fee:
        fees.append(Fee("setup", product.setup_fee.amount, "on_purchase", product.setup_fee.once_per))
    if product.recurring_fee:
        fees.append(Fee("recurring", product.recurring_fee.amount, product.recurring_fee.bill, "period"))
    return tuple(fees)


def _shorthand_charges(product: Product) -> tuple[Charge, ...]:
    match product.payment_model:
        case None | "one_time" | "subscription":
            return ()
        case "transactional":
            price: Price = _per_unit(product, product.rate)
        case "subscription_overage":
            price = _beyond_included(product, _per_unit(product, product.overage_rate))
        case "volume":
            price = _beyond_included(product, _tiered(product))
    return (Charge(id=SHORTHAND_CHARGE, meter=COUNT, price=price),)


def _per_unit(product: Product, rate: Decimal | None) -> PerUnitPrice:
    assert rate is not None, f"{product.reference} should have been refused: it has no rate"
    return PerUnitPrice(unit_price=rate)


def _tiered(product: Product) -> GraduatedPrice | VolumePrice:
    assert product.tiers, f"{product.reference} should have been refused: it has no tiers"
    model = VolumePrice if product.tier_mode == "volume" else GraduatedPrice
    return model(tiers=product.tiers)


def _beyond_included(product: Product, price: PaidPrice) -> Price:
    return price if product.included is None else IncludedPrice(included=product.included, then=price)
