"""Parts of the flow by themselves: signatures, pauses, circuits, what the store keeps and forgets."""

import json
import sqlite3
from contextlib import closing

import pytest

from dataflows.delivery_settings import signing_keys, webhook_of
from dataflows.notifications import store as stores
from dataflows.notifications.circuit import Circuit
from dataflows.notifications.looks import listed, tallies, try_again
from dataflows.notifications.outcomes import Delivered, Due, Failure, Limits, Result, result_of
from dataflows.notifications.signatures import signed, webhook_id
from dataflows.notifications.store import Came, Store
from dataflows.settings import Settings
from tests.notifications.flows import notification

DAY = 86_400_000_000
LIMITS = Limits(attempts=5, first_pause=2.0, most_pause=10.0)
DUE = Due(7, "n1", "quota_reached", "https://a.example/", 0, 10**18, b"{}")


def test_the_example_of_the_specification():
    """From the documents of Svix, whose scheme the specification took over."""
    headers = signed(
        signing_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_ids_are_fit_for_a_header_and_stay_different():
    strange = ["a.b", "a b", "ä", "a\r\nb", "msg_", ""]
    ids = [webhook_id(each) for each in strange]
    assert len(set(ids)) == len(strange)
    assert all(each.isascii() and each.isprintable() and "." not in each and " " not in each for each in ids)
    assert webhook_id("quota_reached:sub/1-2") == "quota_reached:sub/1-2"


def test_pauses_double_and_are_drawn_evenly():
    for attempts, longest in [(0, 2), (1, 4), (2, 8), (3, 10)]:
        due = Due(7, "n1", "kind", "to", attempts, 10**18, b"")
        pauses = [result_of(due, Failure("no"), LIMITS, 0).next_attempt_at / 1_000_000 for _ in range(2_000)]
        assert max(pauses) <= longest
        # Evenly from 0: the chance to miss a tenth at either end is 10 to the minus 91.
        assert min(pauses) < longest / 10
        assert max(pauses) > longest * 0.9


def test_what_follows_an_attempt():
    moment = 1_000_000
    assert result_of(DUE, Delivered(), LIMITS, moment) == Result(7, "delivered", 1, moment, moment, None)
    assert result_of(DUE, Failure("no", final=True), LIMITS, moment).state == "failed"
    last = Due(7, "n1", "kind", "to", 4, 10**18, b"")
    assert result_of(last, Failure("no"), LIMITS, moment) == Result(7, "failed", 5, moment, moment, "no")
    old = Due(7, "n1", "kind", "to", 0, moment, b"")
    assert result_of(old, Failure("no"), LIMITS, moment).state == "failed"
    told = result_of(DUE, Failure("x" * 9_999, not_before=9.0), LIMITS, moment)
    assert moment + 9_000_000 <= told.next_attempt_at <= moment + 10_000_000
    assert len(told.last_error) == 500
    # An endpoint does not decide that nobody asks it for a year.
    assert result_of(DUE, Failure("no", not_before=1e9), LIMITS, moment).next_attempt_at == moment + 10_000_000


def test_a_circuit():
    seconds = [0.0]
    circuit = Circuit(3, 10.0, lambda: seconds[0])
    for _ in range(2):
        circuit.failed()
    circuit.succeeded()
    for _ in range(3):
        assert circuit.permits()
        circuit.failed()
    assert (circuit.is_open, circuit.permits()) == (True, False)
    seconds[0] = 9.0
    # One that began before it opened changes nothing.
    circuit.failed()
    seconds[0] = 10.0
    assert (circuit.permits(), circuit.permits()) == (True, False)
    circuit.failed()
    seconds[0] = 19.0
    assert not circuit.permits()
    seconds[0] = 20.0
    assert circuit.permits()
    circuit.succeeded()
    assert (circuit.is_open, circuit.permits(), circuit.permits()) == (False, True, True)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, [webhook_of("https://a.example/")], hours=1)
    yield store
    store.close()


def take(store: Store, *messages: dict, first: int = 0) -> stores.Taken:
    return store.take([Came(0, first + at, json.dumps(message).encode()) for at, message in enumerate(messages)])


