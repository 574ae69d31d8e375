"""Reading what is published and nothing else, in SQL for DuckDB and as files for us.

A statement sees the state of the ledger at its own start. DuckDB expands the file pattern after that moment and reads
the manifest later still; both only ever hold more than the state needs, and the filter takes exactly that state. The
list is one value, so that DuckDB builds the join on it and opens no file that is not in it, up to the number of files
that its setting `dynamic_or_filter_threshold` says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.ledger import manifest
from dataflows.ledger.folder import NO_ROWS
from dataflows.ledger.manifest import PublishedFile
from schemas.ledger import TABLES

_COLUMNS = (
    "{'table': 'VARCHAR', 'name': 'VARCHAR', 'rows': 'BIGINT', 'sequence_first': 'BIGINT', 'sequence_last': 'BIGINT',"
    " 'level': 'INTEGER', 'visible_from': 'BIGINT', 'visible_until': 'BIGINT',"
    " 'complete_since': 'BIGINT'}"
)
# A folder above called `name=value` says nothing about the rows.
_FILES = "SELECT * FROM read_parquet({files}, hive_partitioning = false)"
_STATEMENT = """\
SELECT * FROM read_parquet({pattern}, hive_partitioning = false)
WHERE filename IN (
    SELECT unnest((
        SELECT list({folder} || name) FROM read_json({manifests}, format = 'array', columns = {columns})
        WHERE "table" = {table}
            AND visible_from <= epoch_us(transaction_timestamp())
            AND (visible_until IS NULL OR epoch_us(transaction_timestamp()) < visible_until)
            AND CASE WHEN epoch_us(transaction_timestamp()) < complete_since
                THEN error('the statement or transaction began too long ago: run it again') ELSE true END
    ))
)"""


def published_files_sql(root: Path, table: str) -> str:
    """A SELECT over the published rows of a ledger's table, consistent within a statement and within a transaction."""
    assert table in TABLES, table
    place = str(root.resolve() / table) + "/"
    return _STATEMENT.format(
        pattern=quoted_pattern(root.resolve() / table, "*.parquet"),
        folder=_quoted(place),
        manifests=quoted_pattern(root.resolve() / "manifest", "*.json"),
        columns=_COLUMNS,
        table=_quoted(table),
    )


@dataclass(frozen=True, slots=True)
class VisibleFiles:
    """The files of a ledger that hold what was published at one moment, by the manifest that names them."""

    root: Path
    _by_manifest: Mapping[Path, Sequence[PublishedFile]]

    @classmethod
    def at(cls, root: Path, moment: int) -> "VisibleFiles":
        """Those of a moment (microseconds since 1970); RatemillError if some of that time have been removed."""
        paths = sorted((root / "manifest").glob("*.json"))
        return cls(root, {path: manifest.load(path).visible_at(moment) for path in paths})

    @classmethod
    def now(cls, root: Path) -> "VisibleFiles":
        """Those of this moment."""
        return cls.at(root, manifest.now())

    def of(self, table: str, path: Path | None = None) -> list[Path]:
        """The files of a table, one without rows behind them; of all writers, or of the one whose manifest this is."""
        folder = self.root.resolve() / table
        seen = self._by_manifest.values() if path is None else [self._by_manifest[path]]
        named = [folder / file.name for files in seen for file in files if file.table == table]
        return [*named, folder / NO_ROWS]


def files_sql(files: Sequence[Path]) -> str:
    """A SELECT over the rows of these Parquet files."""
    return _FILES.format(files=listed(files))


def listed(files: Sequence[Path]) -> str:
    """Files as a literal for DuckDB."""
    return "[" + ", ".join(quoted_pattern(file.parent, _literal(file.name)) for file in files) + "]"


def quoted_pattern(folder: Path, names: str) -> str:
    """The files of a folder as a literal for DuckDB; only in `names` a pattern's characters mean a pattern."""
    return _quoted(f"{_literal(str(folder))}/{names}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(path: str) -> str:
    """A path in which DuckDB's pattern characters stand for themselves."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)


def live_files(root: Path, table: str) -> Iterator[Path]:
    """The files that hold every published row of a table once, whoever began to read when; for the ledger's own use."""
    for path in sorted((root / "manifest").glob("*.json")):
        for file in manifest.load(path).live(table):
            yield root / table / file.name


def read_table(root: Path, table: str) -> pl.DataFrame:
    """Every published row of a table, in no order that means anything."""
    files = [pq.read_table(path, partitioning=None) for path in live_files(root, table)]
    return pl.DataFrame(pl.from_arrow(pa.concat_tables([TABLES[table].empty_table(), *files])))


def commits_since(root: Path, sequences: list[int]) -> pl.DataFrame:
    """Published commits from these sequences on, one number per writer."""
    first = pl.DataFrame({"first": sequences}, schema={"first": pl.Int64}).with_row_index("writer")
    commits = read_table(root, "commits").join(first.with_columns(pl.col("writer").cast(pl.Int32)), on="writer")
    return commits.filter(pl.col("sequence") >= pl.col("first")).drop("first")
