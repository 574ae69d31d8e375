"""The chart of a run: events per second beside the bare limit, and where the time goes; as SVG and PNG."""

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
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    _throughput(left, results["flows"])
    _stages(right, results["flows"])
    figure.tight_layout()
    paths = [folder / "bench.svg", folder / "bench.png"]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=130, metadata={"Software": None})
    plt.close(figure)
    return paths


def _throughput(axes: Any, flows: list[dict[str, Any]]) -> None:
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


def _stages(axes: Any, flows: list[dict[str, Any]]) -> None:
    names = [f"{flow['subscriptions']:,}" for flow in flows]
    base = [0.0] * len(flows)
    for stage, color in zip(STAGES, _COLORS, strict=True):
        parts = [flow["stages"].get(stage, 0.0) for flow in flows]
        axes.barh(names, parts, left=base, color=color, label=stage)
        base = [sum(pair) for pair in zip(base, parts, strict=True)]
    axes.set_xlabel("microseconds of CPU time per event")
    axes.set_ylabel("subscriptions")
    axes.set_title("Where the time goes")
    axes.legend(ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