def test_what_is_due_comes_in_its_order_and_once_it_is_time(store, monkeypatch):
    monkeypatch.setattr(stores, "now", lambda: 1_000)
    assert take(store, notification("n1", "joe@acme.com"), notification("n2")) == stores.Taken(2, 0, 3, 0)
    assert [due.notification_id for due in store.due("https://a.example/", 10)] == ["n1", "n2"]
    (first, second) = store.due("https://a.example/", 10)
    store.record([Result(first.delivery_id, "pending", 1, 2_000, None, "no")])
    assert store.due("https://a.example/", 10) == [second]
    monkeypatch.setattr(stores, "now", lambda: 2_000)
    assert [due.attempts for due in store.due("https://a.example/", 10)] == [0, 1]
    assert store.due("https://a.example/", 1) == [second]


def test_delivered_rows_are_forgotten_and_failed_ones_are_not(store, tmp_path, monkeypatch):
    take(store, notification("n1"), notification("n2", "nobody"), notification("n3"))
    first, second, _ = store.due("https://a.example/", 10)
    moment = stores.now()
    store.record([Result(due.delivery_id, "delivered", 1, moment, moment, None) for due in (first, second)])
    assert store.forget(days=30) == 0
    monkeypatch.setattr(stores, "now", lambda: moment + 31 * DAY)
    assert store.forget(days=30) == 2
    assert {(row["notification_id"], row["channel"]) for row in listed(tmp_path, None, 9)} == {
        ("n2", "unknown"),
        ("n3", "webhook"),
    }
    with closing(sqlite3.connect(tmp_path / "deliveries.sqlite")) as connection:
        kept = {row[0] for row in connection.execute("SELECT notification_id FROM notifications")}
    assert kept == {"n2", "n3"}
    counted = {(each.channel, each.state): each.deliveries for each in tallies(tmp_path) if each.deliveries}
    assert counted == {("webhook", "delivered"): 2, ("webhook", "pending"): 1, ("unknown", "failed"): 1}
    # Now it is a new one: it was forgotten.
    assert take(store, notification("n1"), first=3).notifications == 1


def test_what_is_too_old_is_given_up_and_may_be_tried_again(store, tmp_path, monkeypatch):
    take(store, notification("n1", "joe@acme.com"))
    assert store.expire(["https://a.example/"]) == 0
    late = stores.now() + DAY
    monkeypatch.setattr(stores, "now", lambda: late)
    assert store.expire(["https://a.example/"]) == 2
    errors = {row["channel"]: row["last_error"] for row in listed(tmp_path, "failed", 9)}
    assert errors["webhook"] == "given up, its time was over"
    assert "RATEMILL_SMTP_HOST" in errors["mail"]
    assert (try_again(tmp_path, "n1", 48), try_again(tmp_path, None, 48)) == (2, 0)
    assert store.expire([]) == 0
    assert [due.attempts for due in store.due("https://a.example/", 9)] == [0]


def test_dead_letters_has_what_failed_and_what_was_malformed(store, tmp_path):
    store.take([Came(3, 8, b"{"), Came(3, 9, None), Came(3, 10, json.dumps(notification("n1", "joe")).encode())])
    with closing(sqlite3.connect(tmp_path / "deliveries.sqlite")) as connection:
        letters = connection.execute("SELECT partition, offset, recipient, reason FROM dead_letters ORDER BY offset")
        found = letters.fetchall()
    assert [row[:3] for row in found] == [(3, 8, None), (3, 9, None), (3, 10, "joe")]
    assert found[1][3] == "the record has no value"
    assert store.positions() == {3: 11}


def test_counts_are_those_of_the_rows(store, tmp_path):
    """Whatever happens to a delivery, the triggers follow."""
    take(store, *(notification(f"n{number}", "joe@acme.com", "joe") for number in range(9)))
    due = store.due("https://a.example/", 9)
    states = ["delivered", "failed", "pending"] * 3
    store.record([Result(each.delivery_id, state, 1, 0, 0, "x") for each, state in zip(due, states, strict=True)])
    store.record([Result(due[1].delivery_id, "pending", 2, 0, None, "x")])
    with closing(sqlite3.connect(tmp_path / "deliveries.sqlite")) as connection:
        rows = dict(connection.execute("SELECT channel || state, count(*) FROM deliveries GROUP BY 1"))
    assert {each.channel + each.state: each.deliveries for each in tallies(tmp_path) if each.deliveries} == rows


def test_webhooks_of_a_settings_file_and_of_the_environment_are_the_same():
    both = ("https://a.example/", "https://b.example/#invoice_issued,quota_reached")
    assert Settings(webhooks=" ".join(both)).webhooks == Settings(webhooks=both).webhooks == both
    assert webhook_of(both[1]).takes("quota_reached")
    assert not webhook_of(both[1]).takes("trial_ending")
