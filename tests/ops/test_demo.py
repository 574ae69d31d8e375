"""The demo in a pipe and on a terminal: the same ledger for the same seed, live progress only for a person."""

import os
import pty
import subprocess
import sys

import pytest

from tests.ops.ratemill import ROOT, inside, query, succeed

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
    for part in ("alder-maps", "6,000", "duplicate", "EUR", "JPY", "duckdb", "ratemill sql", "demo-ledger"):
        assert part in first.out
    ledger = folder / "demo-ledger"
    assert query(ledger, "SELECT received, holds FROM conservation_total") == [{"received": 6000, "holds": True}]
    verdicts = {row["verdict"] for row in query(ledger, "SELECT verdict FROM verdict_counts")}
    assert verdicts == {"rated", "exempt", "trial", "blocked", "duplicate", "parked", "late", "rejected"}


def test_it_starts_anew_and_the_same_seed_gives_the_same_ledger(folder, first):
    before = query(folder / "demo-ledger", LINES)
    again = succeed("demo", *SMALL, "--json", cwd=folder).json()
    assert again["received"] == 6000
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
