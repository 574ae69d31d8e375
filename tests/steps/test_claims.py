"""Whose record is it: sources of several formats side by side, and events between their records."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Source
from schemas.events import RECORD_BYTES_LIMIT
from tests.laws.profile import law
from tests.steps.comparing import SIMPLE, Foreign, check, check_chunk, decoded, decoded_chunk
from tests.steps.foreign import ELEMENTS, ENVOY, FORMATS, KONG, RECORDS, REVENIUM, changed, event, orders, sources
from tests.steps.records import any_record, broken

CLAIMS = [
    # record, changed members, sources, whose record it is
    ("kong", {}, [orders("kong"), orders("kong", "b")], "orders"),
    ("kong", {"service": {"name": "b"}}, [orders("kong"), orders("kong", "b")], "b"),
    ("kong", {"service": {"name": "c"}}, [orders("kong"), orders("kong", "b")], None),
    ("kong", {"service": ...}, [orders("kong"), orders("kong", "b")], None),
    ("kong", {"service": ...}, [orders("kong")], "orders"),
    ("kong", {"service": None}, [orders("kong"), orders("envoy", "e"), orders("revenium", "r")], "orders"),
    ("kong", {"service": {"name": "c"}}, [orders("kong")], None),
    ("kong", {"service": ...}, [orders("kong", source="route.name")], None),
    ("kong", {"service": ..., "latencies": ..., "started_at": ...}, [orders("kong")], None),
    ("kong", {"route": {"name": "b"}}, [orders("kong"), orders("kong", "b", source="route.name")], "orders"),
    ("kong", {"route": {"name": "b"}}, [orders("kong", "b", source="route.name"), orders("kong")], "b"),
    ("kong", {"service": {"name": 7}}, [orders("kong", "7")], "7"),
    ("kong", {"service": {"name": ["orders"]}}, [orders("kong")], None),
    ("envoy", {}, [orders("kong", "k"), orders("envoy")], "orders"),
    ("envoy", {"upstream_cluster": "b"}, [orders("envoy"), orders("envoy", "api.example.com")], "api.example.com"),
    ("envoy", {"upstream_cluster": "-", "authority": ...}, [orders("envoy")], "orders"),
    ("revenium", {}, [orders("kong", "k"), orders("envoy", "e"), orders("revenium")], "orders"),
    ("revenium", {"sourceId": ...}, [orders("kong", "k"), orders("envoy", "e"), orders("revenium")], "orders"),
    ("revenium", {"sourceId": "é"}, [orders("revenium", "é")], "é"),
    ("revenium", {}, [Source(id="orders")], None),
    # What says that it is CloudEvents, or has all that they need, is nothing else.
    ("revenium", {"specversion": "1.0"}, [orders("revenium")], None),
    ("revenium", {"id": "1", "source": "s", "subscription": ""}, [orders("revenium")], "s"),
    ("revenium", {"id": "1", "source": "s"}, [orders("revenium")], "orders"),
]


@pytest.mark.parametrize(("kind", "members", "stated", "name"), CLAIMS)
def test_whose_record_it_is(kind, members, stated, name):
    found = event(changed(RECORDS[kind], **members), *stated)
    assert found["source"] == name or (name is None and found["reason"] == "missing_id")
    assert ("(format " in (found["reason_detail"] or "(format ")) == (name not in (None, "s"))
    assert ("it is no record of another format" in (found["reason_detail"] or "")) == (
        name is None and stated[0].format != "cloudevents"
    )


def test_events_beside_foreign_records_are_read_as_ever(one_by_one):
    foreign = sources(*(orders(kind, name) for kind, name in zip(FORMATS, ("orders", "o2", "o3"), strict=True)))
    records = [SIMPLE, changed(KONG), SIMPLE, changed(ENVOY, upstream_cluster="o2"), SIMPLE]
    records += [changed(REVENIUM, sourceId="o3"), SIMPLE]
    batch = decoded(records, ELEMENTS, foreign)
    assert batch.events["source"].to_list() == ["s", "orders", "s", "o2", "s", "o3", "s"]
    assert batch.events["offset"].to_list() == list(range(7))
    assert one_by_one.records == 0
    plain = decoded([SIMPLE] * 7, ELEMENTS)
    assert batch.events[::2].equals(plain.events[::2])
    chunk = decoded_chunk(b"\n\n".join(records), ELEMENTS, 0, foreign)
    assert chunk.events.drop("offset").equals(batch.events.drop("offset"))
    assert chunk.events["offset"].to_list() == list(range(0, 14, 2))
    assert {name: column.to_list() for name, column in chunk.elements.items()} == {
        name: column.to_list() for name, column in batch.elements.items()
    }


def test_a_record_over_several_lines_or_too_large():
    spread = json.dumps(KONG, indent=1).encode()
    assert event(spread, orders("kong"))["source"] == "orders"
    large = changed(KONG, note="x" * RECORD_BYTES_LIMIT)
    assert event(large, orders("kong"))["reason"] == "too_large"


def test_a_record_that_is_no_utf8_or_nested_too_deeply():
    assert event(changed(KONG).replace(b"r1", b"\xff"), orders("kong"))["reason"] == "malformed_json"
    deep = changed(KONG, note="@").replace(b'"@"', b"[" * 5_000 + b"]" * 5_000)
    assert event(deep, orders("kong"))["reason"] == "malformed_json"


VALUES = (
    None,
    "",
    "-",
    "orders",
    "b",
    0,
    1.5,
    True,
    [],
    {},
    {"id": "x"},
    {"name": "orders"},
    "é",
    "\0",
    "x" * 300,
    10**40,
)
PLACES = sorted(
    {name for record in RECORDS.values() for name in record} | {"id", "subscription", "usage_metadata", "time"}
)
ANY_SOURCES = (
    sources(orders("kong")),
    sources(orders("kong"), orders("envoy", "b"), orders("revenium", "é")),
    sources(*(orders(kind, f"{kind}{number}", source="service") for kind in FORMATS for number in range(2))),
    sources(orders("revenium", n="payload", tokens="usage_metadata.organization_id"), orders("kong", "b", n="a")),
)


def any_foreign_record(random: Random) -> bytes:
    record = RECORDS[random.choice(FORMATS)]
    members = {random.choice(PLACES): random.choice((..., *VALUES)) for _ in range(random.randrange(4))}
    text = changed(record, **members)
    return broken(random, text) if random.random() < 0.4 else text


@law(150)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.sampled_from(ANY_SOURCES))
def test_any_records_of_any_formats(random: Random, count: int, foreign: Foreign):
    """One row each, the same as alone, wherever it comes from; and an event between them does not notice."""
    records = [random.choice((any_foreign_record, any_foreign_record, any_record))(random) for _ in range(count)]
    place = random.randrange(count + 1)
    records.insert(place, SIMPLE)
    reasons = check(records, ELEMENTS, foreign)
    assert len(reasons) == count + 1
    assert reasons[place] is None
    check_chunk(b"\n".join(record.replace(b"\n", b" ") for record in records), ELEMENTS, 3, foreign)


@law(200)
@given(st.binary(max_size=60), st.sampled_from(ANY_SOURCES))
def test_any_bytes(record: bytes, foreign: Foreign):
    assert len(check([record, SIMPLE], ELEMENTS, foreign)) == 2


def test_the_law_sees_events_and_refusals():
    random = Random(1)
    records = [any_foreign_record(random) for _ in range(2_000)]
    reasons = check(records, ELEMENTS, ANY_SOURCES[1])
    assert {None, "malformed_json", "missing_id", "missing_subject", "bad_attribute", "bad_time"} <= set(reasons)
    assert 0.2 < reasons.count(None) / len(reasons) < 0.8
