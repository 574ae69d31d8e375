"""A sound ledger is verified, whatever happened to it; what was changed in one is found and named."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from dataflows.ledger import manifest
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.published import read_table
from dataflows.verification.findings import Check, Findings, Unchecked
from dataflows.verification.verifying import verify
from schemas.ledger import TABLES
from tests.cases.notation import Record
from tests.ops.ratemill import inside
from tests.settlement.settling import SETTINGS, Ledger
from tests.settlement.world import START, document, records

_QUOTAS = {
    "payment_model": "transactional",
    "rate": "0.5",
    "quotas": [{"name": "few", "meter": {"aggregation": "count"}, "limit": "10", "on_exceed": "block"}],
}
_MIXED = {
    "charges": [
        {
            "id": "share",
            "meter": {"aggregation": "sum", "element": "n"},
            "price": {"model": "percentage", "rate": "0.013", "fixed_amount": "0.1", "maximum_amount": "0.15"},
        },
        {
            "id": "peak",
            "meter": {"aggregation": "max", "element": "n"},
            "price": {"model": "per_unit", "unit_price": "2"},
        },
        {
            "id": "mean",
            "meter": {"aggregation": "average", "element": "n"},
            "price": {"model": "per_unit", "unit_price": "3"},
        },
        {
            "id": "kinds",
            "meter": {"aggregation": "unique", "element": "n"},
            "price": {"model": "package", "package_size": 3, "package_price": "1"},
        },
    ],
    "pricing_rules": ["large"],
    "free_trial": {"days": 5},
}


def catalog() -> dict[str, list[dict[str, Any]]]:
    """The world's catalog with a product whose quota blocks and one with every kind of meter."""
    made = document()
    common = {"version": "1.0.0", "currency": "USD", "settlement_period": "month", "immediate_cancellation": True}
    made["products"] += [{"id": "few"} | common | _QUOTAS, {"id": "mixed"} | common | _MIXED]
    made["pricing_rules"] = [{"id": "large", "where": "n > 5", "multiplier": "1.5"}]
    for number, subscription in enumerate(made["subscriptions"]):
        if number % 6 == 4:
            subscription["product"] = "few@1.0.0"
        if number % 6 == 5:
            subscription["product"] = "mixed@1.0.0"
    return made


def odd_records() -> list[Record]:
    """Repeats, an unknown subscription, a credential that comes to light, what is no event and what is no number."""
    common = {"source": "api", "time": (START + timedelta(days=40)).isoformat()}
    events = [
        {"id": "p1", "subscription": "nobody", "data": {"n": "1"}},
        {"id": "c1", "subscription": "sub-1", "credential": "key", "data": {"n": "1"}},
        {"id": "c2", "credential": "key", "data": {"n": "1"}},
        {"id": "b1", "subscription": "sub-3", "data": {"n": "much"}},
        {"id": "l1", "subscription": "sub-3", "data": {"n": 2, "text": "line\nfeed \u00e9"}},
        {"id": "f1", "subscription": "sub-3", "data": {"n": 2, "status": 503}},
    ]
    made = [Record("odd", 0, json.dumps(common | one).encode(), None, None) for one in events]
    return [*made, Record("odd", 0, b'{"id": ', None, None), *records(count=20)]


def made(folder: Path, **changes: Any) -> Ledger:
    """A ledger that was rated and settled twice, with late events in between, and once more under another catalog."""
    folder.mkdir()
    ledger = Ledger(folder, catalog(), SETTINGS.model_copy(update=changes))
    ledger.rate(records(count=400))
    ledger.settle(START + timedelta(days=35))
    ledger.rate(records(seed=12, count=150) + odd_records())
    ledger.settle(START + timedelta(days=50))
    ledger.document["products"][0]["rate"] = "0.02"
    ledger.rate(records(seed=13, count=80))
    ledger.settle(START + timedelta(days=62))
    return ledger


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Ledger:
    return made(tmp_path_factory.mktemp("verified") / "one")


def found(root: Path, lateness: int | None = None) -> Findings:
    findings = Findings()
    verify(existing_folder(root), lateness, findings)
    return findings


def copy(world: Ledger, folder: Path) -> Path:
    shutil.copytree(world.root, folder / "ledger")
    return folder / "ledger"


def change(root: Path, table: str, edit: Callable[[pl.DataFrame], pl.DataFrame], writers: range | None = None) -> None:
    """Edit the rows of the first file of a table that has any."""
    folder = existing_folder(root)
    for writer in writers or folder.all_writers():
        for file in manifest.load(folder.manifest(writer)).live(table):
            path = root / table / file.name
            before = pl.DataFrame(pl.from_arrow(pq.read_table(path, partitioning=None)))
            after = edit(before)
            if not after.equals(before):
                arrow = after.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(TABLES[table])
                pq.write_table(arrow, path)
                return
    raise AssertionError(f"nothing of {table} was changed")


