"""What lanes share: the catalog, which must never change under them."""

import numpy as np

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.steps.decode import decode_chunk
from rating.catalog import compile_catalog
from rating.engine import LaneState, RatingSettings, admit
from rating.periods import FoundPeriods
from tests.tidy.source import ROOT

EVENT = b'{"id": "1", "source": "search-gateway", "subscription": "finance-search", "time": "2026-11-20T09:00:00Z"}\n'


def test_what_a_lane_has_found_is_its_own():
    """Lanes run in threads of their own: a look-up that wrote into the catalog could give one the other's period."""
    catalog = compile_catalog(load_catalog(ROOT / "ops" / "catalogs" / "demo"))
    lanes = [admit(LaneState.new(), decode_chunk(EVENT, 0, 0, catalog), catalog, RatingSettings())[0] for _ in range(2)]
    assert lanes[0].found is not lanes[1].found
    assert all(isinstance(found, FoundPeriods) and found.periods.any() for lane in lanes for found in lane.found)


def test_a_remembered_period_is_the_period():
    catalog = compile_catalog(load_catalog(ROOT / "ops" / "catalogs" / "demo"))
    clocks = catalog.subscriptions.clocks
    random = np.random.default_rng(1)
    found = FoundPeriods.none(len(clocks.anchor))
    for _ in range(20):
        rows = random.integers(0, len(clocks.anchor), 200)
        moments = clocks.anchor[rows] + random.integers(0, 3 * 10**13, 200)
        remembered, plain = clocks.periods_of(rows, moments, found), clocks.periods_of(rows, moments)
        assert all((one == other).all() for one, other in zip(remembered, plain, strict=True))
        assert (clocks.numbers_of(rows, moments) == plain[0]).all()
