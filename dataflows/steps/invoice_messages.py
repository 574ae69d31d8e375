"""Invoices as messages for Kafka, each with its lines, so that whoever books them needs nothing else.

Owns putting lines to their invoices: in a commit they stand in the order of the invoices, each of which says how many
it has, so that neither is ever held whole.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from dataflows.steps.messages import Header, Message, json_texts, size_of
from schemas.invoices import INVOICE_LINES, INVOICES

COLUMNS = tuple(INVOICES.names)
LINE_COLUMNS = tuple(INVOICE_LINES.names)
_OBJECTS = ("recipient", "credentials", "certificate", "invoice_lines")
_OF_INVOICE = ("invoice_id", "subscription_id", "organization_id", "currency", "synthetic", "catalog_digest")


class MisplacedLinesError(Exception):
    """The lines are not those of the invoices; says how."""


def with_lines(invoices: Iterator[pl.DataFrame], lines: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """These invoices with a column `invoice_lines`, a JSON list of what each line says beside its invoice."""
    waiting = pl.DataFrame()
    for rows in invoices:
        wanted = int(rows["lines"].sum())
        while waiting.height < wanted:
            came = next(lines, None)
            if came is None:
                raise MisplacedLinesError("lines of invoices are missing")
            waiting = pl.concat([waiting, came]) if waiting.height else came
        own, waiting = waiting[:wanted], waiting[wanted:]
        yield rows.with_columns(invoice_lines=_lists(rows, own))


def _lists(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.Series:
    owners = invoices.select(pl.col("invoice_id").repeat_by("lines").explode().drop_nulls())["invoice_id"]
    if lines.height and not lines["invoice_id"].equals(owners):
        raise MisplacedLinesError("lines of invoices do not stand in the order of the invoices")
    if not lines.height:
        return pl.Series(["[]"], dtype=pl.String).new_from_index(0, invoices.height)
    texts = lines.select("invoice_id", text=json_texts(lines.drop(_OF_INVOICE)))
    joined = texts.group_by("invoice_id", maintain_order=True).agg(pl.col("text").str.join(","))
    own = invoices.select("invoice_id").join(joined, on="invoice_id", how="left", maintain_order="left")["text"]
    return "[" + own.fill_null("") + "]"


def invoice_messages(rows: pl.DataFrame, largest: int) -> Iterator[Message]:
    """One message per invoice with its lines, what columns hold as JSON unfolded; the key is its subscription.

    Should lines or credentials make it larger than `largest` bytes, it has none, which headers say; the ledger keeps
    them.
    """
    names = [name for name in rows.columns if name not in _OBJECTS]
    keys = rows["subscription_id"].to_list()
    for text, row, key in zip(json_texts(rows.select(names)), rows.iter_rows(named=True), keys, strict=True):
        headers: list[Header] = []
        value = _unfolded(text, row)
        for name, header in (("invoice_lines", "lines-left-out"), ("credentials", "credentials-left-out")):
            if size_of(value, key, headers) > largest:
                row[name] = "[]"
                headers.append((header, "all"))
                value = _unfolded(text, row)
        yield value, key, headers or None


def _unfolded(text: str, row: dict[str, Any]) -> bytes:
    """A JSON object with further members, whose values are JSON already."""
    members = "".join(f',"{name}":{row[name]}' for name in _OBJECTS)
    return f"{text[:-1]}{members}}}".encode()
