"""Snapshots outlive changes of the catalog: what it no longer has is kept aside, and is back when it is."""

import numpy as np
import pytest

from dataflows.connectors.catalog_folder import load_catalog
from rating import wide
from rating.catalog import CompiledCatalog, compile_catalog
from rating.engine import GroupState
from rating.pairs import counter_keys
from rating.usage import fold_quantities
from schemas.catalog import Catalog
from tests.tidy.source import ROOT


@pytest.fixture(scope="module")
def written() -> Catalog:
    return load_catalog(ROOT / "ops" / "catalogs" / "demo")


def usage_by_name(state: GroupState, catalog: CompiledCatalog) -> dict[tuple[str, int], int]:
    """Usage per subscription and period; of the first charge of each."""
    counters = state.counters
    keys = counters.keys[: counters.held].tolist()
    places = {key: wide.to_integers(counters.usage[[row]])[0] for row, key in enumerate(keys)}
    ids = catalog.subscriptions.ids.to_list()
    return {
        (name, period): places[key]
        for row, name in enumerate(ids)
        for period in range(3)
        if (key := first_key(catalog, row, period)) in places
    }


def first_key(catalog: CompiledCatalog, row: int, period: int) -> int:
    charge = catalog.products.first_charge[catalog.subscriptions.product[[row]]]
    return int(counter_keys(catalog, np.array([row]), charge, np.array([period]))[0])


def used(catalog: CompiledCatalog) -> GroupState:
    """A state in which every subscription that has a charge has used something in three periods."""
    state = GroupState.new(0)
    charges = np.diff(catalog.products.first_charge)[catalog.subscriptions.product]
    keys = np.array([first_key(catalog, row, period) for row in np.flatnonzero(charges) for period in range(3)])
    quantity = wide.from_integers(10**20 + number for number in range(len(keys)))
    rows = state.counters.rows_of(keys)
    fold_quantities(state.counters, rows, np.zeros(len(keys), np.uint8), quantity, np.zeros(len(keys), np.int64))
    return state


def test_another_order_and_missing_subscriptions(written):
    whole = compile_catalog(written)
    wanted = usage_by_name(used(whole), whole)
    assert len(wanted) > 30
    kept = written.subscriptions[::-1][: len(written.subscriptions) // 2]
    fewer = compile_catalog(written.model_copy(update={"subscriptions": kept, "credentials": ()}))
    names = {subscription.id for subscription in kept}
    snapshot = used(whole).snapshot(whole)
    for _ in range(3):
        state = GroupState.load(snapshot, fewer)
        assert usage_by_name(state, fewer) == {key: value for key, value in wanted.items() if key[0] in names}
        assert state.orphans is not None
        assert len(state.orphans.charges) <= len(whole.charges.ids)
        snapshot = state.snapshot(fewer)
    again = GroupState.load(snapshot, whole)
    assert usage_by_name(again, whole) == wanted
    assert again.orphans is None
