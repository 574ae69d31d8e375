"""`python -m ops.bench`: measures everything, prints the tables, writes a page of them, a chart, and bench.json."""

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from rich.console import Console

from ops.bench.floors import floors_of
from ops.bench.kafka import KAFKA, QUICK_KAFKA, KafkaSizes, measure_kafka
from ops.bench.scenario import CHARGES, MORE_EVENTS, Scenario
from ops.bench.settlement import measure_settling
from ops.bench.worker import ROOT, measure

PARTS = ("core", "files", "settlement", "kafka")
_PART_OF = {"core": "core", "flows": "files", "resume": "files", "settlement": "settlement", "kafka": "kafka"}
# Files of events are made once and found again; ledgers are removed after each measurement.
_TRAFFIC = Path(tempfile.gettempdir()) / "ratemill-bench"

_progress = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Sizes:
    """How much each part measures."""

    core: Scenario
    flows: tuple[Scenario, ...]
    settlement: tuple[Scenario, ...]
    kafka: KafkaSizes
    repeats: int


FULL = Sizes(
    core=Scenario(100_000, 2_000_000),
    flows=(Scenario(1_000, 3_000_000), Scenario(100_000, 3_000_000), Scenario(1_000_000, 3_000_000)),
    settlement=(Scenario(100_000, 1_000_000), Scenario(1_000_000, 2_000_000)),
    kafka=KAFKA,
    repeats=3,
)
QUICK = Sizes(
    core=Scenario(2_000, 60_000),
    flows=(Scenario(1_000, 60_000), Scenario(5_000, 60_000)),
    settlement=(Scenario(1_000, 10_000),),
    kafka=QUICK_KAFKA,
    repeats=1,
)


def run(sizes: Sizes, parts: Iterable[str] = PARTS) -> dict[str, Any]:
    """All measurements of these parts, one after the other, each in its own process."""
    results: dict[str, Any] = {}
    for part in parts:
        match part:
            case "core":
                results["core"] = _core(sizes.core)
            case "files":
                flows = [_flow(scenario, sizes.repeats) for scenario in sizes.flows]
                resume = {"subscriptions": flows[-1]["subscriptions"], **flows[-1]["resume"]}
                results |= {"flows": [_without(flow, "resume") for flow in flows], "resume": resume}
            case "settlement":
                results["settlement"] = [_settlement(scenario, sizes.repeats) for scenario in sizes.settlement]
            case "kafka":
                results["kafka"] = measure_kafka(sizes.kafka, sizes.repeats, _path, _tell)
    return results


def _settlement(scenario: Scenario, repeats: int) -> dict[str, Any]:
    _TRAFFIC.mkdir(exist_ok=True)
    settled = measure_settling(scenario, repeats, _TRAFFIC)
    _tell(f"  {settled['invoices']:,.0f} invoices in {settled['seconds']:.1f} s, {settled['ratio']:.1f} aggregates")
    return settled


def _without(figures: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key != name}


def _path(scenario: Scenario) -> str:
    _TRAFFIC.mkdir(exist_ok=True)
    _tell(f"{scenario.events:,} events of {scenario.label} subscriptions")
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
        more = _path(Scenario(scenario.subscriptions, MORE_EVENTS, scenario.events))
        resume = measure("resume", path=more, subscriptions=scenario.subscriptions, ledger=ledger)
    middle = sorted(rounds, key=lambda one: float(one["per_second"]))[len(rounds) // 2]
    medians = {name: median(one[name] for one in rounds) for name in ("limit", "orjson", "ratio", "ratio_cpu")}
    rounds = [{name: one[name] for name in ("per_second", "limit", "ratio", "ratio_cpu")} for one in rounds]
    return {**middle, **medians, "subscriptions": scenario.subscriptions, "rounds": rounds, "resume": resume}


def _round(path: str, scenario: Scenario, ledger: str) -> dict[str, Any]:
    exact, plain = (measure("limit", path=path, decoder=decoder) for decoder in ("exact", "orjson"))
    flow = measure("flow", path=path, subscriptions=scenario.subscriptions, ledger=ledger)
    assert flow["events"] == exact["events"] == plain["events"] == scenario.events
    _tell(f"  {flow['per_second']:,.0f} events/s, bare limit {exact['per_second']:,.0f}")
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
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="only these parts; the figures of the others stay as they are"
    )
    parser.add_argument("--out", type=Path, help="folder for what is written (docs/bench; .bench if quick)")
    asked = parser.parse_args()
    folder = asked.out or ROOT / (".bench" if asked.quick else "docs/bench")
    folder.mkdir(parents=True, exist_ok=True)
    sizes = QUICK if asked.quick else replace(FULL, repeats=asked.repeats)
    before = _kept(folder / "bench.json") if asked.only else {}
    publish(before | run(sizes, asked.only or PARTS), folder, kept=_parts_of(before) - set(asked.only or PARTS))


def _kept(path: Path) -> dict[str, Any]:
    """What an earlier run has measured."""
    return (
        {name: found for name, found in orjson.loads(path.read_bytes()).items() if name in _PART_OF}
        if path.exists()
        else {}
    )


def _parts_of(results: Iterable[str]) -> set[str]:
    return {_PART_OF[name] for name in results}


def publish(results: dict[str, Any], folder: Path, kept: Iterable[str] = ()) -> None:
    """Print the tables and write the page, the chart and the figures; `kept` are parts of an earlier run."""
    # Here, because the measuring is over: matplotlib is large, and a worker is started from this process.
    from ops.bench.chart import draw
    from ops.bench.report import print_report, sheets_of, write_json, write_page

    floors = floors_of(results)
    sheets = sheets_of(results, floors)
    print_report(sheets)
    write_json(results, floors, folder / "bench.json")
    write_page({**results, "kept": sorted(kept)}, sheets, folder / "README.md")
    draw(results, folder)
    _tell(f"Written into {folder}: README.md, bench.json, bench.svg, bench.png")


def _tell(sentence: str) -> None:
    _progress.print(sentence, style="dim")


if __name__ == "__main__":
    main()
