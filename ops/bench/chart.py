"""The chart of a run, as SVG and PNG: events per second, where the time goes, how long a row takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from ops.bench.report import STAGES

_COLORS = ("#7a8ba3", "#4878a8", "#78a8c8", "#b8552f", "#e0a030", "#5c8a4c", "#90b890", "#c8c8c8")


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes bench.svg and bench.png into the folder."""
    plt.rcParams.update(
        {"svg.hashsalt": "ratemill", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    )
    panels = [draw_panel for part, draws in _PANELS.items() if _was_measured(results, part) for draw_panel in draws]
    rows = max(1, len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, 4.2 * rows), squeeze=False)
    for draw_panel, place in zip(panels, axes.flat, strict=False):
        draw_panel(place, results)
    for place in axes.flat[len(panels) :]:
        place.axis("off")
    figure.tight_layout()
    paths = [folder / "bench.svg", folder / "bench.png"]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=130, metadata={"Software": None})
    plt.close(figure)
    return paths


def _was_measured(results: dict[str, Any], part: str) -> bool:
    return part in results and "absent" not in results[part]


def _throughput(axes: Any, results: dict[str, Any]) -> None:
    flows = results["flows"]
    places = range(len(flows))
    limits = [flow["limit"] / 1000 for flow in flows]
    axes.bar(
        [place - 0.2 for place in places], limits, 0.38, color=_COLORS[0], label="bare limit: read and decode JSON"
    )
    bars = axes.bar(
        [place + 0.2 for place in places],
        [flow["per_second"] / 1000 for flow in flows],
        0.38,
        color=_COLORS[3],
        label="file -> ledger, recovery on",
    )
    axes.bar_label(bars, [f"{flow['ratio']:.2f}" for flow in flows], padding=2)
    axes.set_xticks(list(places), [f"{flow['subscriptions']:,}" for flow in flows])
    axes.set_xlabel("subscriptions")
    axes.set_ylabel("thousand events per second, one worker")
    axes.set_ylim(0, 1.35 * max(limits))
    axes.set_title("Throughput, and its ratio to the bare limit")
    axes.legend(loc="upper right", frameon=False)


def _stages(axes: Any, results: dict[str, Any]) -> None:
    flows = results["flows"]
    names = [f"{flow['subscriptions']:,}" for flow in flows]
    _stacked(axes, names, [flow["stages"] for flow in flows], STAGES)
    axes.set_ylabel("subscriptions")
    axes.set_title("Where the time goes")


def _stacked(axes: Any, names: list[str], stages: list[dict[str, float]], order: tuple[str, ...]) -> None:
    """One bar for each name, made of its stages in this order."""
    base = [0.0] * len(names)
    for stage, color in zip(order, _COLORS, strict=False):
        parts = [of_one.get(stage, 0.0) for of_one in stages]
        axes.barh(names, parts, left=base, color=color, label=stage)
        base = [sum(pair) for pair in zip(base, parts, strict=True)]
    axes.set_xlabel("microseconds of CPU time per event")
    axes.legend(ncols=(len(order) + 1) // 2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _kafka_throughput(axes: Any, results: dict[str, Any]) -> None:
    kafka = results["kafka"]
    flow, peer = kafka["flow"], kafka["peer"]
    rates = {
        "bare limit:\nconsume and decode": (flow["limit"], _COLORS[0]),
        "Kafka -> ledger,\nrecovery on": (flow["per_second"], _COLORS[3]),
    }
    if "absent" not in peer:
        rates["Quix Streams job,\nexactly once"] = (peer["per_second"], _COLORS[4])
    thousands = [rate / 1000 for rate, _ in rates.values()]
    bars = axes.bar(list(rates), thousands, 0.5, color=[color for _, color in rates.values()])
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in thousands], padding=2)
    axes.set_ylim(0, 1.15 * max(thousands))
    axes.set_ylabel("thousand events per second, one process")
    axes.set_title(f"From Kafka, {flow['subscriptions']:,} subscriptions")


def _latency(axes: Any, results: dict[str, Any]) -> None:
    latency = results["kafka"]["latency"]
    quantiles = latency["quantiles"]
    shares = [100 * number / (len(quantiles) - 1) for number in range(len(quantiles))]
    axes.plot(quantiles, shares, color=_COLORS[3])
    axes.axvline(latency["p99"], color=_COLORS[0], linestyle=":", label=f"p99: {latency['p99']:.2f} s")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"seconds from sending, {latency['producer']['per_second']:,.0f} events/s")
    axes.set_ylabel("% of rows published")
    axes.set_title("Producer to published row")
    axes.legend(frameon=False, loc="upper left")


_PANELS: dict[str, tuple[Callable[[Any, dict[str, Any]], None], ...]] = {
    "flows": (_throughput, _stages),
    "kafka": (_kafka_throughput, _latency),
}
