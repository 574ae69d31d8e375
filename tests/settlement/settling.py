"""Runs a case of settlement: files into a ledger, the ledger settled, step by step; says what differs."""

from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from dataflows.catalog_history import CatalogHistory
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.launcher import run_rating
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from dataflows.verification.findings import Findings
from dataflows.verification.verifying import verify
from ops.settling import correct_invoice, settle_ledger
from rating.catalog import compile_catalog
from tests.cases.notation import Case, Record
from tests.settlement.notation import Change, Invoice, InvoiceLine, Settling

SETTINGS = Settings(epoch_seconds=0.02)
_NAMES = {"subscriptions": "id", "products": "id", "organizations": "id", "refunds": "id"}


class Ledger:
    """A ledger of a case while its steps are taken."""

    def __init__(self, folder: Path, document: dict[str, list[dict[str, Any]]], settings: Settings = SETTINGS) -> None:
        self.folder, self.settings = folder, settings
        self.document = deepcopy(document)
        self.root = folder / "ledger"
        self.files: list[Path] = []
        self.rate([])

    def catalog(self) -> Path:
        place = self.folder / "catalog"
        place.mkdir(exist_ok=True)
        sections = {kind: items for kind, items in self.document.items() if items}
        (place / "catalog.yaml").write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
        return place

    def rate(self, records: list[Record]) -> None:
        file = self.folder / f"{len(self.files):03}.ndjson"
        file.write_bytes(b"".join(record.raw + b"\n" for record in records))
        self.files.append(file)
        catalog = self.catalog()
        written = load_catalog(catalog)
        compiled = compile_catalog(written)
        run_rating(compiled, catalog, self.files, self.root, self.settings)
        CatalogHistory(self.root).keep(written, compiled.digest)

    def change(self, change: Change) -> None:
        """Edit the catalog: a new entry, an entry with other values, or one less."""
        entries = self.document.setdefault(change.kind, [])
        found = [entry for entry in entries if entry[_NAMES[change.kind]] == change.name]
        if not change.values:
            entries.remove(found[0])
        elif found:
            found[0].update(self._by_number(change.values))
        else:
            entries.append({"id": change.name} | self._by_number(change.values))

    def _by_number(self, values: dict[str, Any]) -> dict[str, Any]:
        """A refund names its invoice by number in a case."""
        if "invoice" in values:
            register = read_table(self.root, "invoices")
            named = register.filter(pl.col("number") == values["invoice"])["invoice_id"]
            return values | {"invoice": named[0] if len(named) else values["invoice"]}
        return values

    def settle(self, as_of: Any) -> dict[str, str]:
        """Settle; gives who waits, and why."""
        done = settle_ledger(self.root, self.settings, load_catalog(self.catalog()), as_of)
        return {name: reason for name, reason, _ in done.waiting}

    def correct(self, number: str, as_of: Any) -> None:
        """Make an invoice anew."""
        correct_invoice(self.root, self.settings, number, load_catalog(self.catalog()), as_of)

    def read(self, table: str) -> list[dict[str, Any]]:
        return read_table(self.root, table).to_dicts()


def differences(case: Case, folder: Path) -> list[str]:
    """One sentence per difference between a case and what its steps make."""
    ledger = Ledger(folder, case.document)
    found: list[str] = []
    seen: set[str] = set()
    for step in case.steps:
        match step:
            case Settling():
                found += _settled(step, ledger, seen)
            case Change():
                ledger.change(step)
            case _:
                ledger.rate(step)
    return [*found, *_laws(ledger), *_verified(ledger)]


