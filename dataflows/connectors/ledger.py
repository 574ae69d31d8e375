"""The ledger as the output of the flow: one sink partition per writer, inside Bytewax's commit.

Owns: what the engine's epoch means to a writer. Does not own: files (`ledger.writer`). The rule: whatever belongs to a
commit has been written and forced to disk before `snapshot` gives the state that says so.

Pricing and Parquet run in a thread of the writer while the flow reads on, for both let go of the interpreter's lock. So
does publishing, and at the end of an epoch all writers of a worker seal at once: most of that is waiting for the disk.
Merging small files is nobody's hurry: one thread does it for all writers of a process, and gives way to all others.
"""

import os
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from threading import get_ident, get_native_id
from typing import TypeVar

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.catalogs import Catalogs
from dataflows.connectors.announcements import Announcement, writer_name
from dataflows.failures import noted
from dataflows.kept_epochs import KeptEpochs
from dataflows.ledger.compaction import Housekeeping, Merge
from dataflows.ledger.folder import LedgerFolder, plain_os_errors
from dataflows.ledger.occasions import Occasions
from dataflows.ledger.set_backs import SetBacks
from dataflows.ledger.writer import LedgerWriter
from dataflows.metrics import CommitMeter, Stage, timed
from rating.engine import Rated, assemble

_T = TypeVar("_T")

_BATCHES_AHEAD = 4
_LOWEST_PRIORITY = 19


