"""The settlement's writers: rows wait in one commit of each, and are published together.

Owns one commit of each per settlement. Does not own files (`ledger.writer`). The rule: a commit that is not published
never was; the next settlement finds its state in what is published, and removes the rest.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from dataflows.ledger.commit import LanePosition
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, plain_os_errors
from dataflows.ledger.manifest import wait_until_visible
from dataflows.ledger.publication import published_state
from dataflows.ledger.writer import LedgerWriter
from dataflows.settlement.reading import Completeness
from rating.settle import Settlement


class InvoiceWriters:
    """Some settlement writers during one settlement; their commits are closed side by side."""

    def __init__(self, folder: LedgerFolder, numbers: Iterable[int], keeping: Housekeeping) -> None:
        self._folder = folder
        self._writers = {
            number: LedgerWriter(folder, number, published_state(folder, number).snapshot(), keeping)
            for number in numbers
        }
        self._has_rows = dict.fromkeys(self._writers, False)
        self._threads = ThreadPoolExecutor(2, "invoices")

    def append(self, writer: int, made: Settlement) -> None:
        """Add rows to the open commit of a writer; of one writer by one thread at a time."""
        with plain_os_errors(f"cannot write the ledger {self._folder.root}"):
            self._has_rows[writer] |= any(rows.height for rows in made.without_notices().values())
            self._writers[writer].append(made.tables())

    def publish(self, facts: Completeness, as_of: int, catalog: str) -> None:
        """Close the commits that have rows, made from what `facts` say, and show them to readers at once."""
        with plain_os_errors(f"cannot write the ledger {self._folder.root}"):
            written = [number for number, has_rows in self._has_rows.items() if has_rows]
            closing = [self._threads.submit(self._close, self._writers[one], facts, as_of, catalog) for one in written]
            for each in closing:
                each.result()
            wait_until_visible(self._folder.manifest(number) for number in written)

    @staticmethod
    def _close(writer: LedgerWriter, facts: Completeness, as_of: int, catalog: str) -> None:
        for partition, offset in (facts.offsets or {0: 0}).items():
            writer.announce(0, partition, LanePosition(offset, as_of), catalog)
        writer.seal()
        writer.keep()
        writer.publish(writer.merge())

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()


@contextmanager
def invoice_writers(folder: LedgerFolder, numbers: Iterable[int], keeping: Housekeeping) -> Iterator[InvoiceWriters]:
    """Settlement writers for the block."""
    with plain_os_errors(f"cannot write the ledger {folder.root}"):
        writers = InvoiceWriters(folder, numbers, keeping)
    try:
        yield writers
    finally:
        writers.close()