def _settled(step: Settling, ledger: Ledger, seen: set[str]) -> Iterator[str]:
    if step.corrects is not None:
        ledger.correct(step.corrects, step.as_of)
    waits = ledger.settle(step.as_of) if step.corrects is None else step.waits
    if waits != step.waits:
        yield f"{step.place}: expected {step.waits} to wait, were {waits}"
    again = ledger.read("invoices")
    assert ledger.settle(step.as_of) == waits
    if ledger.read("invoices") != again:
        yield f"{step.place}: settling again made other invoices"
    fresh = [row for row in again if row["invoice_id"] not in seen]
    seen |= {row["invoice_id"] for row in fresh}
    lines = ledger.read("invoice_lines")
    expected = {f"{one.subscription}-{one.period}": one for one in step.invoices}
    numbers = {row["number"]: row for row in fresh}
    for name in sorted(expected.keys() - numbers.keys()):
        yield f"{expected[name].place}: there is no invoice {name}, but {sorted(numbers)}"
    for name in sorted(numbers.keys() - expected.keys()):
        yield f"{step.place}: invoice {name} of {numbers[name]['total']} was not expected"
    for name in sorted(numbers.keys() & expected.keys()):
        own = [line for line in lines if line["invoice_id"] == numbers[name]["invoice_id"]]
        yield from _invoice(expected[name], numbers[name], sorted(own, key=lambda line: line["line_number"]))
    for who in step.nothing:
        if any(row["subscription_id"] == who for row in fresh):
            yield f"{step.place}: {who} was invoiced"


def _invoice(expected: Invoice, row: dict[str, Any], lines: list[dict[str, Any]]) -> Iterator[str]:
    if Fraction(row["total"]) != expected.total:
        shown = "; ".join(map(_show, lines))
        yield f"{expected.place}: expected {_number(expected.total)}, was {row['total']}: {shown}"
    if sum(line["amount"] for line in lines) != row["total"] or len(lines) != row["lines"]:
        yield f"{expected.place}: its lines do not sum to its total"
    if expected.lines and len(lines) != len(expected.lines):
        yield f"{expected.place}: expected {len(expected.lines)} lines, were {'; '.join(map(_show, lines))}"
    for wanted, line in zip(expected.lines, lines, strict=False):
        yield from _line(wanted, line)


def _line(wanted: InvoiceLine, line: dict[str, Any]) -> Iterator[str]:
    pairs = [
        (wanted.kind, line["line_kind"]),
        (wanted.adjusts, line["adjusts"]) if wanted.adjusts else (None, None),
        (wanted.charge, line["charge_id"]) if wanted.charge else (None, None),
        (wanted.tier, line["tier"]) if wanted.tier is not None else (None, None),
        (wanted.quantity, line["quantity"]) if wanted.quantity is not None else (None, None),
        (wanted.unit_price, line["unit_price"]) if wanted.unit_price is not None else (None, None),
        (wanted.period, line["period"]) if wanted.period is not None else (None, None),
        (wanted.amount, line["amount"]),
    ]
    if any(expected != (Fraction(value) if isinstance(value, Decimal) else value) for expected, value in pairs):
        yield f"{wanted.place}: was {_show(line)}"


def _show(line: dict[str, Any]) -> str:
    names = ("line_kind", "adjusts", "charge_id", "tier", "quantity", "unit_price", "amount")
    said = " ".join(str(line[name]) for name in names if line[name] is not None)
    return f"{said} of {line['period']}"


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value} ({float(value)})"


def _verified(ledger: Ledger) -> Iterator[str]:
    """What verification finds: settled once more, commit by commit, the same must come of it."""
    findings = Findings()
    verify(existing_folder(ledger.root), None, findings)
    yield from (f"verification: {difference}" for difference in findings.differences)


def _laws(ledger: Ledger) -> Iterator[str]:
    """What is invoiced for usage of a settled period is what the ledger has of it, when nothing waits."""
    settled = read_table(ledger.root, "settled_periods")
    if "waiting" in settled["outcome"]:
        return
    lines = read_table(ledger.root, "invoice_lines").with_columns(kind=pl.coalesce("adjusts", "line_kind"))
    lines = lines.filter(
        ~pl.col("invoice_id").is_in(read_table(ledger.root, "invoices")["voids"].drop_nulls().to_list())
    )
    items = read_table(ledger.root, "line_items")
    # A flat amount may be due where the ledger has no line of it: at zero usage.
    items = items.filter(pl.col("line_kind") != "tier_flat")
    kinds = items["line_kind"].unique().to_list()
    invoiced = lines.filter(pl.col("kind").is_in(kinds) & pl.col("charge_id").is_not_null())
    closed = settled.select("subscription_id", "period_start").unique()
    owed = items.join(closed, on=["subscription_id", "period_start"], how="semi")
    if owed["amount"].sum() != invoiced["exact_amount"].sum():
        yield f"{owed['amount'].sum()} is in the ledger, {invoiced['exact_amount'].sum()} was invoiced"
