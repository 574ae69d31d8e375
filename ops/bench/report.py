"""The run as tables on the terminal and as one JSON file."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from ops.bench.floors import Floor

STAGES = ("read", "decode", "admit", "rate", "price", "write", "snapshot", "other")
_LEAST_WIDTH = 110
_PACKAGES = ("bytewax", "polars", "msgspec", "pyarrow", "orjson")


def write_json(results: dict[str, Any], floors: list[Floor], path: Path) -> None:
    """Everything that was measured, with the versions it was measured with."""
    machine = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        **{name: version(name) for name in _PACKAGES},
    }
    reached = [
        {"name": f.name, "value": f.value, "floor": f.floor, "aim": f.aim, "unit": f.unit, "reached": f.reached}
        for f in floors
    ]
    everything = {"machine": machine, "floors": reached, **results}
    path.write_bytes(orjson.dumps(everything, option=orjson.OPT_INDENT_2) + b"\n")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in information.read_text().splitlines() if "model name" in line]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def print_report(results: dict[str, Any], floors: list[Floor]) -> None:
    """The three tables: throughput beside the bare limit, time per stage, floors."""
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(_throughput(results["flows"]), _stages(results["flows"]), _core(results), _floors(floors), sep="\n")


def _throughput(flows: list[dict[str, Any]]) -> Table:
    table = _table("File -> ledger, recovery on, 16 key groups, one worker", "subscriptions")
    for name in ("events/s", "bare limit", "ratio", "ratio in CPU", "orjson", "ratio", "peak memory", "ledger"):
        table.add_column(name, justify="right")
    for flow in flows:
        table.add_row(
            f"{flow['subscriptions']:,}",
            f"{flow['per_second']:,.0f}",
            f"{flow['limit']:,.0f}",
            f"{flow['ratio']:.2f}",
            f"{flow['ratio_cpu']:.2f}",
            f"{flow['orjson']:,.0f}",
            f"{flow['per_second'] / flow['orjson']:.2f}",
            f"{flow['peak_memory'] / 2**20:,.0f} MB",
            f"{flow['ledger_bytes'] / flow['events']:.0f} B/event",
        )
    return table


def _stages(flows: list[dict[str, Any]]) -> Table:
    table = _table("Microseconds of CPU time per event and stage", "subscriptions")
    for stage in (*STAGES, "whole"):
        table.add_column(stage, justify="right")
    for flow in flows:
        parts = [flow["stages"].get(stage, 0.0) for stage in STAGES]
        table.add_row(f"{flow['subscriptions']:,}", *(f"{part:.2f}" for part in (*parts, sum(parts))))
    return table


def _core(results: dict[str, Any]) -> Table:
    core, resume = results["core"], results["resume"]
    table = _table("The core alone, and the state", "what")
    table.add_column("value", justify="right")
    table.add_row(f"decode, {core['subscriptions']:,} subscriptions", f"{core['decode']:.2f} µs")
    table.add_row("admit: resolve, filter, meter, split by key group", f"{core['admit']:.2f} µs")
    table.add_row("rate: duplicates, running usage", f"{core['rate']:.2f} µs")
    table.add_row("assemble: slices, lines, verdicts", f"{core['assemble']:.2f} µs")
    table.add_row("state in a snapshot, per subscription and charge", f"{core['state_per_charge']:.0f} B")
    table.add_row(f"resume, {resume['subscriptions']:,} subscriptions", f"{resume['seconds']:.2f} s")
    table.add_row("compile that catalog before", f"{resume['catalog_seconds']:.2f} s")
    return table


def _floors(floors: list[Floor]) -> Table:
    table = _table("Floors", "what")
    for name in ("value", "floor", "aim", ""):
        table.add_column(name, justify="right")
    for floor in floors:
        bound = "at most" if floor.most else "at least"
        mark = "[green]✓ reached[/]" if floor.reached else "[red]✗ missed[/]"
        table.add_row(floor.name, f"{floor.value:.2f} {floor.unit}", f"{bound} {floor.floor:g}", f"{floor.aim:g}", mark)
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    return table
