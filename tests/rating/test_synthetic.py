"""Simulated transactions: repeatable, marked, within the hour, and of quantities that the product meters."""

from collections import Counter
from datetime import timedelta

import pytest

from dataflows.connectors.catalog_folder import load_catalog
from rating.catalog import compile_catalog
from rating.synthetic import HOUR, PERIOD, PERIODS, Pace, Shape, simulations, transactions
from rating.synthetic_totals import cost, totals
from schemas.prices import (
    GraduatedPrice,
    IncludedPrice,
    PackagePrice,
    PercentagePrice,
    StairstepPrice,
    Tier,
    VolumePrice,
)
from schemas.products import SettlementPeriod
from tests.ops.ratemill import ROOT

BOTH = ("5min", "5min_synthetic")
UNIT = 10**18
USUAL = Pace()


def as_tests(catalog):
    """A catalog whose every product is in a test mode."""
    period = SettlementPeriod.model_validate("5min_synthetic")
    changed = [one.model_copy(update={"settlement_period": period, "free_trial": None}) for one in catalog.products]
    return catalog.model_copy(update={"products": changed})


@pytest.fixture(scope="module")
def demo():
    return load_catalog(ROOT / "ops/catalogs/demo")


def simulated(catalog, pace=USUAL, modes=BOTH):
    return simulations(catalog, compile_catalog(catalog), pace, modes)


def whole_hour(simulation):
    return [one for period in range(PERIODS) for one in transactions(simulation, period)]


def test_both_modes_are_there_and_only_one_is_simulated_by_itself(demo):
    assert [one.subscription.id for one in simulated(demo)] == ["birch-tryout", "fir-tryout"]
    assert [one.subscription.id for one in simulations(demo, compile_catalog(demo), Pace())] == ["fir-tryout"]


@pytest.mark.parametrize("shape", Shape)
def test_they_are_repeatable_marked_ordered_and_within_their_periods(demo, shape):
    (simulation,) = simulated(demo, Pace(shape=shape), ("5min_synthetic",))
    hour = whole_hour(simulation)
    assert hour == whole_hour(simulation)
    ids = [one.event["id"] for one in hour]
    assert len(set(ids)) == len(ids) > 100
    assert all(one.event["synthetic"] is True for one in hour)
    assert [one.moment for one in hour] == sorted(one.moment for one in hour)
    for period in range(PERIODS):
        begin = simulation.start + period * PERIOD
        assert all(begin <= one.moment < begin + PERIOD for one in transactions(simulation, period))
    assert {one.event["credential"] for one in hour} == {"key20-alerts", "key21-digest"}


def test_a_number_makes_others_of_them_and_so_does_another_start(demo):
    (first,), (other,) = (simulated(demo, Pace(seed=seed), ("5min_synthetic",)) for seed in (0, 1))
    fir = demo.subscriptions[-1]
    moved = fir.model_copy(update={"start": fir.start + timedelta(days=1)})
    (later,) = simulated(
        demo.model_copy(update={"subscriptions": (*demo.subscriptions[:-1], moved)}), modes=("5min_synthetic",)
    )
    ids = [{one.event["id"] for one in whole_hour(each)} for each in (first, other, later)]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]


def test_the_rate_is_what_was_asked_for_and_bursts_leave_pauses(demo):
    for rate in (12, 240):
        (simulation,) = simulated(demo, Pace(rate=rate), ("5min_synthetic",))
        assert rate * 60 * 0.85 < len(whole_hour(simulation)) < rate * 60 * 1.15
    (simulation,) = simulated(demo, Pace(shape=Shape.BURSTS), ("5min_synthetic",))
    seconds = Counter(one.moment // 1_000_000 for one in whole_hour(simulation))
    assert len(seconds) <= PERIODS * 3 * 6


def test_the_tail_is_heavy(demo):
    (simulation,) = simulated(demo, Pace(shape=Shape.HEAVY_TAIL), ("5min_synthetic",))
    sizes = sorted((one.values["segments"] for one in whole_hour(simulation)), reverse=True)
    assert sum(sizes[: len(sizes) // 10]) * 3 > sum(sizes)


def test_totals_lie_on_before_and_behind_each_bound(demo):
    reached = {
        (each.subscription.id, one.charge, one.usage // 10**6)
        for each in simulated(demo, Pace(shape=Shape.TIER_BOUNDS))
        for one in totals(each)
    }
    for bound in (100, 200, 250):
        assert {("birch-tryout", "usage", near) for near in (bound - 1, bound, bound + 1)} <= reached
    assert {("fir-tryout", "segments", near) for near in (499, 500, 501)} <= reached


def test_a_subscription_that_ends_early_has_none_afterwards(demo):
    fir = demo.subscriptions[-1]
    ended = fir.model_copy(update={"end": fir.start + timedelta(minutes=12)})
    (simulation,) = simulated(
        demo.model_copy(update={"subscriptions": (*demo.subscriptions[:-1], ended)}), modes=("5min_synthetic",)
    )
    assert simulation.periods == 3
    assert max(one.moment for one in whole_hour(simulation)) < simulation.start + HOUR // 5


@pytest.mark.parametrize("name", ["demo", "pharma-house", "ai-platform"])
@pytest.mark.parametrize("shape", Shape)
def test_every_source_and_charge_of_every_example_is_used(name, shape):
    catalog = as_tests(load_catalog(ROOT / "ops/catalogs" / name))
    for simulation in simulated(catalog, Pace(rate=20, shape=shape)):
        hour = whole_hour(simulation)
        assert {one.event["source"] for one in hour} == set(simulation.product.sources)
        for charge in simulation.expanded.charges:
            known = [one for one in totals(simulation) if one.charge == charge.id]
            assert len(known) == PERIODS
            assert all(one.usage is None or one.usage >= 0 for one in known)


def test_costs_are_those_of_the_worked_examples():
    tiers = (Tier(up_to="100", unit_price="0.10"), Tier(unit_price="0.05"))
    packages = (
        *(
            Tier(up_to=str(up_to), unit_price=str(price), package_size="100")
            for up_to, price in ((100, 100), (200, 90))
        ),
        Tier(up_to="300", unit_price="80", package_size="100"),
        Tier(unit_price="0.70"),
    )
    stairs = (Tier(up_to="10", flat_amount="5"), Tier(flat_amount="9"))
    for price, usage, amount in [
        (GraduatedPrice(tiers=tiers), 150, 1250),
        (VolumePrice(tiers=tiers), 150, 750),
        (GraduatedPrice(tiers=packages), 101, 19000),
        (GraduatedPrice(tiers=packages), 350, 30500),
        (StairstepPrice(tiers=stairs), 10, 500),
        (StairstepPrice(tiers=stairs), 11, 900),
        (StairstepPrice(tiers=stairs), 0, 0),
        (StairstepPrice(tiers=stairs, flat_at_zero=True), 0, 500),
        (PackagePrice(package_size="10", package_price="0.25"), 11, 50),
        (IncludedPrice(included="100", then=PackagePrice(package_size="10", package_price="0.25")), 101, 25),
        (IncludedPrice(included="100", then=PackagePrice(package_size="10", package_price="0.25")), 100, 0),
        (PercentagePrice(tiers=tiers), 150, 1250),
    ]:
        assert cost(price, usage * 10**6) == amount * UNIT // 100, (price, usage)
    assert cost(PercentagePrice(rate="0.01", fixed_amount="0.25"), 10**6) is None
