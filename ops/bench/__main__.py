"""`python -m ops.bench`: measures everything, prints the tables, writes a page of them, a chart, and bench.json."""

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from ops.bench.floors import floors_of
from ops.bench.scenario import BATCH_RECORDS, CHARGES, KEY_GROUPS, Scenario
from ops.bench.worker import ROOT, measure

CORE = Scenario(100_000, 2_000_000)
FLOWS = (Scenario(1_000, 3_000_000), Scenario(100_000, 3_000_000), Scenario(1_000_000, 3_000_000))
QUICK_CORE = Scenario(2_000, 60_000)
QUICK_FLOWS = (Scenario(1_000, 60_000), Scenario(5_000, 60_000))
_MORE_EVENTS = 1_000
# Files of events are made once and found again; ledgers are removed after each measurement.
_TRAFFIC = Path(tempfile.gettempdir()) / "ratemill-bench"

_progress = Console(stderr=True, highlight=False)


def run(core: Scenario, flows: Iterable[Scenario], repeats: int) -> dict[str, Any]:
    """All measurements, one after the other, each in its own process."""
    measured = [_flow(scenario, repeats) for scenario in flows]
    return {
        "core": _core(core),
        "flows": measured,
        "resume": {"subscriptions": measured[-1]["subscriptions"], **measured[-1].pop("resume")},
    }


def _path(scenario: Scenario) -> str:
    _TRAFFIC.mkdir(exist_ok=True)
    _progress.print(f"{scenario.events:,} events of {scenario.label} subscriptions", style="dim")
    return str(measure("traffic", **asdict(scenario), folder=_TRAFFIC)["path"])


def _core(scenario: Scenario) -> dict[str, Any]:
    core = measure("core", path=_path(scenario), subscriptions=scenario.subscriptions)
    per_charge = core["state_bytes"] / (core["subscriptions_seen"] * CHARGES)
    return {"subscriptions": scenario.subscriptions, "events": scenario.events, **core, "state_per_charge": per_charge}


def _flow(scenario: Scenario, repeats: int) -> dict[str, Any]:
    """Limit and flow in turns, so that a slow moment of the machine meets both; the ratio is the pairs' median."""
    path = _path(scenario)
    rounds = []
    with tempfile.TemporaryDirectory(dir=_TRAFFIC) as folder:
        for number in range(repeats):
            ledger = f"{folder}/{number}"
            rounds.append(_round(path, scenario, ledger))
        more = _path(Scenario(scenario.subscriptions, _MORE_EVENTS, scenario.events))
        resume = measure("resume", path=more, subscriptions=scenario.subscriptions, ledger=ledger)
    middle = sorted(rounds, key=lambda one: float(one["per_second"]))[len(rounds) // 2]
    medians = {name: median(one[name] for one in rounds) for name in ("limit", "orjson", "ratio", "ratio_cpu")}
    rounds = [{name: one[name] for name in ("per_second", "limit", "ratio", "ratio_cpu")} for one in rounds]
    return {**middle, **medians, "subscriptions": scenario.subscriptions, "rounds": rounds, "resume": resume}


def _round(path: str, scenario: Scenario, ledger: str) -> dict[str, Any]:
    exact, plain = (measure("limit", path=path, decoder=decoder) for decoder in ("exact", "orjson"))
    flow = measure("flow", path=path, subscriptions=scenario.subscriptions, ledger=ledger)
    assert flow["events"] == exact["events"] == plain["events"] == scenario.events
    _progress.print(f"  {flow['per_second']:,.0f} events/s, bare limit {exact['per_second']:,.0f}", style="dim")
    return {
        **flow,
        "limit": exact["per_second"],
        "orjson": plain["per_second"],
        "ratio": flow["per_second"] / exact["per_second"],
        "ratio_cpu": exact["cpu"] / flow["cpu"],
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, once each: shows that it works, not how fast"
    )
    parser.add_argument("--repeats", type=int, default=3, help="pairs of bare limit and flow per size (default 3)")
    parser.add_argument("--out", type=Path, help="folder for what is written (docs/bench; .bench if quick)")
    asked = parser.parse_args()
    folder = asked.out or ROOT / (".bench" if asked.quick else "docs/bench")
    folder.mkdir(parents=True, exist_ok=True)
    results = run(QUICK_CORE, QUICK_FLOWS, 1) if asked.quick else run(CORE, FLOWS, asked.repeats)
    _publish(results, folder)


def _publish(results: dict[str, Any], folder: Path) -> None:
    # Here, because the measuring is over: matplotlib is large, and a worker is started from this process.
    from ops.bench.chart import draw
    from ops.bench.report import print_report, sheets_of, write_json, write_page

    floors = floors_of(results)
    sheets = sheets_of(results, floors)
    print_report(sheets)
    write_json(results, floors, folder / "bench.json")
    write_page(results, sheets, folder / "README.md", groups=KEY_GROUPS, batch=BATCH_RECORDS, more=_MORE_EVENTS)
    draw(results, folder)
    _progress.print(f"Written into {folder}: README.md, bench.json, bench.svg, bench.png", style="dim")


if __name__ == "__main__":
    main()
