"""The history of a ledger's catalogs: which applies when, kept whole however many write it, and never changed."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

from dataflows.catalog_entries import canonical, catalog_of, content_digest, entries_of
from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import SURE_AHEAD, CatalogVersions
from dataflows.errors import RatemillError
from rating.catalog import compile_catalog
from rating.resolve import NONE_YET
from schemas.catalog import Catalog
from tests.flow.catalogs import catalog, version

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND, THIRD = version("first", 100), version("second", 200), version("third", 300)


def history_of(folder, *versions):
    history = CatalogHistory(folder)
    for one in versions:
        history.add(one)
    return history


def applied(history):
    """Since when each version applies, by its mark."""
    return [(stamp.effective_from, history.catalog(stamp.digest).sources[0].name) for stamp in history.versions()]


def test_the_first_applies_from_the_beginning_and_each_other_from_its_moment(tmp_path):
    history = history_of(tmp_path, FIRST, SECOND, THIRD)
    assert applied(history) == [(0, "first"), (205, "second"), (305, "third")]
    assert applied(CatalogHistory(tmp_path)) == applied(history)
    assert history.newest().digest == THIRD.digest


def test_a_ledger_that_followed_no_topic_has_no_versions(tmp_path):
    history = CatalogHistory(tmp_path)
    assert (history.versions(), history.newest()) == ([], None)
    history.keep(FIRST.catalog, FIRST.digest)
    assert history.versions() == []
    assert history.catalog(FIRST.digest) == FIRST.catalog


def test_news_that_is_none_changes_nothing(tmp_path):
    history = history_of(tmp_path, FIRST, THIRD)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # The second was published before the third, which may have rated already.
    assert [history.add(one) for one in (FIRST, SECOND, THIRD)] == [None, None, None]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_one_that_waits_is_replaced_by_one_that_takes_effect_sooner(tmp_path):
    waiting, instead = version("waiting", 200, 1000), version("instead", 300, 310)
    assert applied(history_of(tmp_path, FIRST, waiting, instead)) == [(0, "first"), (310, "instead")]
    assert applied(history_of(tmp_path, version("later", 400, 1000)))[-1] == (1000, "later")


def test_the_same_catalog_may_apply_twice(tmp_path):
    again = version("first", 300)
    assert again.digest == FIRST.digest
    assert applied(history_of(tmp_path, FIRST, SECOND, again)) == [(0, "first"), (205, "second"), (305, "first")]


def test_processes_that_add_the_same_news_at_once_write_it_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from dataflows.catalog_history import CatalogHistory;"
        "from tests.flow.catalogs import version; versions = [version(str(n), n * 100) for n in range(1, 6)];"
        "sys.stdin.readline(); history = CatalogHistory(Path(sys.argv[1]));"
        "[history.add(one) for one in versions]"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    children = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.wait(60) for child in children] == [0, 0, 0]
    for child in children:
        child.stdin.close()
    assert applied(CatalogHistory(tmp_path)) == [(0, "1"), (205, "2"), (305, "3"), (405, "4"), (505, "5")]
    assert not list(tmp_path.rglob(".*"))


def test_an_entry_says_for_people_what_its_name_says(tmp_path):
    moment = 1_794_000_000_000_000
    history_of(tmp_path, FIRST, version("second", moment, moment + 5_000_000))
    [_, second] = sorted((tmp_path / "catalogs/history").glob("*.json"))
    assert json.loads(second.read_text()) == {
        "digest": SECOND.digest,
        "effective_from": "2026-11-06T21:20:05Z",
        "published_at": "2026-11-06T21:20:00Z",
    }


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / f"{FIRST.digest}.json").write_text("{"), "was damaged"),
        (lambda folder: (folder / f"{FIRST.digest}.json").unlink(), "does not keep the catalog"),
        (lambda folder: (folder / "history/notes.json").write_text("{}"), "notes.json"),
    ],
)
def test_what_was_damaged_is_one_sentence(tmp_path, spoil, says):
    history = history_of(tmp_path, FIRST)
    spoil(tmp_path / "catalogs")
    with pytest.raises(RatemillError, match=says) as raised:
        applied(history)
    assert "\n" not in str(raised.value)


def test_a_clock_finds_its_catalog(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST, SECOND, THIRD))
    at = {clock: versions.at(clock) for clock in (NONE_YET, 0, 204, 205, 304, 305, 10**18)}
    assert list(at.values()) == [FIRST.digest] * 3 + [SECOND.digest] * 2 + [THIRD.digest] * 2
    assert versions.changes() == [205, 305]
    assert versions.latest().digest == THIRD.digest


def test_what_another_process_added_is_seen_after_a_refresh(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST))
    history_of(tmp_path, SECOND)
    assert versions.at(300) == FIRST.digest
    versions.refresh()
    assert versions.at(300) == SECOND.digest


def test_threads_that_ask_at_once_get_one_compiled_catalog(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST))
    with ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(versions.compiled, [FIRST.digest] * 32))
    assert len({id(one) for one in asked}) == 1
    assert asked[0].digest == FIRST.digest


def test_a_catalog_that_was_missing_can_be_had_once_it_is_there(tmp_path):
    history = CatalogHistory(tmp_path)
    versions = CatalogVersions(history)
    with pytest.raises(RatemillError, match="does not keep"):
        versions.compiled(FIRST.digest)
    history.keep(FIRST.catalog, FIRST.digest)
    assert versions.compiled(FIRST.digest).digest == FIRST.digest


def test_only_the_last_compiled_catalogs_stay_in_memory(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST))
    first = versions.compiled(FIRST.digest)
    others = [version(f"n{number}", 1000 + number) for number in range(6)]
    for one in others:
        versions.add(one, compile_catalog(one.catalog))
    assert versions.compiled(FIRST.digest) is not first
    assert versions.compiled(others[-1].digest) is versions.compiled(others[-1].digest)


def waiting(versions, clock, give_up=lambda: False):
    outcome = []

    def wait():
        try:
            versions.wait_until_known(clock, give_up)
            outcome.append(None)
        except RatemillError as error:
            outcome.append(error)

    thread = Thread(target=wait)
    thread.start()
    return thread, outcome


def test_a_lane_waits_until_no_version_can_come_any_more(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST))
    thread, outcome = waiting(versions, 1_000_000)
    versions.checked(1_000_000 - SURE_AHEAD - 1)
    thread.join(0.3)
    assert outcome == []
    versions.checked(1_000_000 - SURE_AHEAD)
    thread.join(5)
    assert outcome == [None]


def test_what_a_clock_said_that_was_ahead_is_worth_nothing_once_it_is_right(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST))
    versions.checked(3_600_000_000)
    versions.checked(0)
    thread, outcome = waiting(versions, 60_000_000)
    thread.join(0.3)
    assert outcome == []
    versions.checked(60_000_000)
    thread.join(5)
    assert outcome == [None]


def test_a_lane_that_waits_in_vain_is_told_why_and_one_that_shall_stop_stops(tmp_path):
    versions = CatalogVersions(history_of(tmp_path, FIRST))
    stopping = Event()
    told, stopped = waiting(versions, 1), waiting(versions, 1, stopping.is_set)
    stopping.set()
    stopped[0].join(5)
    assert stopped[1] == [None]
    versions.fail(RatemillError("no more news"))
    told[0].join(5)
    assert [str(error) for error in told[1]] == ["no more news"]


def test_entries_have_one_order_and_one_digest():
    known = catalog("mark", subscriptions=12)
    turned = known.model_copy(
        update={name: tuple(reversed(getattr(known, name))) for name in Catalog.model_fields if getattr(known, name)}
    )
    assert turned != known
    assert entries_of(turned) == entries_of(known)
    assert compile_catalog(canonical(turned)).digest == compile_catalog(canonical(known)).digest
    assert compile_catalog(turned).digest != compile_catalog(canonical(turned)).digest
    shuffled = dict(reversed(entries_of(known).items()))
    assert catalog_of(shuffled) == canonical(known)
    assert content_digest(shuffled) == content_digest(entries_of(known))


def test_an_entry_of_another_kind_or_another_shape_is_told():
    with pytest.raises(RatemillError, match="voucher:1 is of no kind"):
        catalog_of({"voucher:1": b"{}"})
    with pytest.raises(RatemillError, match="source 2 of 2"):
        catalog_of({"source:a": b'{"id": "a"}', "source:b": b'{"id": "b", "colour": "red"}'})


@pytest.mark.parametrize(
    "changes",
    [
        {"refunds": [{"id": "r", "invoice": "i", "amount": "0.0000001", "issued_at": "2026-11-01T00:00:00Z"}]},
        {"credentials": [{"id": "key", "name": "other", "subscription": "sub-0"}]},
        {"credentials": [{"id": "key", "name": "mark", "subscription": "sub-0", "subscriber": "joe@acme.example"}]},
        {"organizations": [{"id": "acme", "name": "mark", "logo": "acme.png"}]},
    ],
)
def test_the_digest_covers_everything_and_entries_keep_it(changes):
    plain, other = canonical(catalog("mark")), canonical(catalog("mark", **changes))
    assert compile_catalog(other).digest != compile_catalog(plain).digest
    assert catalog_of(entries_of(other)) == other
    assert compile_catalog(catalog_of(entries_of(other))).digest == compile_catalog(other).digest
