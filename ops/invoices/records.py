"""An invoice of a ledger, found by its id, the beginning of its id, or its number.

Owns finding it and its state. Does not own how it is shown. The rule: an invoice that a revision replaces is voided,
whatever was stated of it; otherwise the last statement holds; without any it is issued.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from dataflows.errors import RatemillError
from ops.query import ask
from schemas.invoices import InvoiceState

Row = Mapping[str, Any]

_FEWEST_DIGITS = 6
_MOST_NAMED = 5
_DIGITS = re.compile(r"[0-9a-f]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice as it was issued: `head` and `lines` are rows of the ledger; and what became of it since.

    `stated` is the last statement, `replaces` and `replaced_by` are numbers of other invoices. Of a draft, which no
    ledger has, `drafted_at` is the moment (microseconds UTC) up to which it was made.
    """

    head: Row
    lines: tuple[Row, ...]
    recipient: Row
    credentials: tuple[Row, ...]
    certificate: Row
    stated: Row | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    drafted_at: int | None = None

    @property
    def state(self) -> InvoiceState:
        """What it is now."""
        if self.drafted_at is not None:
            return InvoiceState.DRAFT
        if self.replaced_by is not None:
            return InvoiceState.VOIDED
        return InvoiceState.ISSUED if self.stated is None else InvoiceState[self.stated["state"].upper()]


def find_invoice(connection: duckdb.DuckDBPyConnection, ledger: Path, name: str) -> Invoice:
    """The invoice of this id, beginning of an id, or number. Raises RatemillError if there is none, or several."""
    digits = name.lower() if _DIGITS.fullmatch(name.lower()) and len(name) >= _FEWEST_DIGITS else None
    found = _rows(
        connection,
        "SELECT * FROM invoices WHERE number = ? OR starts_with(invoice_id, ?) ORDER BY number, invoice_id LIMIT ?",
        # No id begins with a line end.
        [name, digits or "\n", _MOST_NAMED + 1],
    )
    if not found:
        raise RatemillError(_unknown(connection, ledger, name))
    if len(found) > 1:
        named = [f"{row['invoice_id']} ({row['number']})" for row in found[:_MOST_NAMED]]
        more = " and more" if len(found) > _MOST_NAMED else ""
        raise RatemillError(f"{name} may be one of several invoices: {', '.join(named)}{more}")
    return _invoice(connection, found[0])


def invoice_of(head: Row, lines: tuple[Row, ...], **since: Any) -> Invoice:
    """The invoice that these rows of the ledger are, and what became of it since."""
    return Invoice(
        head=head,
        lines=lines,
        recipient=msgspec.json.decode(head["recipient"]),
        credentials=tuple(msgspec.json.decode(head["credentials"])),
        certificate=msgspec.json.decode(head["certificate"]),
        **since,
    )


def _invoice(connection: duckdb.DuckDBPyConnection, head: Row) -> Invoice:
    own = [head["invoice_id"]]
    lines = _rows(connection, "SELECT * FROM invoice_lines WHERE invoice_id = ? ORDER BY line_number", own)
    stated = _rows(connection, "SELECT state, stated_at, note FROM invoice_states WHERE invoice_id = ?", own)
    # Of several revisions, each of which replaces the one before, the next one.
    after = _rows(connection, "SELECT number FROM invoices WHERE voids = ? ORDER BY revision LIMIT 1", own)
    before = _rows(connection, "SELECT number FROM invoices WHERE invoice_id = ?", [head["voids"]])
    return invoice_of(
        head,
        tuple(lines),
        stated=stated[0] if stated else None,
        replaces=before[0]["number"] if before else None,
        replaced_by=after[0]["number"] if after else None,
    )


def _unknown(connection: duckdb.DuckDBPyConnection, ledger: Path, name: str) -> str:
    near = _rows(
        connection,
        "SELECT number FROM invoices WHERE levenshtein(number, ?) <= ? OR subscription_id = ?"
        " ORDER BY levenshtein(number, ?), period DESC, number LIMIT 3",
        [name, max(2, len(name) // 4), name, name],
    )
    numbers = ", ".join(row["number"] for row in near)
    hint = f"; did you mean {numbers}?" if numbers else ""
    short = len(name) < _FEWEST_DIGITS and _DIGITS.fullmatch(name.lower())
    needed = f" (of an id, at least {_FEWEST_DIGITS} digits are needed)" if short and not numbers else ""
    return f"no invoice of {ledger} has the id or number {name}{hint}{needed}"


def _rows(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any]) -> list[dict[str, Any]]:
    return ask(connection, query, parameters).records
