"""What people state of invoices that were issued: that they are paid, since when it is known, and a note.

Owns the folder `invoice_states`. Does not own invoices, which never change. The rule: a statement is added and never
taken away; the last one holds. The first two digits of an invoice's id name the file, one line for each statement, so
that a ledger of many invoices has few files, and each is small enough to be replaced as a whole.
"""

from datetime import datetime
from pathlib import Path

import msgspec

from dataflows.errors import UnmendableError
from dataflows.ledger.folder import RESTORE, LedgerFolder, alone, plain_os_errors, replace_file
from dataflows.ledger.published import quoted_pattern
from schemas.invoices import InvoiceState

_COLUMNS = "{'invoice_id': 'VARCHAR', 'state': 'VARCHAR', 'stated_at': 'TIMESTAMPTZ', 'note': 'VARCHAR'}"
_STATEMENT = """\
SELECT invoice_id, state, stated_at, note
FROM read_json({pattern}, format = 'newline_delimited', columns = {columns})
QUALIFY row_number() OVER (PARTITION BY invoice_id ORDER BY stated_at DESC) = 1"""


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: what was stated of an invoice, when, and what else the person had to say."""

    invoice_id: str
    state: str
    stated_at: datetime
    note: str | None = None


def invoice_states_sql(root: Path) -> str:
    """A SELECT of the last statement of each invoice that has one."""
    return _STATEMENT.format(pattern=quoted_pattern(root.resolve() / "invoice_states", "*.ndjson"), columns=_COLUMNS)


def state_paid(
    folder: LedgerFolder, invoice_id: str, stated_at: datetime, note: str | None = None
) -> tuple[bool, Statement]:
    """State that an invoice is paid, and give the statement that holds; one that was paid before stays as it was."""
    place = folder.invoice_states
    with plain_os_errors(f"cannot write the ledger {folder.root}"), alone(place / "lock"):
        path = place / f"{invoice_id[:2]}.ndjson"
        lines = _read(path)
        before = [one for one in lines if one.invoice_id == invoice_id]
        if before and before[-1].state == InvoiceState.PAID.label:
            return False, before[-1]
        said = Statement(invoice_id, InvoiceState.PAID.label, stated_at, note)
        replace_file(path, b"".join(msgspec.json.encode(one) + b"\n" for one in [*lines, said]))
        return True, said


def _read(path: Path) -> list[Statement]:
    if not path.exists():
        return []
    try:
        return [msgspec.json.decode(line, type=Statement) for line in path.read_bytes().splitlines()]
    except msgspec.DecodeError as error:
        raise UnmendableError(f"{path} is damaged ({error}): {RESTORE}") from error