def first(name: str, value: pl.Expr, where: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """An edit of one value: of the first row of which something holds."""

    def edit(rows: pl.DataFrame) -> pl.DataFrame:
        chosen = where & (where.cum_sum() == 1)
        return rows.with_columns(
            pl.when(chosen).then(value.cast(rows.schema[name])).otherwise(pl.col(name)).alias(name)
        )

    return edit


def test_a_sound_ledger_is_verified(world):
    findings = found(world.root)
    assert findings.differences == []
    lines, events = read_table(world.root, "line_items"), read_table(world.root, "events")
    assert findings.compared[Check.LINE_ITEMS] == lines.height
    assert findings.compared[Check.VERDICTS] == events.height - 1
    assert findings.unchecked[Unchecked.AS_STORED] == 1
    assert not findings.unchecked[Unchecked.BY_TOTALS]
    for table, check in (("invoices", Check.INVOICES), ("invoice_lines", Check.INVOICE_LINES)):
        assert findings.compared[check] == read_table(world.root, table).height > 0


def test_the_world_has_what_is_hard(world):
    events, lines = read_table(world.root, "events"), read_table(world.root, "line_items")
    invoiced = read_table(world.root, "invoice_lines")
    assert set(events["verdict"]) >= {"rated", "trial", "blocked", "duplicate", "parked", "exempt", "rejected"}
    assert set(lines["line_kind"]) >= {"usage", "trial", "reprice", "tier_flat", "blocked", "maximum_amount"}
    assert lines["catalog_digest"].n_unique() == 2
    assert "adjustment" in invoiced["line_kind"]


@pytest.mark.parametrize("changes", [{"workers": 2, "writers": 3}, {"merge_files": 2}, {"batch_records": 7}], ids=str)
def test_however_it_was_written(tmp_path, changes):
    ledger = made(tmp_path / "one", **changes)
    assert found(ledger.root).differences == []


def changed_amount(root: Path) -> None:
    change(root, "line_items", first("amount", pl.col("amount") + 1, pl.col("line_id") != ""))


def changed_owner(root: Path) -> None:
    change(root, "line_items", first("credential_id", pl.lit("thief"), pl.col("line_id") != ""))


def changed_data(root: Path) -> None:
    data = pl.col("data").str.replace('"n"', '"m"', literal=True)
    change(root, "events", first("data", data, (pl.col("verdict") == "rated") & pl.col("data").str.contains('"n"')))


def changed_verdict(root: Path) -> None:
    change(root, "events", first("verdict", pl.lit("exempt"), pl.col("verdict") == "rated"))


def changed_invoice_line(root: Path) -> None:
    change(root, "invoice_lines", first("amount", pl.col("amount") * 2, pl.col("amount") > 0))


def changed_kinds(root: Path) -> None:
    for table in ("line_items", "invoice_lines"):
        change(root, table, first("line_kind", pl.lit("gift"), pl.col("line_kind") == "usage"))


def changed_notification(root: Path) -> None:
    change(root, "notifications", first("notification_id", pl.lit("mine"), pl.col("kind") == "invoice_issued"))


def changed_recipient(root: Path) -> None:
    change(root, "invoices", first("recipient", pl.lit("{}"), pl.col("total") > 0))


def changed_certificate(root: Path) -> None:
    text = pl.col("certificate").str.replace('"rated":', '"rated":1', literal=True)
    change(root, "invoices", first("certificate", text, pl.col("total") > 0))


def changed_digest(root: Path) -> None:
    change(root, "commits", first("digest", pl.lit("0" * 64), pl.col("sequence") == 0))


TAMPERED = {
    changed_amount: {Check.DIGESTS: "rating writer 0, commit", Check.LINE_ITEMS: "amount"},
    changed_owner: {Check.LINE_ITEMS: "credential_id"},
    changed_data: {Check.VERDICTS: "content_digest"},
    changed_verdict: {Check.VERDICTS: "verdict", Check.CONSERVATION: "rating writer 0, commit"},
    changed_invoice_line: {Check.INVOICE_LINES: "amount"},
    changed_kinds: {Check.LINE_ITEMS: "line_kind", Check.INVOICE_LINES: "line_kind"},
    changed_notification: {Check.FILES: "settlement writer"},
    changed_recipient: {Check.INVOICES: "recipient"},
    changed_certificate: {Check.CERTIFICATES: "settlement writer", Check.INVOICES: "certificate"},
    changed_digest: {Check.DIGESTS: "commit 0"},
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_what_was_changed_is_found_and_named(world, tmp_path, tamper):
    root = copy(world, tmp_path)
    tamper(root)
    differences = found(root).differences
    for check, word in TAMPERED[tamper].items():
        named = [f"{one.place} {one.row} {one.column}" for one in differences if one.check == check]
        assert any(word in name for name in named), (check, differences[:5])


@pytest.mark.parametrize("table", ["events", "line_items", "invoices", "commits"])
def test_a_removed_file_is_named(world, tmp_path, table):
    root = copy(world, tmp_path)
    folder = existing_folder(root)
    writer = 0 if table != "invoices" else folder.settlement_writers().start
    name = manifest.load(folder.manifest(writer)).live(table)[0].name
    (root / table / name).unlink()
    differences = found(root).differences
    assert [(one.row, one.stored) for one in differences if one.check == Check.FILES] == [(name, "the file is missing")]


def test_the_command_says_what_holds_and_what_differs(world, tmp_path):
    ran = inside("verify", "--ledger", world.root)
    assert ran.code == 0, ran.out + ran.err
    assert "differs" not in ran.out
    assert "line items" in ran.out
    root = copy(world, tmp_path)
    changed_amount(root)
    ran = inside("verify", "--ledger", root)
    assert ran.code == 1
    assert "differs" in ran.out
    told = inside("verify", "--ledger", root, "--json")
    assert told.code == 1
    said = told.json()
    assert not said["holds"]
    [line] = [one for one in said["differences"] if one["check"] == "line items"]
    assert line["column"] == "amount"


def test_several_files_rated_side_by_side(tmp_path):
    ledger = Ledger(tmp_path, catalog(), SETTINGS.model_copy(update={"workers": 2, "writers": 2, "batch_records": 7}))
    for number in range(4):
        file = tmp_path / f"more-{number}.ndjson"
        own = records(seed=20 + number // 2, count=150) + odd_records()
        file.write_bytes(b"".join(record.raw + b"\n" for record in own))
        ledger.files.append(file)
    ledger.rate([])
    ledger.settle(START + timedelta(days=62))
    assert found(ledger.root).differences == []
