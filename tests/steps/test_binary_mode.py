"""Kafka's binary mode: the same event as in structured mode, whatever stands in its headers and its value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.steps.binary_mode import Header, structured
from tests.laws.profile import law
from tests.steps.comparing import check, decoded

HEADERS: list[Header] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e1"),
    ("ce_source", b"drug-search"),
    ("ce_type", b"api.request"),
    ("ce_time", b"2026-11-20T10:00:00.123Z"),
    ("ce_subscription", b"sub-1"),
    ("content-type", b"application/json"),
    ("traceparent", b"00-\xff-01"),
]
VALUE = b'{"n": 1.50, "region": "eu"}'
SURE = [("ce_id", b"e1"), ("ce_source", b"s"), ("ce_subscription", b"sub-1")]


def row(value: bytes | None, headers: list[Header]) -> dict:
    """The only row that the record becomes, the same on both paths."""
    record = structured(value, headers)
    check([record, record])
    return decoded([record]).events.row(0, named=True)


def test_headers_are_attributes_and_the_value_is_the_data(one_by_one):
    found = row(VALUE, HEADERS)
    assert (found["event_id"], found["source"], found["subscription_id"]) == ("e1", "drug-search", "sub-1")
    assert (found["event_time"], found["data"], found["reason"]) == (1_795_168_800_123_000, VALUE.decode(), None)
    assert one_by_one.records == 0


def test_the_same_event_in_both_modes():
    one = {name.removeprefix("ce_"): text.decode() for name, text in HEADERS[:6] if text is not None}
    other = decoded([json.dumps(one)[:-1].encode() + b',"data":' + VALUE + b"}"]).events
    assert decoded([structured(VALUE, HEADERS)]).events.equals(other)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("ce_source", b"s"), ("ce_type", b"t")],
        [("ce-id", b"1"), ("CE_ID", b"1"), ("ce", b"1")],
        [*HEADERS, ("content-type", b"application/cloudevents+json; charset=UTF-8")],
        [("Content-Type", b"Application/CloudEvents"), ("ce_id", b"1")],
    ],
)
def test_what_is_not_in_binary_mode_stays_as_it_is(headers):
    assert structured(VALUE, headers) == VALUE
    assert structured(b"\xff", headers) == b"\xff"
    assert structured(None, headers) == b""


@pytest.mark.parametrize("value", [None, b""])
def test_no_value_is_no_data(value):
    assert row(value, HEADERS)["data"] == "{}"


@pytest.mark.parametrize("mark", ["ce_id", "ce_specversion"])
def test_each_mark_suffices(mark):
    reason = {"ce_id": None, "ce_specversion": "missing_id"}[mark]
    assert row(VALUE, [(mark, b"1.0"), *SURE[1:]])["reason"] == reason


ESCAPED = ['"', "\\", '","data":{"n":9},"x":"', "\n", "\x01", "é", "日本語", "😀", "%C3%A9", " ", "x" * 256]


@pytest.mark.parametrize("text", ESCAPED)
def test_a_header_says_what_it_says(text):
    found = row(VALUE, [("ce_id", text.encode()), *SURE[1:], (f"ce_{text}", text.encode())])
    assert (found["event_id"], found["data"], found["reason"]) == (text, VALUE.decode(), None)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("ce_id", b"", "bad_attribute"),
        ("ce_id", None, "missing_id"),
        ("ce_id", b"a\0b", "bad_attribute"),
        ("ce_id", b"x" * 257, "bad_attribute"),
        ("ce_source", None, "missing_source"),
        ("ce_subscription", None, "missing_subject"),
        ("ce_time", b"yesterday", "bad_time"),
        ("ce_time", None, None),
        ("ce_synthetic", b"true", None),
        ("ce_synthetic", b"false", None),
        ("ce_synthetic", b"True", "bad_attribute"),
        ("ce_data", b'{"n":9}', None),
    ],
)
def test_a_header_that_is_odd(name, text, reason):
    found = row(VALUE, [*SURE, (name, text)])
    assert found["reason"] == reason
    assert found["synthetic"] == ((name, text) == ("ce_synthetic", b"true"))
    assert reason is not None or found["data"] == VALUE.decode()


def test_a_header_is_never_the_data():
    assert row(None, [*SURE, ("ce_data", b'{"n":9}')])["reason"] == "bad_data"


def test_of_two_headers_with_one_name_the_last_counts():
    assert row(VALUE, [("ce_id", b"old"), *SURE])["event_id"] == "e1"


NO_OBJECTS = [b"1", b'"text"', b"[{}]", b"true"]
NO_JSON = [
    *(
        b'1,"id":"x"',
        b'{"n":1},"id":"x"',
        b'{"n":1}}',
        b'{"n":1',
        b'{},"data":{}',
        b'"',
        b'\\"}',
        b"text",
        b" ",
        b"{}{}",
    ),
    *(
        b"NaN",
        b"01",
        b"{,}",
        b'{"n":1,}',
        b"//",
        b"\xef\xbb\xbf{}",
        b"{}\0",
        b"[" * 5_000,
        b'{"n":"\n"}',
        b"\x00\x01Avro",
    ),
]


@pytest.mark.parametrize("value", [*NO_OBJECTS, *NO_JSON])
def test_a_value_that_is_no_object_is_refused_whole(value):
    found = row(value, HEADERS)
    assert (found["event_id"], found["reason"]) == ("e1", "bad_data")
    held = json.loads(json.loads(found["data"])["record"])["data"]
    assert held == (value.decode() if value in NO_JSON else json.loads(value))


@pytest.mark.parametrize("value", [b"\xff", b'{"n":"\xff"}', b"\x00\x00\xc3\x28", '{"n":"é"}'.encode("latin-1")])
def test_a_value_that_is_no_text_is_refused_whole(value):
    found = row(value, HEADERS)
    assert found["reason"] == "malformed_json"
    assert value in bytes.fromhex(json.loads(found["data"])["record_hex"])


@pytest.mark.parametrize("header", [("ce_id", b"\xff"), ("ce_x", b"a\xc3"), ("ce_\udcff", b"x")])
def test_a_header_that_is_no_text_is_refused_whole(header):
    found = row(VALUE, [*HEADERS, header])
    assert found["reason"] == "malformed_json"
    held = bytes.fromhex(json.loads(found["data"])["record_hex"])
    assert header[1] in held
    assert b"drug-search" in held
    assert json.dumps(VALUE.decode()).encode() in held


def test_a_value_keeps_every_digit():
    value = b'{"n": 1.50, "a": 12345678901234567890.123456, "region": 1e400}'
    batch = decoded([structured(value, HEADERS)], ("n", "a", "region"))
    assert [batch.elements[name][0] for name in ("n", "a", "region")] == [
        "1.50",
        "12345678901234567890.123456",
        "1e400",
    ]


names = st.sampled_from([*(name for name, _ in HEADERS), "ce_data", "ce_synthetic", "ce_", "x"]) | st.text(max_size=5)
texts = st.none() | st.binary(max_size=8) | st.text(max_size=8).map(str.encode) | st.sampled_from([b"true", b"\0"])
values = st.none() | st.binary(max_size=20) | st.sampled_from([VALUE, b'{"n":1},"id":"x"', *NO_JSON])


@law(300)
@given(st.lists(st.tuples(names, texts), max_size=6), values)
def test_any_headers_and_any_value(stated: list[Header], value: bytes | None):
    """One row each; it is an event only if its value was one, and then with the value's own bytes."""
    found = row(value, [*SURE, *stated])
    if found["reason"] is None:
        assert found["data"] in ((value or b"{}").decode(), "{}")
        assert found["data"] != "{}" or not value or json.loads(value) in (None, {})
        assert found["event_id"] in [text.decode() for name, text in [*SURE, *stated] if name == "ce_id" and text]
