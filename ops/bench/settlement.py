"""Settling a month of many subscriptions, against one statement of DuckDB over the same line items.

The same ledger is summed by one statement of DuckDB, which has one thread, to what invoice lines need of it, and
settled as `ratemill settle` does, in turns; the figure is the median of the ratios.
"""

import resource
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import duckdb

from dataflows.housekeeping import housekeeping
from dataflows.launcher import run_rating
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.published import published_files_sql
from dataflows.settings import Settings
from dataflows.settlement.closing import Closer
from ops.bench.scenario import Scenario, bench_catalog, traffic_file
from ops.bench.worker import measure
from rating.catalog import compile_catalog
from rating.due import Moments
from rating.periods import parse
from rating.settle import Tariff

_AS_OF = parse("2026-12-01T00:00:00Z")
_SUM = """
    SELECT subscription_id, product_id, product_version, charge_id, line_kind, tier, period_start, currency,
        credential_id, min(unit_price), max(unit_price), sum(quantity), sum(amount)
    FROM line_items GROUP BY ALL
"""


def prepare(folder: str, subscriptions: int, events: int) -> dict[str, Any]:
    """A ledger of that many rated events."""
    place = Path(folder)
    file = traffic_file(Scenario(subscriptions, events), place)
    catalog = bench_catalog(subscriptions, recurring_fee="10", minimum_spend="20")
    ledger = place.resolve() / f"settle-{subscriptions}-{events}"
    shutil.rmtree(ledger, ignore_errors=True)
    run_rating(compile_catalog(catalog), file, [file], ledger, Settings())
    return {"ledger": str(ledger)}


def measure_sum(ledger: str) -> dict[str, Any]:
    """Seconds of one aggregate over the published line items, as analysts see them, to a frame."""
    with duckdb.connect(config={"threads": "1"}) as connection:
        connection.execute(f"CREATE VIEW line_items AS {published_files_sql(Path(ledger), 'line_items')}")
        began = perf_counter()
        rows = connection.sql(_SUM).pl().height
        return {"seconds": perf_counter() - began, "rows": rows}


def measure_settlement(ledger: str, subscriptions: int) -> dict[str, Any]:
    """Seconds of settling a copy of the ledger, its invoices published, and the most memory that was held."""
    written = bench_catalog(subscriptions, recurring_fee="10", minimum_spend="20")
    compiled = compile_catalog(written)
    with tempfile.TemporaryDirectory(dir=Path(ledger).parent) as aside:
        copy = Path(aside) / "ledger"
        shutil.copytree(ledger, copy)
        folder = existing_folder(copy)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = perf_counter()
        closer = Closer(folder, Tariff.of(written, compiled), housekeeping(Settings()))
        closer.close(Moments.both(_AS_OF), folder.settlement_writers())
        seconds = perf_counter() - began
    return {
        "seconds": seconds,
        "most_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "megabytes_before": before / 1024,
        **{name: value for name, value in asdict(closer.progress).items() if isinstance(value, int)},
    }


def measure_settling(scenario: Scenario, repeats: int, folder: Path) -> dict[str, Any]:
    """Aggregate and settlement in turns, each in a process of its own; the ratio is the pairs' median."""
    asked = {"subscriptions": scenario.subscriptions, "events": scenario.events}
    ledger = measure("settle_ledger", folder=folder, **asked)["ledger"]
    rounds = []
    for _ in range(repeats):
        summed = measure("settle_sum", ledger=ledger)
        settled = measure("settle", polars_threads=None, ledger=ledger, subscriptions=scenario.subscriptions)
        assert settled["invoices"] == scenario.subscriptions, settled
        rounds.append({**settled, "sum_seconds": summed["seconds"], "ratio": settled["seconds"] / summed["seconds"]})
    shutil.rmtree(ledger)
    names = ("seconds", "sum_seconds", "ratio", "most_megabytes", "invoices", "lines")
    return {**asked, **{name: median(one[name] for one in rounds) for name in names}, "rounds": rounds}
