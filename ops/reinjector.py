"""Sending parked events again while a flow runs, once a new catalog is in effect.

Owns: when it happens. Does not own: what is sent (`kafka_reinjection`). The rule: it begins when all that the catalog
before has rated is published, so that no event that it parked is overlooked.
"""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from dataflows.catalog_history import CatalogHistory, VersionStamp
from dataflows.catalog_versions import CatalogVersions
from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.manifest import PUBLICATION_MARGIN
from dataflows.ledger.published import read_table
from dataflows.moments import now
from dataflows.settings import Settings
from ops.kafka_reinjection import SENT, reinject_parked

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_AFTER_FAILURE = 30.0


@dataclass(slots=True)
class Reinjector:
    """Sends the parked events of a ledger again; the flow runs, and feeds it from a topic.

    `look` may be called often, by one thread; the work is done in another. `remark` is told what was done.
    """

    settings: Settings
    ledger: Path
    remark: Callable[[str], None]
    _done: VersionStamp | None = None
    _next_look: float = 0.0
    _under_way: "Future[Counter[str]] | None" = None
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="reinject")
    )

    def look(self) -> None:
        """Begin, if a catalog has taken effect and all that came before it is published; say how it ended."""
        if self._under_way is not None:
            if self._under_way.done():
                self._finish(self._under_way)
                self._under_way = None
            return
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        due = self._due()
        if due is not None:
            self._done = due
            self._under_way = self._thread.submit(self._reinject, due)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown()
        if self._under_way is not None:
            self._finish(self._under_way)

    def _due(self) -> VersionStamp | None:
        """The version in effect, if its parked events have not been looked at."""
        effective = [stamp for stamp in CatalogHistory(self.ledger).versions() if stamp.effective_from <= now()]
        if not effective or effective[-1] == self._done:
            return None
        reached = published_progress(self.ledger)
        return effective[-1] if reached is not None and reached >= effective[-1].effective_from else None

    def _reinject(self, stamp: VersionStamp) -> Counter[str]:
        # What a manifest lists is visible to statements a moment later.
        time.sleep(PUBLICATION_MARGIN / 1_000_000)
        # Compiling a large catalog takes seconds of a core, while the flow starts.
        if not read_table(self.ledger, "commits")["parked"].sum():
            return Counter()
        versions = CatalogVersions(CatalogHistory(self.ledger))
        return reinject_parked(self.settings, self.ledger, versions.compiled(stamp.digest))

    def _finish(self, done: "Future[Counter[str]]") -> None:
        try:
            outcome = done.result()
        except RatemillError as error:
            self.remark(f"parked events were not sent again: {error}; trying again in {_SECONDS_AFTER_FAILURE:g} s")
            self._done = None
            self._next_look = time.monotonic() + _SECONDS_AFTER_FAILURE
            return
        if outcome[SENT]:
            self.remark(f"{outcome[SENT]:,} parked events were sent to be rated again, as the catalog knows them now")


def published_progress(ledger: Path) -> int | None:
    """Up to which moment (microseconds UTC) all that was received is published; None if a writer has not begun."""
    reached: list[int] = []
    for path in sorted((ledger / "manifest").glob("writer-*.json")):
        files = manifest.load(path).live("commits")
        last = pq.read_table(ledger / "commits" / files[-1].name, columns=["progress"])["progress"] if files else []
        if not len(last) or not last[-1].is_valid:
            return None
        reached.append(last[-1].value)
    return min(reached, default=None)
