"""`ratemill verify`: every line and invoice of a ledger, computed once more from its events."""

from dataclasses import asdict
from typing import Any

import typer

from dataflows.ledger.folder import existing_folder
from dataflows.rating import LATENESS_OF_TOPICS
from dataflows.verification.findings import Check, Findings
from dataflows.verification.verifying import verify
from ops.arguments import JsonOption, LedgerOption, needed, settings_with
from ops.output import print_json, print_table, remark, say
from ops.progress import CountingProgress

EXAMPLES = """
Examples:

    ratemill verify --ledger ledger

    ratemill verify --ledger ledger --json
"""
_PROBLEMS = 1
_SHOWN = 20


def run(ledger: LedgerOption = None, json: JsonOption = False) -> None:
    """Replay the stored events and settlements, and compare every line and invoice; exit 1 if anything differs."""
    settings = settings_with(ledger=ledger)
    folder = existing_folder(needed(settings.ledger, "ledger"))
    lateness = settings.lateness_us
    if lateness is None and folder.topic.exists():
        lateness = LATENESS_OF_TOPICS
    with CountingProgress("Verifying", "rows") as live:
        findings = Findings(None if json else _SHOWN, live.update)
        verify(folder, lateness, findings)
    if json:
        print_json(_record(findings))
    else:
        _show(findings)
    if not findings.hold:
        raise typer.Exit(_PROBLEMS)


def _record(findings: Findings) -> dict[str, Any]:
    return {
        "holds": findings.hold,
        "checks": [
            {"check": check.value, "compared": findings.compared[check], "differing": findings.differing[check]}
            for check in Check
        ],
        "not_compared": {what.value: count for what, count in findings.unchecked.items() if count},
        "differences": [asdict(difference) for difference in findings.differences],
    }


def _show(findings: Findings) -> None:
    rows = [
        (check.value, findings.compared[check], findings.differing[check], _word(findings.differing[check]))
        for check in Check
    ]
    print_table(("check", "compared", "differing", ""), rows)
    for what, count in findings.unchecked.items():
        if count:
            say(f"Not compared one by one: {count:,} {what.value}.")
    if findings.hold:
        return
    shown = [
        (one.check.value, one.place, one.row, one.column, one.stored, one.computed) for one in findings.differences
    ]
    print_table(("check", "where", "row", "column", "stored", "computed"), shown, title="Differences")
    hidden = findings.differing.total() - len(shown)
    if hidden:
        remark(f"{hidden:,} more differences: `--json` lists them all.")


def _word(differing: int) -> str:
    return "differs" if differing else "holds"
