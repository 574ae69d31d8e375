"""The command as a process: exit codes, JSON, one sentence per error, help with examples."""

import json
import shutil

import pytest

from tests.ops.ratemill import ROOT, event, here, inside, query, rated_world, ratemill, succeed, write_world

COMMANDS = tuple(
    "demo check rate settle invoice sql explain verify whatif backfill reinject topics produce notifications"
    " settings".split()
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command):
    out = here(command, "--help")
    assert f"ratemill {command}" in out.partition("Examples")[2]


def test_help_lists_the_commands():
    out = succeed("--help").out
    assert all(command in out for command in COMMANDS)


def test_rating_twice_changes_nothing(tmp_path):
    ledger = rated_world(tmp_path, [event("e1"), event("e2")])
    before = query(ledger, "SELECT * FROM line_items ORDER BY line_id")
    again = succeed(
        "rate", "--catalog", tmp_path / "catalog", "--events", tmp_path / "events.ndjson", "--ledger", ledger, "--json"
    ).json()
    assert len(before) == 2
    assert query(ledger, "SELECT * FROM line_items ORDER BY line_id") == before
    assert query(ledger, "SELECT count(*) AS n FROM events") == [{"n": 2}]
    assert again["received"] == 0


def test_rate_takes_several_files_and_says_what_became_of_them(tmp_path):
    catalog, first, ledger = write_world(tmp_path, [event("e1")])
    second = tmp_path / "more.ndjson"
    second.write_text(json.dumps(event("e2", "nobody")) + "\n")
    ran = succeed("rate", "--catalog", catalog, "--events", first, second, "--ledger", ledger, "--json").json()
    assert ran["received"] == 2
    assert ran["verdicts"] == {
        "rated": 1, "exempt": 0, "trial": 0, "blocked": 0, "duplicate": 0, "parked": 1, "late": 0, "rejected": 0,
    }  # fmt: skip


def test_rate_in_a_pipe_shows_no_progress(tmp_path):
    catalog, events, ledger = write_world(tmp_path, [event("e1")])
    ran = succeed("rate", "--catalog", catalog, "--events", events, "--ledger", ledger)
    assert ran.err == ""
    assert "\r" not in ran.out
    assert "\x1b" not in ran.out
    assert "rated" in ran.out


def test_json_keeps_every_digit(tmp_path):
    ledger = rated_world(tmp_path, [event("e1", data={"calls": "123456789012.123456"})])
    [line] = query(ledger, "SELECT sum(quantity) AS quantity, sum(amount) AS amount FROM line_items")
    assert line["quantity"] == "123456789013.123456"
    # 100 at 0.10, the rest at 0.05 and the flat amount of 1
    assert line["amount"] == "6172839456.6061728"


def test_check_names_file_line_and_key(tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "sources: [{id: api}]\nproducts:\n  - id: p\n    version: 1.0.0\n    currency: USD\n    sourcs: [api]\n"
        "    settlement_period: month\n    payment_model: transactional\n    rate: 0.1\n"
    )
    ran = ratemill("check", tmp_path)
    assert ran.code == 1
    assert "bad.yaml:6: " in ran.out
    assert "did you mean 'sources'" in ran.out
    assert "bad.yaml:9: " in ran.out
    problems = ratemill("check", tmp_path, "--json")
    assert problems.code == 1
    assert problems.json()["errors"] == 2
    assert {problem["line"] for problem in problems.json()["problems"]} == {6, 9}


def test_check_of_the_examples_finds_no_error():
    for name in ("demo", "pharma-house", "ai-platform"):
        assert json.loads(here("check", ROOT / "ops/catalogs" / name, "--json"))["errors"] == 0


WRONG_USE = [
    (["rate"], "--catalog"),
    (["nonsense"], "nonsense"),
    (["check"], "CATALOG"),
    (["sql", "SELECT 1", "--ledgr", "x"], "--ledgr"),
    (["demo", "--events", "many"], "--events"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG_USE)
def test_wrong_usage_is_one_sentence_and_code_2(arguments, named):
    ran = inside(*arguments)
    assert ran.code == 2
    assert named in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1


OUTSIDE_FAILURES = {
    "no catalog": ("rate --catalog none --events events.ndjson --ledger ledger", "none"),
    "broken catalog": ("rate --catalog broken --events events.ndjson --ledger ledger", "c.yaml:"),
    "no events": ("rate --catalog catalog --events none.ndjson --ledger ledger", "none.ndjson"),
    "ledger is a file": ("rate --catalog catalog --events events.ndjson --ledger file", "file"),
    "no parent": ("rate --catalog catalog --events events.ndjson --ledger no/such/ledger", "no/such"),
    "no ledger": ("sql SELECT --ledger none", "none"),
    "no ledger to explain": ("explain a/b --ledger none", "none"),
    "not a ledger": ("sql SELECT --ledger broken", "not a ledger"),
    "nothing to reinject into": ("reinject --catalog catalog --ledger none", "none"),
    "nothing to backfill": ("backfill --catalog catalog --ledger none", "none"),
}


@pytest.mark.parametrize("case", OUTSIDE_FAILURES)
def test_an_outside_failure_is_one_sentence_and_code_1(tmp_path, monkeypatch, case):
    write_world(tmp_path, [event("e1")])
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/c.yaml").write_text("products: [")
    command, named = OUTSIDE_FAILURES[case]
    monkeypatch.chdir(tmp_path)
    ran = inside(*command.split())
    assert ran.code == 1
    assert named in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.err.strip().endswith(".")


def test_a_failing_process_leaves_the_same(tmp_path):
    ran = ratemill("sql", "SELECT 1", "--ledger", tmp_path / "none")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"There is no ledger at {tmp_path / 'none'}: the folder does not exist.\n"
    assert ratemill("rate").code == 2


def test_debug_shows_the_traceback(tmp_path):
    ran = ratemill("sql", "SELECT 1", "--ledger", tmp_path / "none", "--debug")
    assert ran.code == 1
    assert "Traceback" in ran.err


def test_a_wrong_query_is_told_in_a_sentence(ledger):
    ran = inside("sql", "SELECT amuont FROM line_items", "--ledger", ledger)
    assert ran.code == 1
    assert "amuont" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_query_cannot_change_the_ledger(ledger):
    ran = inside("sql", "CREATE TABLE t AS SELECT 1", "--ledger", ledger)
    assert ran.code == 1
    assert "read-only" in ran.err


def test_sql_reads_standard_input(ledger):
    assert "22" in succeed("sql", "--ledger", ledger, stdin="SELECT count(*) AS n FROM events").out


def test_the_ledger_may_come_from_the_environment(ledger, tmp_path):
    shutil.copytree(ledger, tmp_path / "ledger")
    ran = ratemill("sql", "SELECT count(*) FROM events", cwd=tmp_path, RATEMILL_LEDGER="ledger")
    assert ran.code == 0
    assert "22" in ran.out


@pytest.mark.parametrize(("flow", "option"), [("rating", "--from=now"), ("relay", "--accept-loss")])
def test_an_option_of_another_flow_is_refused_before_a_ledger_is_made(tmp_path, flow, option):
    ran = ratemill("run", flow, "--ledger", tmp_path / "ledger", option)
    assert ran.code == 2
    assert f"is no option of `ratemill run {flow}`" in ran.err
    assert list(tmp_path.iterdir()) == []
