"""`ratemill publish`: what changed and nothing else, all of it or nothing, one publisher at a time."""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest

from dataflows.catalog_entries import catalog_of, entries_of
from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.errors import RatemillError
from dataflows.moments import now
from rating.catalog import compile_catalog
from schemas.problems import CatalogErrors
from tests.flow.catalogs import catalog, marks
from tests.kafka.catalogs import (
    following,
    make_catalog_topic,
    published,
    records,
    rewritten,
    until,
    write_record,
)
from tests.kafka.flows import settings_for
from tests.kafka.publisher import POINTS
from tests.ops.ratemill import CATALOG, inside

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(broker, topic_prefix):
    return settings_for(broker, topic_prefix)


@pytest.fixture
def topic(settings):
    return make_catalog_topic(settings)


@pytest.fixture
def command(settings, topic, monkeypatch):
    """`ratemill publish` within this process."""
    monkeypatch.setenv("RATEMILL_KAFKA_BOOTSTRAP_SERVERS", settings.kafka["bootstrap.servers"])
    monkeypatch.setenv("RATEMILL_TOPIC_PREFIX", settings.topic_prefix)
    return partial(inside, "publish")


def publisher(settings, folder, mark, point, behaviour):
    """Another process that publishes, and dies or pauses at the point."""
    asked = [sys.executable, "-m", "tests.kafka.publisher", settings.to_json(), mark, point, behaviour, str(folder)]
    return subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sentence(kind, act, *arguments):
    with pytest.raises(kind) as raised:
        act(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def allow(before, moment):
    """A judge who refuses nothing."""
    assert before is not None
    assert moment is not None


def test_the_first_publication_is_the_whole_catalog(settings, topic):
    began = now()
    publication = publish_catalog(settings, catalog("first"))
    version = publication.version
    assert (publication.is_new, publication.changed, publication.removed) == (True, 8, 0)
    assert (version.number, version.entries, version.previous) == (1, 8, None)
    assert began <= version.published_at <= now()
    assert version.effective_from >= version.published_at + settings.catalog_lead_seconds * 1_000_000
    assert [key for key, _ in records(settings)] == [*entries_of(catalog("first")), "version"]
    known = catalog_of(published(settings).entries)
    assert marks(known) == {"first"}
    assert compile_catalog(known).digest == version.digest


def test_an_unchanged_catalog_publishes_nothing(settings, topic):
    first = publish_catalog(settings, catalog("first"))
    before = records(settings)
    again = publish_catalog(settings, catalog("first"), None, allow)
    assert (again.is_new, again.changed, again.removed) == (False, 0, 0)
    assert again.version == first.version
    assert records(settings) == before


def test_only_what_changed_is_published_and_what_is_gone_is_a_tombstone(settings, topic):
    publish_catalog(settings, catalog("first", subscriptions=3))
    written = len(records(settings))
    second = publish_catalog(settings, catalog("first", subscriptions=2, credentials=[]), None, allow)
    assert (second.changed, second.removed) == (0, 2)
    third = publish_catalog(settings, catalog("first", subscriptions=4), None, allow)
    assert (third.changed, third.removed) == (3, 0)
    told = [(key, value is None) for key, value in records(settings)[written:]]
    assert sorted(told[:2]) == [("credential:key", True), ("subscription:sub-2", True)]
    assert told[2:] == [
        ("version", False),
        ("subscription:sub-2", False),
        ("subscription:sub-3", False),
        ("credential:key", False),
        ("version", False),
    ]
    assert [one.version.previous for one in (second, third)][1] == second.version.published_at
    assert len(published(settings).entries) == 9


def test_an_order_of_entries_is_no_change(settings, topic):
    known = catalog("first", subscriptions=5)
    publish_catalog(settings, known)
    turned = known.model_copy(update={"subscriptions": known.subscriptions[::-1]})
    assert not publish_catalog(settings, turned).is_new


def test_a_moment_may_be_later_and_never_sooner_than_the_lead(settings, topic):
    soon = now() + 300_000
    told = sentence(RatemillError, publish_catalog, settings, catalog("first"), soon)
    assert "is too soon" in told
    assert records(settings) == []
    later = now() + 3_600_000_000
    assert publish_catalog(settings, catalog("first"), later).version.effective_from == later


def test_a_version_that_waits_is_not_overtaken_unawares(settings, topic, tmp_path):
    later = now() + 3_600_000_000
    publish_catalog(settings, catalog("first"))
    publish_catalog(settings, catalog("waits"), later)
    before = records(settings)
    told = sentence(RatemillError, publish_catalog, settings, catalog("sooner"), None, allow)
    assert "number 2 waits" in told
    assert "--force" in told
    assert records(settings) == before
    assert publish_catalog(settings, catalog("after"), later + 1, allow).version.number == 3
    assert publish_catalog(settings, catalog("sooner")).version.number == 4
    with following(settings, tmp_path) as flow:
        flow.follower.wait_for_first(30)
        assert flow.names() == ["first", "sooner"]


def test_without_a_topic_or_with_another_one_it_says_what_to_do(settings, broker):
    assert "ratemill topics" in sentence(RatemillError, publish_catalog, settings, catalog())


def test_a_broken_catalog_is_refused_and_nothing_is_published(settings, command, tmp_path):
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    assert command(tmp_path).code == 0
    before = records(settings)
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace("product: calls@1.0.0", "product: callz@1.0.0"))
    ran = command(tmp_path)
    assert ran.code == 1
    assert "unknown product 'callz@1.0.0'" in ran.err
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace('"0.10"', '"0.20"'))
    ran = command(tmp_path)
    assert ran.code == 1
    assert "catalog.yaml:15: products[calls@1.0.0].charges" in ran.out
    assert "settled periods were rated by it" in ran.out
    assert "Nothing was published" in ran.out
    refused = command(tmp_path, "--json").json()
    assert refused["published"] is False
    assert len(refused["problems"]) == 2
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace("  - {id: sub-bulk", "  - {id: sub-other"))
    ran = command(tmp_path)
    assert (ran.code, "subscription 'sub-bulk' is deleted while it is active" in ran.out) == (1, True)
    assert records(settings) == before


