"""File -> ledger through the launcher, recovery on, one worker; and the same ledger taken up again in a new process."""

from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from dataflows import rating as flow
from dataflows.connectors import files
from dataflows.connectors import ledger as sink
from dataflows.connectors.records import LineRecords
from dataflows.launcher import Summary, run_rating
from dataflows.ledger.writer import LedgerWriter
from dataflows.settings import Settings
from ops.bench.scenario import KEY_GROUPS, bench_catalog
from ops.bench.stopwatch import Stopwatch, peak_memory, present_memory
from rating.catalog import CompiledCatalog, compile_catalog
from schemas.catalog import Catalog

# Where each stage of the flow happens; a name that has moved fails here, loudly.
_STAGES = (
    (LineRecords, "read", "read"),
    (files, "decode_chunk", "decode"),
    (files, "admit", "admit"),
    (flow, "rate", "rate"),
    (sink, "assemble", "price"),
    (LedgerWriter, "append", "write"),
    (LedgerWriter, "seal", "write"),
    (LedgerWriter, "publish", "write"),
    (flow.KeyGroup, "snapshot", "snapshot"),
)


def measure_flow(path: str, subscriptions: int, ledger: str) -> dict[str, Any]:
    """One run from the first byte to the last published file.

    `per_second` is by the wall clock; `cpu` and `stages` are microseconds of CPU time per event.
    """
    # `written` stays, as in `ratemill rate`: freed, it leaves memory in pieces, and decoding takes a third longer.
    written = bench_catalog(subscriptions)
    catalog, catalog_seconds = _compiled(written)
    watch = Stopwatch()
    for owner, name, stage in _STAGES:
        watch.watch(owner, name, stage)
    before, cpu_before = present_memory(), process_time()
    summary, seconds = _run(catalog, Path(path), Path(ledger))
    cpu = process_time() - cpu_before
    events = summary.received
    watch.seconds["other"] = cpu - sum(watch.seconds.values())
    return {
        "events": events,
        "seconds": seconds,
        "per_second": events / seconds,
        "cpu": 1e6 * cpu / events,
        "stages": {stage: 1e6 * spent / events for stage, spent in watch.seconds.items()},
        "commits": summary.commits,
        "verdicts": dict(summary.verdicts),
        "line_items": summary.line_items,
        "catalog_seconds": catalog_seconds,
        "catalog_memory": before,
        "peak_memory": peak_memory(),
        "ledger_bytes": sum(file.stat().st_size for file in Path(ledger).rglob("*.parquet")),
    }


def measure_resume(path: str, subscriptions: int, ledger: str) -> dict[str, Any]:
    """A new process on a ledger that a run has left, with a small file of new events.

    `seconds` is all of it: recovery store cleaned, state and duplicate index loaded, the events rated and published.
    """
    written = bench_catalog(subscriptions)
    catalog, catalog_seconds = _compiled(written)
    summary, seconds = _run(catalog, Path(path), Path(ledger))
    return {
        "seconds": seconds,
        "received": summary.received,
        "verdicts": dict(summary.verdicts),
        "catalog_seconds": catalog_seconds,
        "peak_memory": peak_memory(),
    }


def _compiled(written: Catalog) -> tuple[CompiledCatalog, float]:
    begun = perf_counter()
    return compile_catalog(written), perf_counter() - begun


def _run(catalog: CompiledCatalog, path: Path, ledger: Path) -> tuple[Summary, float]:
    begun = perf_counter()
    summary = run_rating(catalog, None, [path], ledger, Settings(key_groups=KEY_GROUPS))
    return summary, perf_counter() - begun
