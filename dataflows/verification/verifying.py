"""Verifying a ledger: files → commits → rating once more → settling once more.

Owns that order. The rule: only what is published when it begins is looked at, and nothing is ever written.
"""

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.ledger.commit import offsets_of
from dataflows.ledger.folder import LedgerFolder
from dataflows.verification.commits import check_commits, check_files, commits_of
from dataflows.verification.findings import Findings
from dataflows.verification.replay import Circumstances, Replay
from dataflows.verification.settlements import Settlements

_COMPARED = ("events", "line_items", "invoices", "invoice_lines", "settled_periods")


def verify(folder: LedgerFolder, lateness: int | None, findings: Findings) -> None:
    """Verify all of a ledger; `lateness` is the one that it was rated with, in microseconds (None: unlimited)."""
    catalogs = CatalogVersions(CatalogHistory(folder.root))
    commits = {writer: commits_of(folder, writer) for writer in folder.all_writers()}
    findings.expected = sum(int(row[table]) for rows in commits.values() for row in rows for table in _COMPARED)
    for writer, rows in commits.items():
        check_files(folder, writer, findings)
        check_commits(folder, writer, rows, findings)
    rating = {writer: commits[writer] for writer in folder.writers()}
    partitions = frozenset(lane for rows in rating.values() for row in rows for lane in offsets_of(row["offsets"]))
    circumstances = Circumstances(folder, catalogs, lateness)
    for writer, rows in rating.items():
        if rows:
            Replay(circumstances, writer, partitions, findings).run(rows)
    settlement = {writer: commits[writer] for writer in folder.settlement_writers()}
    Settlements(folder, catalogs, rating, settlement, findings).check()
