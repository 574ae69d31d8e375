"""Late and parked events: a dry run that changes nothing, then exactly once, however often it is repeated."""

import fcntl
import shutil

from tests.ops.ratemill import CATALOG, event, query, rated_world, ratemill, succeed

LATER = (
    CATALOG
    + """
  - {id: key-late, subscription: sub-bulk}
"""
)
PARKED = [
    event("a1", subscription=None, credential="key-late", data={"calls": 7}),
    event("a2", subscription=None, credential="key-late", data={"calls": 8}),
    event("a2", subscription=None, credential="key-late", data={"calls": 8}),
    event("a3", "sub-never"),
    event("a4", subscription=None, credential="key-late", data={"calls": "1.1234567"}),
]
LATE = [
    event("now", time="2026-11-20T10:00:00Z", data={"calls": 5}),
    event("then", time="2026-11-02T10:00:00Z", data={"calls": 100}),
    event("then", time="2026-11-02T10:00:00Z", data={"calls": 100}),
    event("now", time="2026-11-02T10:00:00Z", data={"calls": 5}),
    event("nobody", "sub-never", time="2026-11-02T10:00:00Z"),
]


def snapshot(ledger):
    """Everything a reader sees."""
    return (
        query(ledger, 'SELECT * EXCLUDE (reason_detail) FROM events ORDER BY partition, "offset"'),
        query(ledger, "SELECT * FROM line_items ORDER BY line_id"),
    )


def parked_world(folder):
    ledger = rated_world(folder, PARKED)
    (folder / "catalog/catalog.yaml").write_text(LATER)
    return ledger, ["reinject", "--catalog", folder / "catalog", "--ledger", ledger]


def late_world(folder):
    ledger = rated_world(folder, LATE, "--lateness-hours", "24")
    return ledger, ["backfill", "--catalog", folder / "catalog", "--ledger", ledger]


def amounts(ledger):
    rows = query(
        ledger, "SELECT subscription_id AS id, sum(amount) AS amount FROM line_items GROUP BY ALL ORDER BY ALL"
    )
    return {row["id"]: row["amount"] for row in rows}


def test_a_dry_run_says_what_would_be_and_changes_nothing(tmp_path):
    ledger, command = parked_world(tmp_path)
    files = sorted(path.relative_to(ledger) for path in ledger.rglob("*.parquet"))
    report = succeed(*command, "--json").json()
    assert report["applied"] is False
    assert report["events"] == 3
    assert report["verdicts"] == {"duplicate": 1, "rated": 2}
    assert report["left"] == {"bad_quantity": 1, "unknown_subscription": 1}
    # 15 units of which 5 are included
    assert [(row["subscription_id"], row["amount"], row["currency"]) for row in report["amounts"]] == [
        ("sub-bulk", "1", "EUR")
    ]
    assert amounts(ledger) == {}
    assert sorted(path.relative_to(ledger) for path in ledger.rglob("*.parquet")) == files
    assert not list(tmp_path.glob("*dry-run*"))
    assert not list(tmp_path.glob(".*dry-run*"))


def test_what_was_announced_is_done_and_done_once(tmp_path):
    ledger, command = parked_world(tmp_path)
    announced = succeed(*command, "--json").json()
    done = succeed(*command, "--apply", "--json").json()
    assert {**done, "applied": False} == announced
    assert amounts(ledger) == {"sub-bulk": "1"}
    assert query(ledger, "SELECT event_id FROM parked_events ORDER BY 1") == [{"event_id": "a3"}, {"event_id": "a4"}]
    assert query(ledger, "SELECT received, holds FROM conservation_total") == [{"received": 8, "holds": True}]
    before = snapshot(ledger)
    again = succeed(*command, "--apply", "--json").json()
    assert again["events"] == 0
    assert snapshot(ledger) == before


def test_late_events_are_charged_to_their_own_period_without_duplicates(tmp_path):
    ledger, command = late_world(tmp_path)
    assert query(ledger, "SELECT verdict, sum(events) AS n FROM verdict_counts GROUP BY ALL ORDER BY ALL") == [
        {"verdict": "late", "n": 4},
        {"verdict": "rated", "n": 1},
    ]
    report = succeed(*command, "--apply", "--json").json()
    assert report["verdicts"] == {"duplicate": 2, "rated": 1}
    assert report["left"] == {"unknown_subscription": 1}
    # 5 and 95 at 0.10, 5 at 0.05, the flat 1
    assert amounts(ledger) == {"sub-calls": "11.25"}
    assert query(ledger, "SELECT count(*) AS n FROM conflicts") == [{"n": 0}]
    before = snapshot(ledger)
    assert succeed(*command, "--apply", "--json").json()["events"] == 0
    assert snapshot(ledger) == before


def test_a_credential_discovered_in_the_ledger_is_known(tmp_path):
    events = [
        event("first", subscription=None, credential="key-found", data={"calls": 1}),
        event("names-both", credential="key-found", data={"calls": 1}),
        event("two", credential="key-two"),
        event("three", "sub-bulk", credential="key-two"),
    ]
    ledger = rated_world(tmp_path, [*events, event("unclear", subscription=None, credential="key-other")])
    assert amounts(ledger) == {"sub-bulk": "0", "sub-calls": "0.2"}
    report = succeed("reinject", "--catalog", tmp_path / "catalog", "--ledger", ledger, "--apply", "--json").json()
    assert report["verdicts"] == {"rated": 1}
    assert report["left"] == {"unknown_credential": 1}
    assert amounts(ledger) == {"sub-bulk": "0", "sub-calls": "0.3"}


def test_an_input_file_whose_run_was_interrupted_is_finished_by_the_next_run(tmp_path):
    ledger, command = parked_world(tmp_path)
    untouched = tmp_path / "untouched"
    shutil.copytree(ledger, untouched)
    succeed(*command, "--apply")
    [file] = (ledger / "inputs").glob("reinject-*.ndjson")
    # As after a kill between writing the file and rating it.
    (untouched / "inputs").mkdir()
    shutil.copy(file, untouched / "inputs" / file.name)
    command[-1] = untouched
    succeed(*command, "--apply")
    assert amounts(untouched) == amounts(ledger) == {"sub-bulk": "1"}


def test_the_tables_for_people_say_the_same(tmp_path):
    _, command = parked_world(tmp_path)
    out = succeed(*command).out
    assert "dry run" in out.lower()
    assert "--apply" in out
    assert "sub-bulk" in out
    assert "unknown_subscription" in out
    assert "dry run" not in succeed(*command, "--apply").out.lower()
    assert "Nothing" in succeed(*command, "--apply").out


def test_a_second_process_is_refused(tmp_path):
    ledger, command = parked_world(tmp_path)
    with open(ledger / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for options in ([], ["--apply"]):
            ran = ratemill(*command, *options)
            assert ran.code == 1
            assert "in use by another process" in ran.err
