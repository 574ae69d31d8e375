"""The core alone: decoded batches through `admit`, `rate` and `assemble`, no flow, no files.

The first part of the traffic lets every subscription be seen once and is not measured; a flow is in that state nearly
all of its life.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from dataflows.steps.decode import decode_chunk
from ops.bench.scenario import BATCH_RECORDS, KEY_GROUPS, bench_catalog
from ops.bench.stopwatch import Stopwatch
from rating import line_rows
from rating.catalog import CompiledCatalog, compile_catalog
from rating.engine import Admitted, GroupState, LaneState, Outcome, RatingSettings, admit, assemble, rate

STEPS = ("decode", "admit", "rate", "assemble", "price")
_RATE, _PRICE = STEPS.index("rate"), STEPS.index("price")


def measure_core(
    path: Path, subscriptions: int, batch_records: int = BATCH_RECORDS, product: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Microseconds per event of each step, and the state's size; `product` are more keys of the product.

    The times are medians over batches, the first third of them left out. `price` is the part of `assemble` that makes
    lines and amounts of usage; the rest of it names them. `core` is rating proper: `rate` and `price`. `whole` is all
    but the decoding.
    """
    written = bench_catalog(subscriptions, **product or {})  # stays, as in `ratemill rate`; see `flow`
    catalog = compile_catalog(written)
    settings = RatingSettings(key_groups=KEY_GROUPS)
    lane, groups = LaneState.new(), [GroupState.new(number) for number in range(KEY_GROUPS)]
    pricing = Stopwatch()
    pricing.watch(line_rows, "lines_of", "price")
    taken: list[list[float]] = []
    seen: list[pl.Series] = []
    lines = notifications = 0
    for number, chunk in enumerate(batches(path, batch_records)):
        marks = [perf_counter()]
        batch = decode_chunk(chunk, 0, number * batch_records, catalog)
        marks.append(perf_counter())
        lane, admitted = admit(lane, batch, catalog, settings)
        marks.append(perf_counter())
        rated = _rate(groups, admitted, catalog, settings)
        marks.append(perf_counter())
        outcome: Outcome = assemble(rated, catalog)
        marks.append(perf_counter())
        steps = [*np.diff(marks).tolist(), pricing.seconds.pop("price")]
        taken.append([1e6 * step / admitted.received for step in steps])
        seen.append(outcome.line_items["subscription_id"].unique())
        lines += len(outcome.line_items)
        notifications += len(outcome.notifications)
    steady = np.array(taken[len(taken) // 3 :])
    return {
        **dict(zip(STEPS, map(median, steady.T.tolist()), strict=True)),
        "core": median((steady[:, _RATE] + steady[:, _PRICE]).tolist()),
        "whole": median(steady[:, 1:_PRICE].sum(axis=1).tolist()),
        "line_items": lines,
        "notifications": notifications,
        "subscriptions_seen": pl.concat(seen).n_unique(),
        "state_bytes": sum(len(state.snapshot(catalog)) for state in groups),
    }


def _rate(
    groups: list[GroupState], admitted: Admitted, catalog: CompiledCatalog, settings: RatingSettings
) -> list[Any]:
    rated = []
    for number, share in admitted.shares:
        groups[number], one = rate(groups[number], share, catalog, settings)
        rated.append(one)
    return rated


def batches(path: Path, height: int) -> Iterator[bytes]:
    """The file in pieces of `height` whole lines."""
    with path.open("rb") as file:
        while lines := list(islice(file, height)):
            yield b"".join(lines)
