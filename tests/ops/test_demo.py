"""The demo in a pipe and on a terminal: the same ledger for the same seed, live progress only for a person."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from tests.ops.ratemill import ROOT, here, inside, query, succeed

SMALL = ("--events", "6000")
LINES = "SELECT * FROM line_items ORDER BY line_id"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(folder):
    return succeed("demo", *SMALL, cwd=folder)


def test_the_demo_rates_an_hour_and_says_where_to_go_on(folder, first):
    assert first.err == ""
    assert "\x1b" not in first.out
    for part in (
        "alder-maps",
        "duplicate",
        "EUR",
        "JPY",
        "duckdb",
        "ratemill sql",
        "demo-ledger",
        "--html invoice.html",
    ):
        assert part in first.out
    ledger = folder / "demo-ledger"
    received = 6000 + len((ledger / "synthetic.ndjson").read_bytes().splitlines())
    assert f"{received:,} records" in first.out
    assert query(ledger, "SELECT received, holds FROM conservation_total") == [{"received": received, "holds": True}]
    verdicts = {row["verdict"] for row in query(ledger, "SELECT verdict FROM verdict_counts")}
    assert verdicts == {"rated", "exempt", "trial", "blocked", "duplicate", "parked", "late", "rejected"}


def test_the_hour_of_each_test_mode_has_twelve_invoices_and_comes_to_what_was_known(folder, first):
    ledger = folder / "demo-ledger"
    told = re.findall(r"known beforehand: (\S+) (USD|EUR); invoiced: (\S+) (USD|EUR)\n", first.out)
    assert [(currency, known == invoiced) for known, currency, invoiced, _ in told] == [("USD", True), ("EUR", True)]
    invoices = query(
        ledger,
        "SELECT subscription_id, count(*) AS invoices, bool_and(synthetic) AS synthetic FROM invoices"
        " WHERE subscription_id LIKE '%-tryout' AND period > 0 GROUP BY ALL ORDER BY ALL",
    )
    assert [(row["subscription_id"], row["invoices"]) for row in invoices] == [("birch-tryout", 12), ("fir-tryout", 12)]
    assert all(row["synthetic"] for row in invoices)
    kinds = query(ledger, "SELECT DISTINCT kind FROM notifications WHERE subscription_id LIKE '%-tryout'")
    assert {row["kind"] for row in kinds} >= {
        "quota_threshold", "quota_reached", "tier_threshold", "invoice_issued", "test_mode_ended"
    }  # fmt: skip
    lines = query(ledger, "SELECT DISTINCT subscription_id FROM line_items WHERE synthetic ORDER BY ALL")
    assert [row["subscription_id"] for row in lines] == ["birch-tryout", "fir-tryout"]
    for view in ("usage_by_day", "usage_by_credential"):
        simulated = f"SELECT DISTINCT subscription_id FROM {view} WHERE synthetic ORDER BY ALL"
        assert query(ledger, simulated) == lines, view
    ordinary = query(ledger, "SELECT count(*) AS invoices FROM invoices WHERE NOT synthetic")
    assert ordinary[0]["invoices"] > 20


def test_rate_and_shape_are_settable(tmp_path):
    ledger = tmp_path / "demo"
    shown = here("demo", "--events", "100", "--rate", "20", "--shape", "tier_bounds", "--ledger", ledger, "--json")
    told = json.loads(shown)
    assert [one["known"] == one["exact"] for one in told["test_subscriptions"]] == [True, True]
    assert [one["test_mode"] for one in told["test_subscriptions"]] == ["5min", "5min_synthetic"]
    assert len(told["invoices"]) == 25


def test_it_starts_anew_and_the_same_seed_gives_the_same_ledger(folder, first):
    before = query(folder / "demo-ledger", LINES)
    again = succeed("demo", *SMALL, "--json", cwd=folder).json()
    assert again["received"] > 6000 + 2 * 12 * 5 * 45
    assert len(before) > 6000
    assert query(folder / "demo-ledger", LINES) == before


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("keep me")
    ran = inside("demo", *SMALL, "--ledger", tmp_path)
    assert ran.code == 1
    assert str(tmp_path) in ran.err
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_a_terminal_sees_progress(tmp_path):
    master, slave = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "demo", *SMALL],
        cwd=tmp_path, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    try:
        while piece := os.read(master, 65_536):
            seen += piece
    except OSError:
        pass  # Linux says so when the other end of a terminal is closed
    os.close(master)
    assert process.wait(60) == 0
    assert b"events/s" in seen
    assert b"\x1b[" in seen
