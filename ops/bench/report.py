"""The run as tables, on the terminal and on a page, and as one JSON file."""

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any

import orjson
from rich.console import Console

from ops.bench.floors import Floor
from ops.bench.kafka_report import kafka_sheets, kafka_words
from ops.bench.scenario import BATCH_RECORDS, KEY_GROUPS, MORE_EVENTS
from ops.bench.sheet import Sheet

# "other" is mostly Polars' own thread, which works for several stages.
STAGES = ("read", "decode", "admit", "rate", "price", "write", "snapshot", "other")
_LEAST_WIDTH = 110
_WIDTH = 120
_PACKAGES = ("bytewax", "polars", "msgspec", "pyarrow", "orjson", "confluent-kafka")
_PAGE = """# Benchmark

{intro}

![Throughput beside the bare limit, and where the time goes](bench.svg)

{tables}

{words}
"""
_INTRO = """\
Written by `make bench`, each measurement in a process of its own; `bench.json` has every figure. {kept}Measured with
{machine}."""
_FILES = """\
The *bare limit* reads the same file and decodes its JSON, every record to a dict and every number to the exact
decimal, nothing else, on one core. Limit and flow are measured in turns; their ratio is the median of {repeats}
pair(s) by the wall clock (the flow prices and writes in threads), and by CPU time. *orjson* decodes numbers to
floats. The flow runs with recovery on, {groups} key groups and one worker; each event is about 215 bytes, its
subscription drawn evenly. *Resume* is a new process with the compiled catalog on the ledger that a run has left:
recovery store cleaned, state and duplicate index loaded, {more:,} more events rated and published.
"""
_CORE = """\
The core is measured in batches of {batch:,} records after each subscription has been seen: duplicates, running
usage, tiers and amounts; *admit* finds subscriptions and reads elements before it, *assemble* names the lines after it.
"""
_SETTLEMENT = """\
Settling is timed from the look at the ledger to the published invoices: a recurring fee, tiers of usage and a least
spend for each subscription. The *aggregate* is one statement of DuckDB over the view of the same line items, which sums
what invoice lines need of them; it has one thread, settling all cores. Peak memory holds the catalog and everything
else.
"""


def sheets_of(results: dict[str, Any], floors: list[Floor]) -> list[Sheet]:
    """The tables of what was measured."""
    sheets: list[Sheet] = []
    if "flows" in results:
        sheets += [_throughput(results["flows"]), _stages(results["flows"])]
    if "core" in results:
        sheets.append(_core(results["core"]))
    if "resume" in results:
        sheets.append(_resume(results["resume"]))
    if "settlement" in results:
        sheets.append(_settlement(results["settlement"]))
    return [*sheets, *kafka_sheets(results.get("kafka", {"absent": ""})), _floors(floors)]


def print_report(sheets: list[Sheet]) -> None:
    """The tables on standard output."""
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(*(sheet.on_terminal() for sheet in sheets), sep="\n")


def write_page(results: dict[str, Any], sheets: list[Sheet], path: Path) -> None:
    """The tables as a page beside the chart."""
    machine = machine_of()
    known = f"{machine['processor']}, Python {machine['python']}, Polars {machine['polars']}"
    kept = f"Kept from an earlier run: {', '.join(results['kept'])}. " if results.get("kept") else ""
    page = _PAGE.format(
        intro=_wrapped(_INTRO.format(machine=known, kept=kept)),
        tables="\n\n".join(sheet.on_page() for sheet in sheets),
        words="\n\n".join(map(_wrapped, _words(results))),
    )
    path.write_text(page, encoding="utf-8")


