"""Sending parked events again while a flow runs, once a new catalog is in effect.

Owns: when it happens. Does not own: what is sent (`kafka_reinjection`). The rule: it begins when all that the catalog
before has rated is published, and is done again for what that catalog parks later: a record may come long after its
time to a partition where nothing else came.
"""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from dataflows.catalog_history import CatalogHistory, VersionStamp
from dataflows.catalog_versions import CatalogVersions
from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.published import read_table
from dataflows.moments import now
from dataflows.settings import Settings
from ops.kafka_reinjection import SENT, reinject_parked
from ops.ledger_views import open_ledger

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_COUNTS = 60.0
_SECONDS_AFTER_FAILURE = 30.0
_PARKED_BEFORE = "SELECT count(*) FROM events WHERE verdict = 'parked' AND record_time < make_timestamptz(?)"


@dataclass(slots=True)
class Reinjector:
    """Sends the parked events of a ledger again; the flow runs, and feeds it from a topic.

    `look` may be called often, by one thread; the work is done in another. `remark` is told what was done.
    """

    settings: Settings
    ledger: Path
    remark: Callable[[str], None]
    _done: VersionStamp | None = None
    _parked: int = 0
    _looked_at: tuple[VersionStamp, int] | None = None
    _next_look: float = 0.0
    _next_count: float = 0.0
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
        try:
            due = self._due()
        except FileNotFoundError:
            # Merged away between its manifest and its opening.
            return
        if due is not None:
            self._done = due
            self._under_way = self._thread.submit(self._reinject, due)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown()
        if self._under_way is not None:
            self._finish(self._under_way)

    def _due(self) -> VersionStamp | None:
        """The version in effect, if there are parked events that nobody looked at since it is."""
        effective = [stamp for stamp in CatalogHistory(self.ledger).versions() if stamp.effective_from <= now()]
        if not effective or (effective[-1] == self._done and time.monotonic() < self._next_count):
            return None
        reached = published_progress(self.ledger)
        if reached is None or reached < effective[-1].effective_from:
            return None
        self._next_count = time.monotonic() + _SECONDS_BETWEEN_COUNTS
        before, self._parked = self._parked, int(read_table(self.ledger, "commits")["parked"].sum())
        return effective[-1] if effective[-1] != self._done or self._parked > before else None

    def _reinject(self, stamp: VersionStamp) -> Counter[str]:
        # What a manifest lists is visible to statements a moment later.
        manifest.wait_until_visible((self.ledger / "manifest").glob("writer-*.json"))
        # Compiling a large catalog takes seconds of a core, while the flow starts.
        if not self._parked:
            return Counter()
        with open_ledger(self.ledger) as connection:
            parked_before = int(connection.execute(_PARKED_BEFORE, [stamp.effective_from]).fetchall()[0][0])
        if self._looked_at == (stamp, parked_before):
            return Counter()
        versions = CatalogVersions(CatalogHistory(self.ledger))
        outcome = reinject_parked(self.settings, self.ledger, versions.compiled(stamp.digest))
        self._looked_at = (stamp, parked_before)
        return outcome

    def _finish(self, done: "Future[Counter[str]]") -> None:
        try:
            outcome = done.result()
        except (RatemillError, OSError, duckdb.Error) as error:
            why = str(error).partition("\n")[0]
            self.remark(f"parked events were not sent again: {why}; trying again in {_SECONDS_AFTER_FAILURE:g} s")
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
