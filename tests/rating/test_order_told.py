"""The last verdict told of a quota is the last one rated, in whatever order the shares of key groups come together."""

import json
import pickle
from itertools import permutations

import numpy as np
import pytest

from dataflows.steps.decode import decode
from rating.batch import key_group_of
from rating.catalog import CompiledCatalog, compile_catalog
from rating.engine import Admitted, GroupState, LaneState, Rated, RatingSettings, admit, assemble, rate
from schemas.catalog import Catalog

SETTINGS = RatingSettings(key_groups=2)
NAMES = {key_group_of(name, 2): name for name in "stuvwx"}


@pytest.fixture(scope="module")
def catalog() -> CompiledCatalog:
    product = {"id": "p", "version": "1.0.0", "currency": "USD", "settlement_period": "month"}
    product |= {"quotas": [{"name": "calls", "limit": "10", "on_exceed": "block", "notify_at": ["0.5"]}]}
    start = {"product": "p@1.0.0", "subscriber": "p@x.example", "start": "2026-01-01T00:00:00Z"}
    subscriptions = [{"id": name} | start for name in NAMES.values()]
    return compile_catalog(Catalog.model_validate({"products": [product], "subscriptions": subscriptions}))


def admitted(catalog: CompiledCatalog, partition: int, counts: dict[int, int]) -> Admitted:
    records = [
        json.dumps(
            {
                "id": f"{partition}-{group}-{n}",
                "source": "a",
                "subscription": NAMES[group],
                "time": "2026-02-05T00:00:00Z",
            }
        )
        for group, count in counts.items()
        for n in range(count)
    ]
    offsets = np.arange(len(records), dtype=np.int64)
    decoded = decode([record.encode() for record in records], partition, offsets, catalog, None)
    return admit(LaneState.new(), decoded, catalog, SETTINGS)[1]


@pytest.mark.parametrize("through_another_process", [False, True])
def test_the_last_verdict_is_the_last_rated(catalog, through_another_process):
    batches = [admitted(catalog, 0, {0: 4, 1: 6}), admitted(catalog, 1, {0: 6, 1: 4})]
    # One key group rates the first batch first, the other the second.
    orders = {0: (0, 1), 1: (1, 0)}
    rated: dict[tuple[int, int], Rated] = {}
    for group, order in orders.items():
        state = GroupState.new(group)
        for place, batch in enumerate(order):
            state, rated[group, place] = rate(state, dict(batches[batch].shares)[group], catalog, SETTINGS)
    for arrival in permutations(rated):
        if any(arrival.index((group, 0)) > arrival.index((group, 1)) for group in orders):
            continue
        shares = [rated[one] for one in arrival]
        outcome = assemble(pickle.loads(pickle.dumps(shares)) if through_another_process else shares, catalog)
        for name in NAMES.values():
            told = outcome.quota_verdicts.filter(subscription_id=name)
            assert told["usage"].is_sorted()
            assert told["verdict"][-1] == "blocked"
            shares_told = outcome.notifications.filter(subscription_id=name)["kind"].to_list()
            assert shares_told == ["quota_threshold", "quota_reached"]