def test_the_command_says_what_it_did(command, tmp_path):
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    ran = command(tmp_path)
    assert ran.out.startswith("Published catalog number 1, in effect from 20")
    assert "14 entries new or changed, 0 removed, 14 in all" in ran.out
    assert command(tmp_path).out.startswith("Nothing changed: catalog number 1 is published")
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace('"0.10"', '"0.20"'))
    forced = command(tmp_path, "--force", "--json").json()
    assert (forced["published"], forced["number"], forced["changed"], forced["removed"]) == (True, 2, 2, 0)
    assert command(tmp_path, "--effective-from", "soon").code == 2


def test_an_entry_too_large_for_kafka_is_named(settings, topic):
    large = catalog("first", sources=[{"id": "api", "description": "x" * 1_200_000}])
    assert "the catalog's entry source:api has 1,200," in sentence(RatemillError, publish_catalog, settings, large)
    assert records(settings) == []
    assert publish_catalog(settings, catalog("first")).version.number == 1


def test_of_two_publishers_the_later_one_wins_and_the_other_published_nothing(settings, topic, tmp_path):
    publish_catalog(settings, catalog("first"))
    for number, point in enumerate(["before the first record", "after all entries", "before the commit"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        slow = publisher(settings, folder, "slow", point, "pause")
        until((folder / "there").exists)
        fast = publish_catalog(settings, catalog(f"fast-{number}"), None, allow)
        (folder / "go").touch()
        told = slow.communicate(timeout=60)[1].strip()
        assert slow.returncode == 1, point
        assert told.startswith("another `ratemill publish`"), told
        assert "\n" not in told
        state = published(settings)
        assert state.version == fast.version
        assert marks(catalog_of(state.entries)) == {f"fast-{number}"}


@pytest.mark.parametrize("point", POINTS)
def test_a_publisher_killed_anywhere_published_all_or_nothing(settings, topic, tmp_path, point):
    publish_catalog(settings, catalog("first"))
    with following(settings, tmp_path) as flow:
        flow.until_known("first")
        killed = publisher(settings, tmp_path, "second", point, "die")
        assert killed.wait(60) == -9
        killed.communicate()
        seen = "second" if point == "after the commit" else "first"
        assert marks(catalog_of(published(settings).entries)) == {seen}
        # An open transaction of a dead publisher holds up nobody.
        moment = now()
        until(lambda: flow.follower.checked_at() > moment, 10)
        assert flow.names()[-1] == seen
        began = time.monotonic()
        third = publish_catalog(settings, catalog("third"), None, allow)
        assert time.monotonic() - began < 20
        assert third.version.number == (3 if point == "after the commit" else 2)
        flow.until_known("third")
        assert flow.remarks == []


def test_a_damaged_topic_is_told_and_put_right_by_force(settings, topic, tmp_path):
    first = publish_catalog(settings, catalog("first"))
    write_record(settings, "source:api", b'{"id": "api", "name": "changed by hand"}')
    write_record(settings, "voucher:1", b"{}")
    assert "is damaged" in sentence(RatemillError, publish_catalog, settings, catalog("second"), None, allow)
    put_right = publish_catalog(settings, catalog("first"))
    assert (put_right.is_new, put_right.changed, put_right.removed) == (True, 1, 1)
    assert put_right.version.previous == first.version.published_at
    assert marks(catalog_of(published(settings).entries)) == {"first"}
    write_record(settings, "version", b"none at all")
    assert "is damaged" in sentence(RatemillError, publish_catalog, settings, catalog("first"), None, allow)
    assert publish_catalog(settings, catalog("first")).is_new
    assert published(settings).version is not None


def test_versions_are_in_the_order_of_their_publication_whatever_clocks_say(settings, topic):
    first = publish_catalog(settings, catalog("first")).version
    ahead = now() + 60_000_000
    write_record(settings, "version", rewritten(first, published_at=ahead, effective_from=now()))
    second = publish_catalog(settings, catalog("second"), None, allow).version
    assert second.published_at == ahead + 1
    assert msgspec.json.decode(records(settings)[-1][1])["previous"] == ahead


def test_what_is_judged_is_the_step_from_what_is_published(settings, topic):
    publish_catalog(settings, catalog("first"))
    asked = []

    def refuse(before, moment):
        asked.append((marks(before), moment))
        raise CatalogErrors(())

    before = records(settings)
    with pytest.raises(CatalogErrors):
        publish_catalog(settings, catalog("second"), None, refuse)
    assert records(settings) == before
    assert asked[0][0] == {"first"}
