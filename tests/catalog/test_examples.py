"""The example catalogs are sound, and Pharma House is the scenario of the key concepts."""

from collections import Counter
from pathlib import Path

import pytest

from dataflows.connectors.catalog_folder import check, load_catalog
from rating.catalog import compile_catalog
from schemas.catalog import version_key

EXAMPLES = Path(__file__).parents[2] / "ops" / "catalogs"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_every_example_passes_without_a_warning(name):
    assert check(EXAMPLES / name) == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_example_may_replace_itself(name):
    assert check(EXAMPLES / name, against=EXAMPLES / name) == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_example_compiles_to_one_digest(name):
    catalog = load_catalog(EXAMPLES / name)
    assert compile_catalog(catalog).digest == compile_catalog(load_catalog(EXAMPLES / name)).digest


def test_pharma_house_has_the_counts_of_the_scenario():
    catalog = load_catalog(EXAMPLES / "pharma-house")
    assert len(catalog.sources) == 5
    assert len(catalog.subscribers) == 2
    assert [product.name for product in catalog.products] == ["Platinum Unlimited"]
    assert len(catalog.subscriptions) == 2
    assert len(catalog.credentials) == 6


def test_pharma_house_relates_them_as_the_scenario_does():
    catalog = load_catalog(EXAMPLES / "pharma-house")
    (platinum,) = catalog.products
    assert set(platinum.sources) == {source.id for source in catalog.sources}
    assert {one.product for one in catalog.subscriptions} == {platinum.reference}
    first, second = catalog.subscriptions
    assert [first.subscriber, second.subscriber] == [one.email for one in catalog.subscribers]
    assert Counter(one.subscription for one in catalog.credentials) == {first.id: 5, second.id: 1}
    owners = {one.id: one.subscriber for one in catalog.subscriptions}
    assert all(one.subscriber == owners[one.subscription] for one in catalog.credentials)


def test_the_demo_shows_every_payment_model_price_and_meter():
    catalog = load_catalog(EXAMPLES / "demo")
    assert {product.payment_model for product in catalog.products} == {
        "one_time", "transactional", "subscription", "subscription_overage", "volume", None
    }  # fmt: skip
    charges = [charge for product in catalog.products for charge in product.charges]
    prices = [charge.price for charge in charges]
    prices += [price.then for price in prices if price.model == "included"]
    assert {price.model for price in prices} == {
        "per_unit", "graduated", "volume", "package", "stairstep", "percentage", "included"
    }  # fmt: skip
    assert {charge.meter.aggregation for charge in charges} == {
        "count", "sum", "max", "latest", "unique", "average"
    }  # fmt: skip
    modes = {product.reference: product.settlement_period.test_mode for product in catalog.products}
    assert {modes[one.product] for one in catalog.subscriptions} == {None, "5min", "5min_synthetic"}
    for one in catalog.subscriptions:
        begin = one.start.isoformat()
        assert begin == "2026-11-07T07:30:00+00:00" if modes[one.product] else begin < "2026-11-01"


def test_versions_sort_as_numbers():
    assert sorted(["1.10.0", "1.9.0", "0.20.1"], key=version_key) == ["0.20.1", "1.9.0", "1.10.0"]
