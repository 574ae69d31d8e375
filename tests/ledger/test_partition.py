"""One writer inside the engine: when its commits are published, and what happens at the end of a run."""

import errno
import time
from contextlib import ExitStack
from threading import Event

import pytest

from dataflows.catalogs import OneCatalog
from dataflows.connectors.announcements import Announcement, writer_name
from dataflows.connectors.ledger import LedgerSink, RatingProgress
from dataflows.kept_epochs import KeptEpochs
from dataflows.ledger.commit import LanePosition
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.ledger.published import read_table
from dataflows.ledger.writer import LedgerWriter
from rating.catalog import compile_catalog
from schemas.catalog import Catalog

SECONDS = 30


CATALOG = compile_catalog(Catalog())


def ledger_sink(folder: LedgerFolder, threads: ExitStack, epochs: KeptEpochs) -> LedgerSink:
    return LedgerSink(folder, 1, OneCatalog(CATALOG), Housekeeping(), RatingProgress(), lambda: None, threads, epochs)


@pytest.mark.parametrize("told", [True, False])
def test_a_commit_is_published_when_it_is_told_to_be_kept_or_with_the_next_one(tmp_path, told):
    folder, epochs = open_folder(tmp_path / "ledger", 4, 1), KeptEpochs()
    with ExitStack() as threads:
        partition = ledger_sink(folder, threads, epochs).build_part("ledger", writer_name(0), None)
        for offset in range(3):
            partition.write_batch([Announcement(0, LanePosition(offset, None), 0, CATALOG.digest)])
            partition.snapshot()
            if told:
                epochs.kept()
        partition.close()
    assert read_table(folder.root, "commits")["sequence"].to_list() == ([0, 1, 2] if told else [0, 1])


def test_the_end_of_a_run_waits_for_no_merge_and_bears_one_that_fails(tmp_path, monkeypatch):
    """The engine commits its last epoch after its sinks are closed."""
    folder = open_folder(tmp_path / "ledger", 4, 1)
    merging, going_on = Event(), Event()

    def merge(writer):
        merging.set()
        assert going_on.wait(SECONDS)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(LedgerWriter, "merge", merge)
    with ExitStack() as threads:
        sink = ledger_sink(folder, threads, KeptEpochs())
        partition = sink.build_part("ledger", writer_name(0), None)
        for offset in range(3):
            partition.write_batch([Announcement(0, LanePosition(offset, None), 0, CATALOG.digest)])
            partition.snapshot()
        assert merging.wait(SECONDS)
        began = time.monotonic()
        partition.close()
        assert time.monotonic() - began < SECONDS / 2
        going_on.set()
    assert read_table(folder.root, "commits")["sequence"].to_list() == [0, 1]