@dataclass(slots=True)
class RatingProgress:
    """What the writers of this process have been given so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    line_items: int = 0


class LedgerSink(FixedPartitionedSink):
    """The writers of a ledger; `on_progress` is called whenever rows have been handed over.

    The end of `threads` waits for their threads, however the run ended.
    """

    def __init__(
        self,
        folder: LedgerFolder,
        writers: int,
        catalogs: Catalogs,
        keeping: Housekeeping,
        progress: RatingProgress,
        on_progress: Callable[[], None],
        threads: ExitStack,
        epochs: KeptEpochs,
    ) -> None:
        self._folder = folder
        self._writers = {writer_name(writer): writer for writer in range(writers)}
        self._catalogs = catalogs
        self._keeping = keeping
        self._progress = progress
        self._on_progress = on_progress
        self._threads = threads
        self._epochs = epochs
        self._merger = ThreadPoolExecutor(1, "merge", _give_way)
        threads.callback(self._merger.shutdown)
        # The engine builds the writers of each worker in that worker's thread.
        self._of_worker: defaultdict[int, list[LedgerPartition]] = defaultdict(list)

    def list_parts(self) -> list[str]:
        return list(self._writers)

    def part_fn(self, item_key: str) -> int:
        return self._writers[item_key]

    @noted
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "LedgerPartition":
        with _plain_write_errors(self._folder):
            writer = LedgerWriter(self._folder, self._writers[for_part], resume_state, self._keeping)
        together = self._of_worker[get_ident()]
        partition = LedgerPartition(
            writer, self._folder, self._catalogs, self._progress, self._on_progress, together, self._merger
        )
        together.append(partition)
        self._epochs.tell(partition.kept)
        self._threads.callback(partition.close)
        return partition


class LedgerPartition(StatefulSinkPartition):
    """One writer: prices and writes what comes in a thread of its own, in order; `snapshot` waits for it and seals.

    `together` are the writers of one worker. The engine asks one after the other for its snapshot, once all have had
    everything of the epoch.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        folder: LedgerFolder,
        catalogs: Catalogs,
        progress: RatingProgress,
        on_progress: Callable[[], None],
        together: "list[LedgerPartition]",
        merger: ThreadPoolExecutor,
    ) -> None:
        self._writer = writer
        self._folder = folder
        self._catalogs = catalogs
        self._progress = progress
        self._on_progress = on_progress
        self._together = together
        self._merger = merger
        self._set_backs = SetBacks(folder, writer, catalogs)
        self._occasions = Occasions(folder, writer, catalogs)
        self._merging: Future[list[Merge]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._meter = CommitMeter()
        self._under_way: deque[Future[None]] = deque()
        self._has_failed = False
        self._has_news = False
        self._sealing: Future[bytes] | None = None
        self._is_kept = True

    @noted
    def write_batch(self, values: Sequence[Rated | Announcement]) -> None:
        assert self._sealing is None, "rows came after the end of their epoch"
        self._has_news = True
        self._under_way.append(self._submit(self._absorb, list(values)))
        self._wait(_BATCHES_AHEAD)
        self._on_progress()

    @noted
    def snapshot(self) -> bytes:
        for partition in self._together:
            if partition is self or partition._has_news:
                partition._begin_to_seal()
        assert self._sealing is not None
        self._wait(0)
        with _plain_write_errors(self._folder):
            state = self._sealing.result()
        self._sealing, self._has_news = None, False
        if not self._is_kept:
            # Nobody has said so, but that this commit comes proves that the one before was kept.
            self._under_way.append(self._submit(self._publish))
        self._is_kept = False
        return state

    def kept(self) -> None:
        """All commits that this has given have been kept, so they can be seen at once."""
        assert self._sealing is None, "a commit is being closed that cannot have been kept"
        if not self._is_kept and not self._has_failed:
            self._is_kept = True
            self._under_way += self._submit(self._writer.keep), self._submit(self._publish)

    def close(self) -> None:
        """Wait for what is under way but a merge: the engine commits its last epoch after this, and must not wait.

        A merge that is not shown is done again by another run.
        """
        self._thread.shutdown()
        if self._merging is not None:
            self._merging.cancel()

    def _begin_to_seal(self) -> None:
        if self._sealing is None:
            self._sealing = self._submit(self._seal)

    def _submit(self, task: Callable[..., _T], *arguments: object) -> "Future[_T]":
        """Do it after what is under way, unless something of that fails."""

        def do() -> _T:
            assert not self._has_failed, "what went before has failed"
            try:
                return task(*arguments)
            except BaseException:
                self._has_failed = True
                raise

        return self._thread.submit(do)

    def _wait(self, left: int) -> None:
        with _plain_write_errors(self._folder):
            while len(self._under_way) > left:
                self._under_way.popleft().result()

    def _seal(self) -> bytes:
        with timed(Stage.SEAL):
            return self._meter.close(self._writer.seal())

    def _publish(self) -> None:
        merges: list[Merge] = []
        if self._merging is not None and self._merging.done():
            merges, self._merging = self._merging.result(), None
        with timed(Stage.PUBLISH):
            self._writer.publish(merges)
        if self._merging is None:
            self._merging = self._merger.submit(self._merge)

    def _merge(self) -> list[Merge]:
        with timed(Stage.MERGE):
            return self._writer.merge()

    def _absorb(self, values: list[Rated | Announcement]) -> None:
        for value in values:
            if isinstance(value, Announcement):
                self._writer.announce(value.received, value.partition, value.position, value.catalog)
                self._meter.reach(value.partition, value.position.progress)
                for table, rows in self._of_announced(value):
                    if rows is not None and rows.height:
                        self._append({table: rows})
        rated = [value for value in values if isinstance(value, Rated)]
        for digest, shares in groupby(rated, key=lambda share: share.batch.catalog):
            catalog = self._catalogs.compiled(digest)
            with timed(Stage.PRICE):
                outcome = assemble(list(shares), catalog)
            verdicts = {"quota_verdicts": self._set_backs.take(outcome.quota_verdicts)}
            self._append(outcome.tables() | verdicts)

    def _of_announced(self, told: Announcement) -> Iterator[tuple[str, pl.DataFrame | None]]:
        """Rows that come of a batch before any of it is rated, and what its time brings about."""
        yield "events", told.settled
        yield "notifications", told.notifications
        yield "quota_verdicts", self._set_backs.reach(told.partition, told.position, told.catalog)
        yield "notifications", self._occasions.reach(told.partition, told.position, told.catalog, told.first_time)

    def _append(self, tables: Mapping[str, pl.DataFrame]) -> None:
        with timed(Stage.WRITE):
            counts = self._writer.append(tables)
        line_items = tables["line_items"].height if "line_items" in tables else 0
        self._meter.add(counts, line_items)
        self._progress.verdicts.update(counts)
        self._progress.line_items += line_items


def _give_way() -> None:
    """From now on this thread runs when no other wants to; where threads have no priority of their own, as the rest."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _LOWEST_PRIORITY)


def _plain_write_errors(folder: LedgerFolder) -> AbstractContextManager[None]:
    return plain_os_errors(f"cannot write the ledger {folder.root}")
