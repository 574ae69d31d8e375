"""Finds in a ledger what an id means and hands it to the sentences: a line item, a record, an event, an invoice or a
line of one.

>>> _position("0-17")
(0, 17)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dataflows.catalog_history import CatalogHistory
from dataflows.errors import RatemillError
from ops.invoice_evidence import InvoiceReader
from ops.query import ask
from rating.explain import explain_event, explain_line
from rating.explain_invoice import explain_invoice, explain_invoice_line
from schemas.catalog import Catalog

Row = Mapping[str, Any]

_FIRST_SIGHT = ("rated", "exempt", "trial", "blocked")
_INVOICE = re.compile(r"([0-9a-f]{32})(?:-([0-9]{1,9}))?", re.ASCII)
_POSITION = re.compile(r"([0-9]{1,9})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True)
class Explained:
    """A row of the ledger and the sentences about it; `kind` is event, line, invoice or invoice_line."""

    kind: str
    row: Row
    sentences: tuple[str, ...]


class Explainer:
    """Explains what is in one ledger, with one given catalog or with those that the ledger keeps."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, ledger: Path, catalog: Catalog | None) -> None:
        self._connection = connection
        self._ledger = ledger
        self._given = catalog
        self._invoices = InvoiceReader(connection)

    def explain(self, name: str) -> list[Explained]:
        """Everything that carries this id. Raises RatemillError if nothing does."""
        lines = self._rows("SELECT * FROM line_items WHERE line_id = ?", [name])
        if lines:
            return [self._line(line) for line in lines]
        billed = self._billed(name)
        if billed:
            return billed
        explained = [one for event in self._events(name) for one in self._event(event)] + self._numbered(name)
        if not explained:
            raise RatemillError(
                f"nothing in {self._ledger} has the id {name}: give a line id (0-17-0), a record (0-17), an event"
                " (source/id), an invoice by id or number, or a line of one (with - and the number of the line)"
            )
        return explained

    def _billed(self, name: str) -> list[Explained]:
        """The line of an invoice, or an invoice with all of its lines; nothing if there is none of that id."""
        match = _INVOICE.fullmatch(name)
        invoice = self._invoices.invoice(match[1]) if match else None
        return self._of_invoice(invoice, match[2]) if match and invoice else []

    def _numbered(self, number: str) -> list[Explained]:
        """The same by the number of an invoice, which an event may have for its id."""
        front, _, line = number.rpartition("-")
        for name, place in ((number, None), (front, line)):
            invoice = self._invoices.numbered(name)
            if invoice is not None:
                return self._of_invoice(invoice, place)
        return []

    def _of_invoice(self, invoice: Row, place: str | None) -> list[Explained]:
        lines = self._invoices.lines(invoice["invoice_id"])
        if place is not None:
            return [self._invoice_line(line, invoice) for line in lines if str(line["line_number"]) == place]
        whole = Explained("invoice", invoice, tuple(explain_invoice(invoice, lines)))
        return [whole, *(self._invoice_line(line, invoice) for line in lines)]

    def _invoice_line(self, line: Row, invoice: Row) -> Explained:
        catalog = self._catalog(line["catalog_digest"])
        evidence = self._invoices.evidence(line, invoice)
        return Explained("invoice_line", line, tuple(explain_invoice_line(line, evidence, catalog)))

    def _events(self, name: str) -> list[Row]:
        position = _position(name)
        if position is not None:
            found = self._rows('SELECT * FROM events WHERE partition = ? AND "offset" = ?', list(position))
            if found:
                return found
        by_identity = 'SELECT * FROM events WHERE {} ORDER BY partition, "offset"'
        found = self._rows(by_identity.format("source || '/' || event_id = ?"), [name])
        return found or self._rows(by_identity.format("event_id = ?"), [name])

    def _event(self, event: Row) -> list[Explained]:
        lines = self._rows(
            'SELECT * FROM line_items WHERE partition = ? AND "offset" = ? ORDER BY length(line_id), line_id',
            [event["partition"], event["offset"]],
        )
        catalog = self._catalog(lines[0]["catalog_digest"] if lines else None)
        sentences = explain_event(event, lines, self._first_sight(event), catalog)
        return [Explained("event", event, tuple(sentences)), *(self._line(line) for line in lines)]

    def _line(self, line: Row) -> Explained:
        found = self._rows(
            'SELECT * FROM events WHERE partition = ? AND "offset" = ?', [line["partition"], line["offset"]]
        )
        catalog = self._catalog(line["catalog_digest"])
        return Explained("line", line, tuple(explain_line(line, found[0] if found else None, catalog)))

    def _first_sight(self, event: Row) -> Row | None:
        if event["verdict"] != "duplicate":
            return None
        found = self._rows(
            "SELECT * FROM events WHERE source = ? AND event_id = ? AND list_contains(?, verdict)",
            [event["source"], event["event_id"], list(_FIRST_SIGHT)],
        )
        return found[0] if found else None

    def _catalog(self, digest: str | None) -> Catalog:
        if self._given is not None:
            return self._given
        digest = digest or self._last_digest()
        history = CatalogHistory(self._ledger)
        if digest is None or not history.keeps(digest):
            raise RatemillError(f"{self._ledger} does not keep the catalog it was rated with: name it with --catalog")
        return history.catalog(digest)

    def _last_digest(self) -> str | None:
        rows = self._rows("SELECT catalog_digest FROM commits WHERE flow = 'rating' ORDER BY sequence DESC LIMIT 1", [])
        return rows[0]["catalog_digest"] if rows else None

    def _rows(self, query: str, parameters: Sequence[Any]) -> list[Row]:
        return list(ask(self._connection, query, parameters).records)


def _position(name: str) -> tuple[int, int] | None:
    match = _POSITION.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None
