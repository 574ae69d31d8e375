"""Reading the ledger commit by commit, as a writer wrote it, whether or not its files have been merged since.

Owns: finding the rows of a commit in whatever file holds them now. Does not own: which files are published (manifest).
The rule: merges keep the order of commits, so the counts in `commits` say where in a file the rows of each commit lie;
counts that do not add up to the rows of the file are damage, and nothing is read from it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.folder import LedgerFolder, plain_os_errors
from dataflows.ledger.manifest import PublishedFile
from schemas.ledger import COMMITS, TABLES

FRAME_ROWS = 16_384
_COMMITS_AT_ONCE = 65_536
_COUNTS = tuple(field.name for field in COMMITS if field.type == pa.int64() and field.name != "sequence")
_COMMIT_COLUMNS = ("sequence", *_COUNTS, "digest")
_NO_COMMITS = pl.DataFrame(pl.from_arrow(COMMITS.empty_table())).select(_COMMIT_COLUMNS)


@dataclass(frozen=True, slots=True)
class Commit:
    """One published commit: its number, its digest, what it counted (the columns of `commits` that count)."""

    writer: int
    sequence: int
    digest: str
    counts: Mapping[str, int]
    visible_from: int


class CommitReader:
    """The published commits of one writer; follows its manifest, and keeps the files open that it reads from."""

    def __init__(self, folder: LedgerFolder, writer: int) -> None:
        self._root = folder.root
        self._writer = writer
        self._manifest = folder.manifest(writer)
        self._seen: tuple[int, int, int] | None = None
        self._live: dict[str, list[PublishedFile]] = {}
        self._open: dict[str, _CommitFile] = {}
        self._commits = _NO_COMMITS
        self.published = 0
        self.look()

    def look(self) -> bool:
        """Look at the manifest, if it has been replaced; says whether it was."""
        with self._plain_errors():
            found = self._manifest.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen:
                return False
            state = manifest.load(self._manifest)
        self._seen = seen
        self._live = {table: state.live(table) for table in TABLES}
        self.published = state.next_sequence
        return True

    def commit(self, sequence: int) -> Commit:
        """The commit of that number, which must be published."""
        assert sequence < self.published, f"commit {sequence} of writer {self._writer} is not published"
        with self._plain_errors():
            row = self._commits_between(sequence, sequence).row(0, named=True)
        file = self._holding("commits", sequence)
        counts = {name: row[name] for name in _COUNTS}
        return Commit(self._writer, sequence, row["digest"], counts, file.visible_from if file else 0)

    def rows(self, commit: Commit, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The rows of a commit in their order, in frames of at most `FRAME_ROWS`; only these columns."""
        expected = commit.counts[table]
        if not expected:
            return
        with self._plain_errors():
            for piece in self._opened(table, commit.sequence).rows(commit.sequence, commit.sequence, columns):
                expected -= piece.num_rows
                yield pl.DataFrame(pl.from_arrow(piece))
        assert not expected, f"{table}: {expected} rows of {commit} were not read"

    def _commits_between(self, first: int, last: int) -> pl.DataFrame:
        """The rows of `commits` with these numbers, of which many are kept at hand."""
        start = self._commits["sequence"][0] if self._commits.height else 0
        if not start <= first <= last < start + self._commits.height:
            start = first
            self._commits = self._read_commits(first, max(last, min(first + _COMMITS_AT_ONCE, self.published) - 1))
        return self._commits.slice(first - start, last - first + 1)

    def _read_commits(self, first: int, last: int) -> pl.DataFrame:
        pieces: list[pa.Table] = []
        sequence = first
        while sequence <= last:
            file = self._opened("commits", sequence)
            until = min(last, file.about.sequence_last)
            pieces += file.rows(sequence, until, _COMMIT_COLUMNS)
            sequence = until + 1
        commits = pl.DataFrame(pl.from_arrow(pa.concat_tables(pieces)))
        if commits["sequence"].to_list() != list(range(first, last + 1)):
            raise self._damage(f"commits {first} to {last} of writer {self._writer} are not in their order")
        return commits

    def _opened(self, table: str, sequence: int) -> "_CommitFile":
        """The open file with the rows of a commit; one that a merge has replaced since serves as well."""
        opened = self._open.get(table)
        while opened is None or not opened.holds(sequence):
            about = self._holding(table, sequence)
            if about is None:
                raise self._damage(f"no file of {table} has commit {sequence} of writer {self._writer}")
            opened = self._open_file(about)
        self._open[table] = opened
        return opened

    def _open_file(self, about: PublishedFile) -> "_CommitFile | None":
        """The file; None if it was replaced and removed while we looked away."""
        first, last = about.sequence_first, about.sequence_last
        if about.table == "commits":
            counts = np.ones(last - first + 1, np.int64)
        else:
            counts = self._commits_between(first, last)[about.table].to_numpy()
        path = self._root / about.table / about.name
        try:
            file = pq.ParquetFile(path)
        except FileNotFoundError:
            self.look()
            if about in self._live[about.table]:
                raise self._damage(f"{path.name} is missing") from None
            return None
        if not counts.sum() == about.rows == file.metadata.num_rows:
            raise self._damage(
                f"{path.name} has {file.metadata.num_rows} rows; by the manifest it has {about.rows},"
                f" and by its commits {counts.sum()}"
            )
        return _CommitFile(about, file, counts)

    def _holding(self, table: str, sequence: int) -> PublishedFile | None:
        files = self._live[table]
        index = bisect_right(files, sequence, key=lambda file: file.sequence_first) - 1
        return files[index] if index >= 0 and sequence <= files[index].sequence_last else None

    def _damage(self, what: str) -> RatemillError:
        return RatemillError(f"the ledger {self._root} is damaged: {what}; restore it from a backup")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        with plain_os_errors(f"cannot read the ledger {self._root}"):
            try:
                yield
            except pa.ArrowInvalid as error:
                raise self._damage(str(error).partition("\n")[0]) from error


class _CommitFile:
    """An open file, and where in it the rows of each of its commits lie; one row group of it is kept in memory."""

    def __init__(self, about: PublishedFile, file: pq.ParquetFile, counts: np.ndarray) -> None:
        self.about = about
        self._file = file
        self._starts = _running_sums(counts)
        groups = range(file.metadata.num_row_groups)
        self._groups = _running_sums([file.metadata.row_group(group).num_rows for group in groups])
        self._group: tuple[int, Sequence[str], pa.Table] | None = None

    def holds(self, sequence: int) -> bool:
        """Whether the rows of that commit are here."""
        return self.about.sequence_first <= sequence <= self.about.sequence_last

    def rows(self, first: int, last: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of these commits, in pieces."""
        row = int(self._starts[first - self.about.sequence_first])
        end = int(self._starts[last + 1 - self.about.sequence_first])
        while row < end:
            group = int(np.searchsorted(self._groups, row, side="right")) - 1
            until = min(end, int(self._groups[group + 1]), row + FRAME_ROWS)
            yield self._row_group(group, columns).slice(row - int(self._groups[group]), until - row)
            row = until

    def _row_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        if self._group is None or self._group[:2] != (group, columns):
            self._group = None
            self._group = (group, columns, self._file.read_row_group(group, list(columns), use_threads=False))
        return self._group[2]


def _running_sums(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
