"""What watching adds to rating: `python -m ops.bench.thresholds`.

The same traffic is rated by the core with no threshold, with thresholds at the tiers' bounds, and with a quota of three
thresholds that tells or blocks, in turns and in processes of their own; each figure is the median of the rounds.
"""

import argparse
from pathlib import Path
from statistics import median
from typing import Any

from ops.bench.worker import measure

_FOLDER = Path(".bench")
_ROUNDS = 3
_METER = {"aggregation": "sum", "element": "gigabytes"}
_QUOTA = {"name": "gigabytes", "meter": _METER, "limit": "500", "notify_at": ["0.5", "0.8", "1"]}
_PRODUCTS: dict[str, dict[str, Any]] = {
    "nothing is watched": {},
    "a threshold in each of the tiers": {"notification_threshold": "0.5"},
    "a quota with three thresholds, overage": {"quotas": [_QUOTA | {"on_exceed": "overage"}]},
    "a quota with three thresholds, block": {"quotas": [_QUOTA | {"on_exceed": "block"}]},
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.thresholds", description="What watching adds to rating.")
    parser.add_argument("--subscriptions", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=3_000_000)
    asked = parser.parse_args()
    subscriptions, events = asked.subscriptions, asked.events
    _FOLDER.mkdir(exist_ok=True)
    path = measure("traffic", folder=_FOLDER, subscriptions=subscriptions, events=events, first=0)["path"]
    rounds = [
        {
            name: measure("core", path=path, subscriptions=subscriptions, product=more)
            for name, more in _PRODUCTS.items()
        }
        for _ in range(_ROUNDS)
    ]
    print(f"{subscriptions:,} subscriptions, {events:,} events, microseconds per event")
    print(f"{'':42}{'core':>8}{'admit to assemble':>20}{'added':>8}{'state, B':>10}{'notices':>10}")
    bare = median(one["nothing is watched"]["whole"] for one in rounds)
    for name in _PRODUCTS:
        core, whole = (median(one[name][figure] for one in rounds) for figure in ("core", "whole"))
        last = rounds[-1][name]
        state = last["state_bytes"] / last["subscriptions_seen"]
        print(f"{name:42}{core:8.3f}{whole:20.3f}{whole / bare - 1:8.1%}{state:10.1f}{last['notifications']:10,}")


if __name__ == "__main__":
    main()
