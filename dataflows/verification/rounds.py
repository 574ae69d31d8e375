"""The settlements of a ledger one after another: what each of them had before it, and a look at exactly that.

A round is what one settlement has committed, in one commit of each writer. Owns finding the rounds and limiting tables
to the commits that a round has seen. The rule: a certificate names the commits of the rating flow that it was made
from; of the settlement flow a round has seen every round before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from dataflows.ledger import manifest
from dataflows.ledger.commit import offsets_of
from dataflows.ledger.folder import NO_ROWS, LedgerFolder
from dataflows.ledger.manifest import PublishedFile
from dataflows.ledger.published import files_sql, listed
from dataflows.settlement.reading import LedgerReader
from dataflows.verification.commits import CommitRow
from rating.periods import microseconds
from schemas.ledger import TABLES

_FIRST_ROWS = (
    "SELECT * EXCLUDE (file_row_number) FROM read_parquet({files}, file_row_number = true, hive_partitioning = false)"
    " WHERE file_row_number < {rows}"
)
Commits = Mapping[int, Sequence[CommitRow]]
Seen = dict[int, int]


class _Certificate(msgspec.Struct):
    """The part of a certificate that names commits: the last one of each writer of the rating flow."""

    commits: dict[int, int]


@dataclass(frozen=True, slots=True)
class Round:
    """`commits` of settlement writers that belong together; `seen` is how many commits of each writer came before."""

    commits: tuple[CommitRow, ...]
    seen: Seen

    @property
    def catalog(self) -> str:
        """The digest of the catalog that it was settled with."""
        return str(self.commits[0]["catalog_digest"])

    @property
    def as_of(self) -> int:
        """Up to when it settled, in microseconds UTC."""
        return microseconds(self.commits[0]["progress"])


def named_commits(certificate: str, rating: Commits) -> Seen | None:
    """How many commits of each writer of the rating flow a certificate has seen; None if it cannot be."""
    try:
        named = msgspec.json.decode(certificate, type=_Certificate).commits
    except msgspec.DecodeError:
        return None
    if any(not 0 <= last < len(rating.get(writer, ())) for writer, last in named.items()):
        return None
    return {writer: last + 1 for writer, last in named.items()}


def seen_by_offsets(row: CommitRow, rating: Commits) -> Seen:
    """The same of a commit without a certificate: all commits of which none goes beyond its offsets."""
    reached = offsets_of(row["offsets"])

    def within(commit: CommitRow) -> bool:
        return all(offset <= reached.get(lane, 0) for lane, offset in offsets_of(commit["offsets"]).items())

    return {writer: sum(map(within, rows)) for writer, rows in rating.items()}


def rounds_of(settlement: Commits, seen: Mapping[tuple[int, int], Seen]) -> Iterator[Round]:
    """The rounds in their order; `seen` has for each commit (writer, sequence) the commits of rating before it."""
    done = dict.fromkeys(settlement, 0)
    while heads := [rows[done[writer]] for writer, rows in settlement.items() if done[writer] < len(rows)]:
        keys = [_key(row, seen[row["writer"], row["sequence"]]) for row in heads]
        first = min(keys, key=lambda key: key[:2])
        own = tuple(row for row, key in zip(heads, keys, strict=True) if key == first)
        yield Round(own, {**seen[own[0]["writer"], own[0]["sequence"]], **done})
        for row in own:
            done[row["writer"]] += 1


def _key(row: CommitRow, seen: Seen) -> tuple[int, int, str, tuple[tuple[int, int], ...]]:
    return sum(seen.values()), microseconds(row["progress"]), row["catalog_digest"], tuple(sorted(seen.items()))


def look_before(
    folder: LedgerFolder, settled: Round, commits: Commits, voided: Sequence[str]
) -> "closing[LedgerReader]":
    """The ledger as a round saw it, which was to void some invoices."""
    tables = {table: _statement(folder, table, settled.seen, commits) for table in TABLES}
    return closing(LedgerReader(tables, folder.pending, voided))


def _statement(folder: LedgerFolder, table: str, seen: Seen, commits: Commits) -> str:
    whole, parts = [], []
    for writer, limit in seen.items():
        for file in manifest.load(folder.manifest(writer)).live(table):
            path = folder.table(table) / file.name
            if file.sequence_last < limit:
                whole.append(path)
            elif file.sequence_first < limit:
                rows = _rows_before(file, limit, commits[writer])
                parts.append(_FIRST_ROWS.format(files=listed([path]), rows=rows))
    return " UNION ALL ".join([files_sql([*whole, folder.table(table) / NO_ROWS]), *parts])


def _rows_before(file: PublishedFile, limit: int, rows: Sequence[CommitRow]) -> int:
    if file.table == "commits":
        return limit - file.sequence_first
    return sum(int(row[file.table]) for row in rows[file.sequence_first : limit])
