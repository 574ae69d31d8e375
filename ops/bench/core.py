"""The core alone: decoded batches through `admit` and `rate`, no flow, no files.

The first part of the traffic lets every subscription be seen once and is not measured; a flow is in that state nearly
all of its life.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from dataflows.steps.decode import decode
from ops.bench.scenario import BATCH_RECORDS, KEY_GROUPS, bench_catalog
from rating.catalog import compile_catalog
from rating.engine import GroupState, LaneState, RatingSettings, admit, rate


def measure_core(path: Path, subscriptions: int, batch_records: int = BATCH_RECORDS) -> dict[str, Any]:
    """Microseconds per event of decode, admit and rate, and the state's size.

    The times are medians over batches, the first third of them left out.
    """
    catalog = compile_catalog(bench_catalog(subscriptions))
    settings = RatingSettings(key_groups=KEY_GROUPS)
    lane, groups = LaneState.new(), [GroupState.new(number) for number in range(KEY_GROUPS)]
    taken: list[tuple[float, float, float]] = []
    rated = 0
    for first, records in batches(path, batch_records):
        begun = perf_counter()
        batch = decode(records, 0, np.arange(first, first + len(records)), catalog)
        decoded = perf_counter()
        lane, admitted = admit(lane, batch, catalog, settings)
        shared = perf_counter()
        for number, share in admitted.shares:
            groups[number], outcome = rate(groups[number], share, catalog, settings)
            rated += outcome.line_items.height
        done = perf_counter()
        taken.append(tuple(1e6 * part / len(records) for part in (decoded - begun, shared - decoded, done - shared)))
    steady = np.array(taken[len(taken) // 3 :])
    snapshots = [state.snapshot() for state in groups]
    return {
        **dict(zip(("decode", "admit", "rate"), (median(column) for column in steady.T.tolist()), strict=True)),
        "core": median(steady[:, 1:].sum(axis=1).tolist()),
        "line_items": rated,
        "state_bytes": sum(map(len, snapshots)),
    }


def batches(path: Path, height: int) -> Iterator[tuple[int, list[bytes]]]:
    """(first offset, records) of the file, `height` records each."""
    with path.open("rb") as file:
        first = 0
        while records := [line.rstrip(b"\n") for line in islice(file, height)]:
            yield first, records
            first += len(records)
