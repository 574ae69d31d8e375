"""The commits of a writer, checked by themselves: are their files whole, and do their rows give their digests?

Owns recomputing what `ledger.commit` wrote. The rule: the digest over a commit's counts and sums, and over the digest
before it, can be computed again from the published rows, in whatever files they lie now.
"""

from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.commit import Tally, WriterState, digest_of
from dataflows.ledger.commit_rows import CommitReader
from dataflows.ledger.folder import LedgerFolder
from dataflows.verification.findings import Check, Difference, Findings
from schemas.ledger import COMMITS, COUNTED
from schemas.verdicts import VERDICT_LABELS

_SUMMED = {
    "events": ("offset", "verdict", "content_digest"),
    "line_items": ("quantity", "amount"),
    "notifications": ("notification_id",),
    "quota_verdicts": ("remaining",),
    "invoices": ("total",),
    "invoice_lines": ("exact_amount",),
    "settled_periods": ("period",),
}
_COMMIT_TYPES = pl.DataFrame(pl.from_arrow(COMMITS.empty_table()))

CommitRow = dict[str, Any]


def place_of(row: CommitRow) -> str:
    """Where rows of a commit are, for people."""
    return f"{row['flow']} writer {row['writer']}, commit {row['sequence']}"


def check_files(folder: LedgerFolder, writer: int, findings: Findings) -> None:
    """Every file that the writer's manifest names is there, can be opened, and has as many rows as it says."""
    state = manifest.load(folder.manifest(writer))
    for table in (*COUNTED, "commits"):
        for file in state.live(table):
            path = folder.table(table) / file.name
            findings.add(Check.FILES, 1)
            try:
                found: Any = pq.read_metadata(path).num_rows
            except FileNotFoundError:
                found = "the file is missing"
            except (OSError, pa.ArrowInvalid) as error:
                found = str(error).partition("\n")[0]
            if found != file.rows:
                findings.damage(table, file.name, str(found), file.rows)


def commits_of(folder: LedgerFolder, writer: int) -> list[CommitRow]:
    """The rows of `commits` of a writer, in their order; those of files that cannot be read are left out."""
    rows = _COMMIT_TYPES
    for file in manifest.load(folder.manifest(writer)).live("commits"):
        try:
            found = pq.read_table(folder.table("commits") / file.name, partitioning=None)
        except (OSError, pa.ArrowInvalid):
            continue
        rows = pl.concat([rows, pl.DataFrame(pl.from_arrow(found))])
    return rows.sort("sequence").to_dicts()


def check_commits(folder: LedgerFolder, writer: int, rows: list[CommitRow], findings: Findings) -> None:
    """The counts, the conservation and the digest of each commit, from its rows."""
    if not rows:
        return
    reader = CommitReader(folder, writer)
    before = ""
    for number, row in enumerate(rows):
        if row["sequence"] != number:
            findings.differ(Difference(Check.DIGESTS, place_of(row), "commit", "sequence", row["sequence"], number))
            return
        try:
            tally = _tally(reader, row)
        except RatemillError as error:
            findings.damage(place_of(row), "", str(error))
            tally = None
        if tally is not None:
            _check_commit(row, before, tally, findings)
        before = row["digest"]


def _tally(reader: CommitReader, row: CommitRow) -> Tally:
    commit = reader.commit(row["sequence"])
    tally = Tally(received=row["received"])
    for table, columns in _SUMMED.items():
        for rows in reader.rows(commit, table, columns):
            tally.add({table: rows})
    return tally


def _check_commit(row: CommitRow, before: str, tally: Tally, findings: Findings) -> None:
    place = place_of(row)
    findings.add(Check.CONSERVATION, 1)
    decided = sum(row[verdict] for verdict in VERDICT_LABELS)
    if row["received"] != decided or row["received"] != tally.rows["events"]:
        findings.differ(Difference(Check.CONSERVATION, place, "commit", "received", row["received"], decided))
    for verdict in VERDICT_LABELS:
        if row[verdict] != tally.verdicts[verdict]:
            findings.differ(
                Difference(Check.CONSERVATION, place, "commit", verdict, row[verdict], tally.verdicts[verdict])
            )
    findings.add(Check.DIGESTS, 1)
    state = WriterState(row["sequence"], before)
    digest = digest_of(row["writer"], state, tally, row["catalog_digest"])
    if digest != row["digest"]:
        findings.differ(Difference(Check.DIGESTS, place, "commit", "digest", row["digest"], digest))
