"""The demo in a pipe and on a terminal: the same ledger for the same seed, live progress only for a person."""

import os
import pty
import subprocess
import sys

from tests.ops.ratemill import ROOT, query, ratemill, succeed

SMALL = ("--events", "6000")


def test_the_demo_rates_an_hour_and_says_where_to_go_on(tmp_path):
    ran = succeed("demo", *SMALL, cwd=tmp_path)
    assert ran.err == ""
    assert "\x1b" not in ran.out
    for part in ("alder-maps", "6000", "duplicate", "EUR", "JPY", "duckdb", "ratemill sql", "demo-ledger"):
        assert part in ran.out
    ledger = tmp_path / "demo-ledger"
    assert query(ledger, "SELECT received, holds FROM conservation_total") == [{"received": 6000, "holds": True}]
    verdicts = {row["verdict"] for row in query(ledger, "SELECT verdict FROM verdict_counts")}
    assert verdicts == {"rated", "exempt", "trial", "blocked", "duplicate", "parked", "late", "rejected"}


def test_the_same_seed_gives_the_same_ledger(tmp_path):
    totals = []
    for name in ("one", "two"):
        succeed("demo", *SMALL, "--ledger", name, cwd=tmp_path)
        totals.append(query(tmp_path / name, "SELECT * FROM line_items ORDER BY line_id"))
    assert len(totals[0]) > 1_000
    assert totals[0] == totals[1]


def test_the_demo_starts_anew_in_its_own_folder_and_touches_no_other(tmp_path):
    first = succeed("demo", *SMALL, "--json", cwd=tmp_path).json()
    assert succeed("demo", *SMALL, "--json", cwd=tmp_path).json()["received"] == first["received"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("keep me")
    ran = ratemill("demo", *SMALL, "--ledger", "mine", cwd=tmp_path)
    assert ran.code == 1
    assert "mine" in ran.err
    assert (tmp_path / "mine/letter.txt").read_text() == "keep me"


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
