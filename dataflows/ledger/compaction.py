"""Merging small files of a table into larger ones, geometrically, without any reader noticing.

Files that are large already are left alone: writing a row once more costs as much as writing it first.

The rule: a merge takes neighbours of one level, so a row is written again at most once per level and the order of the
commits is kept. What is merged has been published, so no merge is ever undone.
"""

from dataclasses import dataclass
from itertools import groupby

import pyarrow.parquet as pq

from dataflows.ledger.folder import LedgerFolder, sync
from dataflows.ledger.manifest import PublishedFile
from dataflows.ledger.publication import file_name
from dataflows.ledger.tables import TableFile


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """When neighbours are merged: so many files of a level, of together at most so many rows.

    Replaced files stay for `replaced_files_grace` seconds, for statements that began before and still read them.
    """

    merge_files: int = 8
    merged_rows_limit: int = 500_000
    replaced_files_grace: float = 900.0


@dataclass(frozen=True, slots=True)
class Merge:
    """One file that has the rows of those that it replaces, and that no manifest names yet."""

    replaced: list[PublishedFile]
    merged: PublishedFile


def plan_compaction(live: list[PublishedFile], keeping: Housekeeping) -> list[PublishedFile]:
    """The files to merge next, in the order of their commits; empty when there is no need.

    `live` are the files of one table in the order of their commits.
    """
    for _, neighbours in groupby(live, key=lambda file: file.level):
        chosen = list(neighbours)[: keeping.merge_files]
        if len(chosen) == keeping.merge_files and sum(file.rows for file in chosen) <= keeping.merged_rows_limit:
            return chosen
    return []


def merge(folder: LedgerFolder, writer: int, files: list[PublishedFile]) -> Merge:
    """Write one file with the rows of `files` beside them."""
    table, first, last = files[0].table, files[0].sequence_first, files[-1].sequence_last
    level = files[0].level + 1
    name = file_name(table, writer, first, last, level)
    merged = TableFile(table, folder.pending / name, compact=True)
    for file in files:
        # In this thread only, for it is the one that gives way to all others.
        merged.append_arrow(pq.read_table(folder.table(table) / file.name, partitioning=None, use_threads=False))
    merged.close()
    assert merged.rows == sum(file.rows for file in files), f"merging lost rows of {name}"
    merged.path.replace(folder.table(table) / name)
    sync(folder.table(table))
    return Merge(files, PublishedFile(table, name, merged.rows, first, last, level))
