"""The floors of the design (architecture 6) that this benchmark can show, and whether a run reached them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Floor:
    """One promise: the measured value, what it must reach and what we aim for; `most` when lower is better."""

    name: str
    value: float
    floor: float
    aim: float
    unit: str
    most: bool

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of the floor."""
        return self.value <= self.floor if self.most else self.value >= self.floor


def floors_of(results: dict[str, Any]) -> list[Floor]:
    """Every floor with its value in this run; `results` as `ops.bench.__main__` gathers them."""
    core, flows, resume = results["core"], results["flows"], results["resume"]
    fewest, most = flows[0], flows[-1]
    bare = "file -> ledger / bare limit"
    return [
        Floor("core: duplicates, running usage, prices", core["core"], 0.6, 0.2, "µs", True),
        *(Floor(f"{bare}, {flow['subscriptions']:,}", flow["ratio"], 0.4, 0.7, "", False) for flow in flows),
        *(Floor(f"{bare} in CPU, {flow['subscriptions']:,}", flow["ratio_cpu"], 0.4, 0.7, "", False) for flow in flows),
        Floor(
            f"throughput at {most['subscriptions']:,} against {fewest['subscriptions']:,}",
            most["per_second"] / fewest["per_second"],
            0.8,
            0.95,
            "",
            False,
        ),
        Floor("state per subscription and charge", core["state_per_charge"], 200, 64, "B", True),
        Floor(f"resume with {resume['subscriptions']:,} subscriptions", resume["seconds"], 10, 2, "s", True),
    ]
