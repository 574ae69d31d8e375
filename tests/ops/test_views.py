"""The SQL views: what they say of a ledger, that no float is in them, and that readers never notice anything."""

import shutil
import subprocess
import sys
from decimal import Decimal

import duckdb
import pytest

from ops.ledger_views import DATABASE, open_ledger, view_names, write_views
from ops.query import ask
from tests.ops.ratemill import query

AMOUNTS = {"amount"}
QUANTITIES = {"quantity", "usage", "trial_usage", "usage_before", "usage_after"}


@pytest.fixture(scope="module")
def views(ledger):
    with open_ledger(ledger) as connection:
        yield connection


def rows(connection, sql):
    return [tuple(row) for row in ask(connection, sql).rows]


@pytest.mark.parametrize("view", view_names())
def test_no_view_holds_a_float_and_money_keeps_its_digits(views, view):
    types = {name: kind for name, kind, *_ in rows(views, f"DESCRIBE {view}")}
    assert not {"DOUBLE", "FLOAT"} & set(types.values())
    assert {types[name] for name in AMOUNTS & types.keys()} <= {"DECIMAL(38,18)"}
    assert {types[name] for name in QUANTITIES & types.keys()} <= {"DECIMAL(38,6)"}
    assert {types[name] for name in {"unit_price"} & types.keys()} <= {"DECIMAL(38,12)"}


def test_the_database_holds_views_and_macros_only(views):
    assert rows(views, "SELECT count(*) FROM duckdb_tables()") == [(0,)]
    assert {name for (name,) in rows(views, "SELECT view_name FROM duckdb_views() WHERE NOT internal")} == set(
        view_names()
    )


def test_every_record_has_one_verdict(views):
    assert rows(views, "SELECT received, events_stored, holds FROM conservation_total") == [(22, 22, True)]
    assert rows(views, "SELECT count(*) FROM conservation WHERE NOT holds") == [(0,)]
    assert dict(rows(views, "SELECT verdict, sum(events)::INT FROM verdict_counts GROUP BY 1")) == {
        "rated": 9,
        "exempt": 3,
        "trial": 1,
        "blocked": 1,
        "duplicate": 2,
        "parked": 3,
        "rejected": 3,
    }


def test_revenue_is_the_sum_of_the_lines(views):
    # 90 and 10 at 0.10, 10 at 0.05 and the flat 1 of tier 2; 5 at 1.2 * 0.05; 2.5 at 0.05
    calls = Decimal("9") + Decimal("1") + Decimal("0.5") + 1 + Decimal("0.3") + Decimal("0.125")
    # 115 in all above the 5 included ones: volume, so all at 0.05
    bulk = Decimal("115") * Decimal("0.05")
    # 1 % and 0.30, but at least 0.50
    share = Decimal("1.30") + Decimal("0.50")
    assert rows(views, "SELECT product_id, currency, amount FROM revenue_by_product ORDER BY ALL") == [
        ("bulk", "EUR", bulk),
        ("calls", "USD", calls),
        ("share", "USD", share),
        ("tried", "USD", Decimal(5)),
    ]


def test_usage_is_charged_to_the_subscription_and_reported_per_credential(views):
    found = rows(
        views,
        "SELECT credential_id, usage FROM usage_by_credential WHERE subscription_id = 'sub-calls'"
        " ORDER BY credential_id NULLS FIRST",
    )
    assert found == [(None, Decimal(90)), ("key-calls", Decimal(25)), ("key-found", Decimal("2.5"))]
    assert ("key-found", "sub-calls") in rows(views, "SELECT credential_id, subscription_id FROM credentials_seen")


def test_usage_by_day_keeps_the_trial_apart(views):
    found = rows(
        views,
        "SELECT day::VARCHAR, usage, trial_usage, amount FROM usage_by_day WHERE subscription_id = 'sub-tried'"
        " ORDER BY day",
    )
    assert found == [
        ("2026-11-20", Decimal(0), Decimal(1), Decimal(0)),
        ("2026-11-25", Decimal(1), Decimal(0), Decimal(5)),
    ]


def test_tier_position_is_the_tier_of_the_whole_usage(views):
    found = rows(views, "SELECT subscription_id, usage, tier, amount FROM tier_position ORDER BY 1")
    assert found == [
        ("sub-bulk", Decimal(120), 2, Decimal("5.75")),
        ("sub-calls", Decimal("117.5"), 2, Decimal("11.925")),
        ("sub-share", Decimal(110), 1, Decimal("1.80")),
        ("sub-tried", Decimal(1), 1, Decimal(5)),
    ]


def test_open_periods_say_what_is_owed_so_far(views):
    found = rows(views, "SELECT subscription_id, period_end::VARCHAR, currency, amount FROM open_periods ORDER BY ALL")
    assert ("sub-calls", "2026-12-01 00:00:00+00", "USD", Decimal("11.925")) in found
    assert ("sub-share", None, "USD", Decimal("1.80")) in found


def test_a_repeat_with_other_data_is_a_conflict(views):
    found = rows(views, "SELECT event_id, data_first, data_repeat FROM conflicts")
    assert found == [("e1", '{"calls": 90}', '{"calls": 91}')]


def test_parked_events_say_what_is_unknown(views):
    found = rows(views, "SELECT event_id, reason FROM parked_events ORDER BY 1")
    assert found == [("p1", "unknown_subscription"), ("p2", "unknown_credential"), ("p3", "ambiguous_subscriber")]
    assert rows(views, "SELECT count(*) FROM late_events") == [(0,)]


def test_unknown_sources_are_seen(views):
    assert rows(views, "SELECT source, rated, exempt FROM sources_seen WHERE source = 'elsewhere'") == [
        ("elsewhere", 0, 1)
    ]


def test_a_moved_ledger_is_read_where_it_is(ledger, tmp_path):
    moved = tmp_path / "it's [moved]"
    shutil.copytree(ledger, moved)
    shutil.rmtree(moved / "line_items")
    shutil.copytree(ledger / "line_items", moved / "line_items")
    (moved / "manifest/writer-0.json").write_text("[]")
    (moved / "manifest/writer-1.json").write_text("[]")
    assert query(moved, "SELECT count(*) AS n FROM events") == [{"n": 0}]
    assert query(ledger, "SELECT count(*) AS n FROM events") == [{"n": 22}]


def test_a_reader_that_holds_the_views_open_keeps_them(ledger, tmp_path):
    copy = tmp_path / "ledger"
    shutil.copytree(ledger, copy)
    write_views(copy)
    with duckdb.connect(str(copy / DATABASE), read_only=True) as reader:
        (copy / DATABASE).unlink()
        write_views(copy)
        assert reader.execute("SELECT count(*) FROM events").fetchall() == [(22,)]


def test_many_processes_read_at_once(ledger):
    write_views(ledger)
    code = (
        "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); sys.stdin.readline();"
        " print(c.execute('SELECT count(*) FROM events').fetchone()[0])"
    )
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(ledger / DATABASE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [reader.communicate("go\n", timeout=60)[0].strip() for reader in readers] == ["22"] * 3


def test_a_read_only_ledger_can_still_be_queried(ledger, tmp_path):
    copy = tmp_path / "ledger"
    shutil.copytree(ledger, copy)
    (copy / DATABASE).unlink(missing_ok=True)
    # Root may write anywhere, so what refuses here is that the file's place is taken.
    (copy / DATABASE).mkdir()
    with open_ledger(copy) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(22,)]
