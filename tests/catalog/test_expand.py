"""Golden expansions: each payment model as the fees and charges it stands for."""

from decimal import Decimal

import pytest

from rating.expand import Fee, expand
from schemas.catalog import Product
from schemas.prices import COUNT, GraduatedPrice, IncludedPrice, PerUnitPrice, PricingRule, Tier, VolumePrice

TIERS = [{"up_to": "100", "unit_price": "0.10"}, {"up_to": "200", "unit_price": "0.05", "flat_amount": "1"}, {}]
TIER_MODELS = tuple(Tier.model_validate(tier) for tier in TIERS)
RECURRING = Fee("recurring", Decimal("99"), "in_arrears", "period")


def product(**keys):
    base = {"id": "p", "version": "1.0.0", "currency": "USD", "settlement_period": "month"}
    return Product.model_validate(base | keys)


GOLDEN = {
    "one_time": (
        {"payment_model": "one_time", "amount": "249"},
        [Fee("one_time", Decimal("249"), "on_purchase", "subscription")],
        [],
    ),
    "transactional": ({"payment_model": "transactional", "rate": "0.02"}, [], [PerUnitPrice(unit_price="0.02")]),
    "subscription": ({"payment_model": "subscription", "recurring_fee": {"amount": "99"}}, [RECURRING], []),
    "subscription, in advance": (
        {"payment_model": "subscription", "recurring_fee": {"amount": "99", "bill": "in_advance"}},
        [Fee("recurring", Decimal("99"), "in_advance", "period")],
        [],
    ),
    "subscription_overage": (
        {"payment_model": "subscription_overage", "recurring_fee": 99, "included": 1000, "overage_rate": "0.01"},
        [RECURRING],
        [IncludedPrice(included="1000", then=PerUnitPrice(unit_price="0.01"))],
    ),
    "subscription_overage, nothing included": (
        {"payment_model": "subscription_overage", "recurring_fee": "99", "overage_rate": "0.01"},
        [RECURRING],
        [PerUnitPrice(unit_price="0.01")],
    ),
    "volume": ({"payment_model": "volume", "tiers": TIERS}, [], [GraduatedPrice(tiers=TIER_MODELS)]),
    "volume, by volume": (
        {"payment_model": "volume", "recurring_fee": "99", "tiers": TIERS, "tier_mode": "volume"},
        [RECURRING],
        [VolumePrice(tiers=TIER_MODELS)],
    ),
    "volume, some included": (
        {"payment_model": "volume", "tiers": TIERS, "tier_mode": "graduated", "included": "50"},
        [],
        [IncludedPrice(included="50", then=GraduatedPrice(tiers=TIER_MODELS))],
    ),
    "setup fee per organization": (
        {"payment_model": "transactional", "rate": "1", "setup_fee": {"amount": "25", "once_per": "organization"}},
        [Fee("setup", Decimal("25"), "on_purchase", "organization")],
        [PerUnitPrice(unit_price="1")],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_payment_model_stands_for_fees_and_charges(name):
    keys, fees, prices = GOLDEN[name]
    expanded = expand(product(**keys), {})
    assert list(expanded.fees) == fees
    assert [charge.price for charge in expanded.charges] == prices
    assert [(charge.id, charge.meter) for charge in expanded.charges] == [("usage", COUNT)] * len(prices)


def test_charges_come_after_the_shorthand_and_all_have_the_products_rules():
    rule = PricingRule(id="eu", where="region = 'eu'", multiplier="1.2")
    charge = {
        "id": "tokens",
        "meter": {"aggregation": "sum", "element": "tokens"},
        "price": {"model": "per_unit", "unit_price": "0.1"},
        "minimum_spend": "5",
    }
    keys = {"payment_model": "transactional", "rate": "1", "charges": [charge], "pricing_rules": ["eu"]}
    expanded = expand(product(**keys, exempt_where=None, maximum_spend="7"), {"eu": rule, "other": rule})
    assert [one.id for one in expanded.charges] == ["usage", "tokens"]
    assert [one.rules for one in expanded.charges] == [(rule,), (rule,)]
    assert {one.exempt_where for one in expanded.charges} == {None}
    assert [one.minimum_spend for one in expanded.charges] == [None, Decimal("5")]
    assert (expanded.minimum_spend, expanded.maximum_spend) == (None, Decimal("7"))


def test_failed_calls_are_exempt_unless_the_product_says_otherwise():
    keys = {"payment_model": "transactional", "rate": "1"}
    assert expand(product(**keys), {}).charges[0].exempt_where == "status >= 500"
    assert expand(product(**keys, exempt_where="status <> 200"), {}).charges[0].exempt_where == "status <> 200"
    assert expand(product(**keys, exempt_where=None), {}).charges[0].exempt_where is None


def test_an_expansion_without_its_keys_is_our_own_error():
    with pytest.raises(AssertionError, match=r"p@1\.0\.0 should have been refused"):
        expand(product(payment_model="transactional"), {})
