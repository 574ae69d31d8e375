"""Reads from a ledger what the sentences about an invoice's line need beside the line itself.

Owns the statements. The line items of a line are those that were read when its invoice was made: the certificate of the
invoice says how far each input had been read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from ops.query import ask
from rating.explain_invoice import SPENDS, SUMMED, Evidence, Items

Row = Mapping[str, Any]

_ALL_ITEMS = """SELECT * FROM line_items WHERE subscription_id = ? AND product_id = ? AND product_version = ? AND \
charge_id = ? AND line_kind = ? AND coalesce(tier, 0) = ? AND period_start = ?"""
_ITEMS = """
    WITH own AS (
        SELECT *, line_kind = $kind AND coalesce(tier, 0) = $tier AS is_summed
        FROM line_items
        WHERE subscription_id = $subscription_id AND product_id = $product_id AND product_version = $product_version
            AND charge_id = $charge_id AND period_start = $period_start AND line_kind NOT IN ('trial', 'blocked')
            AND "offset" < coalesce(($certificate::JSON ->> ('$.offsets."' || partition || '"'))::BIGINT, 0)
    )
    SELECT
        count(*) FILTER (is_summed) AS lines,
        count(DISTINCT (partition, "offset")) FILTER (is_summed) AS events,
        coalesce(sum(quantity) FILTER (is_summed), 0) AS quantity,
        coalesce(sum(amount) FILTER (is_summed), 0) AS amount,
        min(unit_price) FILTER (is_summed) AS price_least, max(unit_price) FILTER (is_summed) AS price_most,
        coalesce(arg_min(line_id, (partition, "offset", length(line_id), line_id), 10) FILTER (is_summed), []) AS first,
        coalesce(sum(usage_after - usage_before), 0) AS usage
    FROM own
"""
_BEFORE = """
    SELECT i.number, l.exact_amount, l.amount
    FROM invoice_lines AS l JOIN invoices AS i ON i.invoice_id = l.invoice_id
    WHERE l.subscription_id = ? AND l.period = ? AND l.charge_id IS NOT DISTINCT FROM ?
        AND (i.period, i.revision) < (?, ?) AND coalesce(l.adjusts, l.line_kind) = ? AND coalesce(l.tier, 0) = ?
        AND i.invoice_id NOT IN (SELECT voids FROM invoices WHERE voids IS NOT NULL)
    ORDER BY i.period, i.revision, l.line_number
"""
_BOUNDED = """
    SELECT i.number, l.exact_amount, l.amount
    FROM invoice_lines AS l JOIN invoices AS i ON i.invoice_id = l.invoice_id
    WHERE l.subscription_id = ? AND l.period = ? AND l.charge_id = coalesce(?, l.charge_id)
        AND (i.period, i.revision) <= (?, ?) AND list_contains(?, coalesce(l.adjusts, l.line_kind))
        AND i.invoice_id NOT IN (SELECT voids FROM invoices WHERE voids IS NOT NULL)
    ORDER BY i.period, i.revision, l.line_number
"""


class InvoiceReader:
    """Finds invoices, their lines, and the evidence of a line."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def invoice(self, name: str) -> Row | None:
        """The invoice with this id."""
        found = self._rows("SELECT * FROM invoices WHERE invoice_id = ?", [name])
        return found[0] if found else None

    def numbered(self, number: str) -> Row | None:
        """The invoice with this number."""
        found = self._rows("SELECT * FROM invoices WHERE number = ?", [number])
        return found[0] if found else None

    def lines(self, name: str) -> list[Row]:
        """The lines of an invoice, in their order."""
        return self._rows("SELECT * FROM invoice_lines WHERE invoice_id = ? ORDER BY line_number", [name])

    def evidence(self, line: Row, invoice: Row) -> Evidence:
        """What the ledger says beside the line."""
        kind = line["adjusts"] or line["line_kind"]
        refunded = line["refunded_invoice_id"]
        asked = [line["subscription_id"], line["period"], line["charge_id"], invoice["period"], invoice["revision"]]
        bounded = [*SUMMED, *(SPENDS if line["charge_id"] is None else ())]
        return Evidence(
            invoice,
            self._items(line, kind, invoice["certificate"]) if kind in SUMMED else None,
            self._rows(_BEFORE, [*asked, kind, line["tier"] or 0]) if line["adjusts"] else [],
            self._rows(_BOUNDED, [*asked, bounded]) if kind in SPENDS else [],
            None if refunded is None else self.invoice(refunded),
        )

    def _items(self, line: Row, kind: str, certificate: str) -> Items:
        names = ("subscription_id", "product_id", "product_version", "charge_id")
        tier, start = line["tier"] or 0, line["period_start"]
        named = {name: line[name] for name in names}
        asked = named | {"kind": kind, "tier": tier, "period_start": start, "certificate": certificate}
        [found] = self._rows(_ITEMS, asked)
        return Items(**found, query=_query([*named.values(), kind, tier, start]))

    def _rows(self, query: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
        return list(ask(self._connection, query, values).records)


def _query(values: Sequence[Any]) -> str:
    """The statement that finds the line items, with its values written out, as a shell takes it in double quotes."""
    parts = _ALL_ITEMS.split("?")
    text = "".join(part + value for part, value in zip(parts, [*map(_literal, values), ""], strict=True))
    return "".join(f"\\{char}" if char in '"\\$`' else char for char in text)


def _literal(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
