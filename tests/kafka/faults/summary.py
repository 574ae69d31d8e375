"""What the fault tests did, for the table at the end of a run."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_COLUMNS = ("runs", "kills", "rows compared")


@dataclass
class Summary:
    """Counts per kind of fault; only a run whose comparison found no difference is counted."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, faults: str, kills: int, rows: int) -> None:
        """One run went well."""
        self.counts.setdefault(faults, Counter()).update({"runs": 1, "kills": kills, "rows compared": rows})

    def lines(self) -> Iterator[str]:
        """The table, with the sums; nothing when no fault test ran."""
        if not self.counts:
            return
        width = max(map(len, self.counts))
        yield "Runs without any difference, row for row:"
        yield f"{'faults':<{width}}" + "".join(f"{name:>15}" for name in _COLUMNS)
        for faults, counts in [*self.counts.items(), ("sum", sum(self.counts.values(), Counter()))]:
            yield f"{faults:<{width}}" + "".join(f"{counts[name]:>15,}" for name in _COLUMNS)


SUMMARY = Summary()
