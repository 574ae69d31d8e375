"""Invoices with their lines as messages: whatever the frames they are read in, and when a message is too large."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from dataflows.steps.invoice_messages import MisplacedLinesError, invoice_messages, with_lines
from schemas.invoices import INVOICE_LINES, INVOICES
from schemas.ledger import polars_schema

_COUNTS = (2, 0, 3, 1, 0)
_MOMENT = datetime(2026, 12, 1, tzinfo=UTC)


def rows(schema, items):
    filled = [{name: item.get(name) for name in schema.names} for item in items]
    return pl.DataFrame(filled, schema=polars_schema(schema), orient="row")


def invoices():
    common = {"subscription_id": "s", "issued_at": _MOMENT, "recipient": '{"organization":null}', "certificate": "{}"}
    credentials = json.dumps([{"credential_id": "k" * 300, "amount": "1"}])
    made = [
        common | {"invoice_id": f"i{number}", "lines": count, "total": Decimal(count), "credentials": credentials}
        for number, count in enumerate(_COUNTS)
    ]
    return rows(INVOICES, made)


def lines():
    made = [
        {"invoice_id": f"i{number}", "line_number": line + 1, "amount": Decimal(1), "description": "a line of text"}
        for number, count in enumerate(_COUNTS)
        for line in range(count)
    ]
    return rows(INVOICE_LINES, made)


def frames(whole, height):
    return (whole[start : start + height] for start in range(0, whole.height, height))


@pytest.mark.parametrize("heights", [(9, 9), (1, 1), (2, 4), (5, 1)])
def test_lines_are_with_their_invoice(heights):
    both = with_lines(frames(invoices(), heights[0]), frames(lines(), heights[1]))
    told = [json.loads(value) for frame in both for value, _, _ in invoice_messages(frame, 10_000)]
    assert [[line["line_number"] for line in one["invoice_lines"]] for one in told] == [
        list(range(1, count + 1)) for count in _COUNTS
    ]
    assert told[0]["invoice_lines"][0]["amount"] == "1"
    assert "subscription_id" not in told[0]["invoice_lines"][0]
    assert told[0]["recipient"] == {"organization": None}


@pytest.mark.parametrize("height", [9, 1])
def test_lines_of_others_are_damage(height):
    swapped = lines().reverse()
    with pytest.raises(MisplacedLinesError, match="in the order"):
        list(with_lines(frames(invoices(), height), frames(swapped, height)))
    with pytest.raises(MisplacedLinesError, match="missing"):
        list(with_lines(frames(invoices(), height), frames(lines()[:-1], height)))


def test_what_is_too_large_goes_without_lines_then_without_credentials():
    [frame] = with_lines(frames(invoices(), 9), frames(lines(), 9))
    whole, *_ = (len(value) for value, _, _ in invoice_messages(frame, 10_000))
    [(value, _, headers), *_] = invoice_messages(frame, whole - 1)
    assert (json.loads(value)["invoice_lines"], headers) == ([], [("lines-left-out", "all")])
    assert json.loads(value)["credentials"]
    [(value, _, headers), *_] = invoice_messages(frame, len(value) - 1)
    assert [name for name, _ in headers] == ["lines-left-out", "credentials-left-out"]
    assert json.loads(value)["credentials"] == []