def _wrapped(text: str) -> str:
    """Paragraphs in lines that are not too long."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(fill(one, _WIDTH, break_on_hyphens=False, break_long_words=False) for one in paragraphs)


def _words(results: dict[str, Any]) -> Iterator[str]:
    """What the tables mean."""
    if "flows" in results:
        yield _FILES.format(repeats=len(results["flows"][0]["rounds"]), groups=KEY_GROUPS, more=MORE_EVENTS)
    if "core" in results:
        yield _CORE.format(batch=BATCH_RECORDS)
    if "settlement" in results:
        yield _SETTLEMENT
    if "kafka" in results:
        yield kafka_words(results["kafka"])


def write_json(results: dict[str, Any], floors: list[Floor], path: Path) -> None:
    """Everything that was measured, with the versions it was measured with."""
    reached = [
        {"name": f.name, "value": f.value, "floor": f.floor, "aim": f.aim, "unit": f.unit, "reached": f.reached}
        for f in floors
    ]
    everything = {"machine": machine_of(), "floors": reached, **results}
    path.write_bytes(orjson.dumps(everything, option=orjson.OPT_INDENT_2) + b"\n")


def machine_of() -> dict[str, str]:
    """What the run was measured with."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        **{name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in information.read_text().splitlines() if "model name" in line]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _throughput(flows: list[dict[str, Any]]) -> Sheet:
    rows = [
        (
            f"{flow['subscriptions']:,}",
            f"{flow['per_second']:,.0f}",
            f"{flow['limit']:,.0f}",
            f"{flow['ratio']:.2f}",
            f"{flow['ratio_cpu']:.2f}",
            f"{flow['orjson']:,.0f}",
            f"{flow['peak_memory'] / 2**20:,.0f} MB",
            f"{flow['catalog_memory'] / 2**20:,.0f} MB",
            f"{flow['ledger_bytes'] / flow['events']:.0f} B",
        )
        for flow in flows
    ]
    columns = ("events/s", "bare limit", "ratio", "in CPU", "orjson", "peak memory", "before the run", "ledger/event")
    return Sheet("File -> ledger, recovery on", ("subscriptions", *columns), rows)


def _stages(flows: list[dict[str, Any]]) -> Sheet:
    rows = []
    for flow in flows:
        parts = [flow["stages"].get(stage, 0.0) for stage in STAGES]
        rows.append((f"{flow['subscriptions']:,}", *(f"{part:.2f}" for part in (*parts, sum(parts)))))
    return Sheet("CPU time per event and stage, in µs", ("subscriptions", *STAGES, "whole"), rows)


def _core(core: dict[str, Any]) -> Sheet:
    rows = [
        (f"decode, {core['subscriptions']:,} subscriptions", f"{core['decode']:.2f} µs"),
        ("admit: resolve, filter, meter, split by key group", f"{core['admit']:.2f} µs"),
        ("rate: duplicates, running usage", f"{core['rate']:.2f} µs"),
        ("assemble: rows of the ledger", f"{core['assemble']:.2f} µs"),
        ("of which price: slices, lines, amounts", f"{core['price']:.2f} µs"),
        ("the core: rate and price", f"{core['core']:.2f} µs"),
        ("admit, rate and assemble", f"{core['whole']:.2f} µs"),
        ("state in a snapshot, per subscription and charge", f"{core['state_per_charge']:.0f} B"),
    ]
    return Sheet("The core alone, and the state", ("", "per event"), rows)


def _resume(resume: dict[str, Any]) -> Sheet:
    row = (f"{resume['subscriptions']:,}", f"{resume['seconds']:.2f} s", f"{resume['catalog_seconds']:.2f} s")
    return Sheet("Resume", ("subscriptions", "until published", "compile that catalog before"), [row])


def _settlement(settled: list[dict[str, Any]]) -> Sheet:
    rows = [
        (
            f"{one['subscriptions']:,}",
            f"{one['events']:,}",
            f"{one['lines']:,.0f}",
            f"{one['seconds']:.1f} s",
            f"{one['sum_seconds']:.2f} s",
            f"{one['ratio']:.1f}",
            f"{one['most_megabytes']:,.0f} MiB",
        )
        for one in settled
    ]
    columns = ("events", "invoice lines", "settled", "one aggregate", "ratio", "peak memory")
    return Sheet("Settlement of a month", ("subscriptions", *columns), rows)


def _floors(floors: list[Floor]) -> Sheet:
    rows = [
        (
            floor.name,
            f"{floor.value:,.{0 if floor.value >= 1_000 else 2}f} {floor.unit}".strip(),
            f"{'at most' if floor.most else 'at least'} {floor.floor:,g}",
            f"{floor.aim:,g}",
            "reached" if floor.reached else "missed",
        )
        for floor in floors
    ]
    return Sheet("Floors", ("", "value", "floor", "aim", "result"), rows)
