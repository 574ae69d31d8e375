"""Records of gateways and of Revenium: what each says as an event, and why it is none."""

import json

import pytest

from tests.steps.foreign import ENVOY, KONG, METADATA, NOON, RECORDS, REVENIUM, changed, event, orders


def test_a_record_of_kong():
    found = event(changed(KONG), orders("kong"))
    assert found["reason"] is None
    assert (found["event_id"], found["source"], found["credential_id"]) == ("r1", "orders", "key-1")
    assert (found["event_time"], found["subscription_id"], found["synthetic"]) == (NOON + 123_000, None, False)
    assert found["data"] == (
        '{"latency":173,"method":"GET","path":"/search?q=\\u00e9","request_bytes":139,"response_bytes":"9982","status":200}'
    )
    assert found["elements"]["status"] == "200"


def test_a_record_of_envoy():
    found = event(changed(ENVOY), orders("envoy"))
    assert found["reason"] is None
    assert (found["event_id"], found["source"], found["credential_id"]) == ("r1", "orders", "key-1")
    assert found["event_time"] == NOON + 123_000
    assert found["data"] == (
        '{"latency":4,"method":"GET","path":"/tea","request_bytes":0,"response_bytes":135,"status":418}'
    )


def test_a_record_of_revenium():
    found = event(changed(REVENIUM), orders("revenium"))
    assert found["reason"] is None
    assert (found["event_id"], found["source"], found["credential_id"]) == ("r1", "orders", "key-1")
    assert (found["event_time"], found["subscriber"], found["organization_id"]) == (None, None, None)
    assert json.loads(found["data"]) == REVENIUM["payload"]
    assert (found["elements"]["tokens"], found["elements"]["usage.output"]) == ("1928", '"391"')


@pytest.mark.parametrize("place", ["record", "payload"])
def test_usage_metadata_names_who_used_it(place):
    payload = REVENIUM["payload"] | ({"usage_metadata": METADATA} if place == "payload" else {})
    metadata = METADATA if place == "record" else ...
    record = changed(REVENIUM, subscriberCredential=..., payload=payload, usage_metadata=metadata)
    found = event(record, orders("revenium"))
    stated = (found["organization_id"], found["subscriber"], found["credential_id"], found["reason"])
    assert stated == ("AcmeSoft", "joe@acme.com", "key-2", None)
    assert json.loads(found["data"]) == payload


def test_istio_and_envoy_gateway_name_things_differently():
    members = {"x-request-id": "r2", ":authority": "orders", "x-envoy-origin-path": "/old"}
    record = changed(ENVOY, request_id=..., upstream_cluster=..., authority=..., path=..., **members)
    found = event(record, orders("envoy"))
    assert (found["event_id"], found["source"], found["elements"]["path"]) == ("r2", "orders", '"/old"')


FOUND = [
    # format, changed members, column, what it becomes
    ("kong", {"consumer": {"id": "c1"}}, "credential_id", "c1"),
    ("kong", {"consumer": {"custom_id": None, "id": "c1"}}, "credential_id", "c1"),
    ("kong", {"consumer": {"custom_id": "", "id": "c1"}}, "credential_id", "c1"),
    ("kong", {"consumer": ...}, "credential_id", "a1"),
    ("kong", {"consumer": None}, "credential_id", "a1"),
    ("kong", {"consumer": "c1"}, "credential_id", "a1"),
    ("kong", {"consumer": [{"id": "c1"}]}, "credential_id", "a1"),
    ("kong", {"consumer": {"custom_id": 123}}, "credential_id", "123"),
    ("kong", {"consumer": {"custom_id": -1.50}}, "credential_id", "-1.5"),
    ("kong", {"consumer": {"custom_id": 'a "b"\\\n'}}, "credential_id", 'a "b"\\\n'),
    ("kong", {"consumer": {"custom_id": "日本語😀"}}, "credential_id", "日本語😀"),
    ("kong", {"service": {"name": "other", "id": "orders"}}, "source", "orders"),
    ("kong", {"started_at": ...}, "event_time", None),
    ("kong", {"started_at": None}, "event_time", None),
    ("kong", {"started_at": 0}, "event_time", 0),
    ("kong", {"started_at": 1795176000123.4567}, "event_time", NOON + 123_456),
    ("kong", {"started_at": 7258118399999}, "event_time", 7_258_118_399_999_000),
    ("kong", {"started_at": "2026-11-20T12:00:00Z"}, "event_time", NOON),
    ("kong", {"latencies": ..., "response": ..., "request": {"id": "r1"}}, "data", "{}"),
    (
        "kong",
        {"latencies": ..., "response": {"status": None}, "request": {"id": "r1", "uri": ""}},
        "data",
        '{"path":""}',
    ),
    ("envoy", {"upstream_cluster": None, "authority": "orders"}, "source", "orders"),
    ("envoy", {"upstream_cluster": "-", "authority": "orders"}, "source", "orders"),
    ("envoy", {"start_time": 1795176000123}, "event_time", NOON + 123_000),
    ("envoy", {"start_time": "-"}, "event_time", None),
    ("revenium", {"payload": ...}, "data", "{}"),
    ("revenium", {"payload": None}, "data", "{}"),
    ("revenium", {"payload": {}}, "data", "{}"),
    ("revenium", {"time": "2026-11-20T12:00:00Z"}, "event_time", NOON),
    ("revenium", {"transactionId": 42}, "event_id", "42"),
]


@pytest.mark.parametrize(("kind", "members", "column", "value"), FOUND)
def test_where_values_are_found(kind, members, column, value):
    found = event(changed(RECORDS[kind], **members), orders(kind))
    assert (found[column], found["reason"]) == (value, None)


REFUSED = [
    # format, changed members, reason, what the detail names
    ("kong", {"request": {"size": 1}}, "missing_id", "source 'orders' (format kong) has id at `request.id`"),
    ("kong", {"request": ...}, "missing_id", "id at `request.id`"),
    (
        "kong",
        {"consumer": ..., "authenticated_entity": ...},
        "missing_subject",
        "has credential at `consumer.custom_id`, `consumer.id` or `authenticated_entity.id`",
    ),
    ("kong", {"consumer": {"custom_id": {"id": 1}}}, "bad_attribute", "`credential` is an object"),
    ("kong", {"consumer": {"custom_id": True}}, "bad_attribute", "has credential at `consumer.custom_id`"),
    ("kong", {"consumer": {"custom_id": "x" * 257}}, "bad_attribute", "has 257 characters"),
    ("kong", {"consumer": {"custom_id": "a\0"}}, "bad_attribute", "null character"),
    ("kong", {"started_at": 7258118400000}, "bad_time", "time at `started_at`"),
    ("kong", {"started_at": 1e300}, "bad_time", "time at `started_at`"),
    ("kong", {"started_at": -1}, "bad_time", "`time` is a number"),
    ("kong", {"started_at": "yesterday"}, "bad_time", "'yesterday' is not RFC 3339"),
    ("envoy", {"request_id": "-"}, "missing_id", "id at `request_id` or `x-request-id`"),
    ("envoy", {"client": ...}, "missing_subject", "has credential at `client.key`"),
    ("revenium", {"transactionId": ...}, "missing_id", "format revenium) has id at `transactionId`"),
    ("revenium", {"subscriberCredential": ...}, "missing_subject", "organization at `usage_metadata.organization_id`"),
    ("revenium", {"payload": [1]}, "bad_data", "`data` is an array, an object is needed"),
    ("revenium", {"payload": "text"}, "bad_data", "has data at `payload`"),
    ("revenium", {"payload": {f"e{number}": 1 for number in range(65)}}, "bad_data", "65 elements"),
    (
        "kong",
        {"latencies": {"request": {f"e{n}": 1 for n in range(65)}}},
        "bad_data",
        "it was read as one of source 'orders'",
    ),
]


@pytest.mark.parametrize(("kind", "members", "reason", "says"), REFUSED)
def test_what_lacks_a_part_is_refused_whole(kind, members, reason, says):
    record = changed(RECORDS[kind], **members)
    found = event(record, orders(kind))
    assert (found["reason"], found["source"]) == (reason, "orders")
    assert says in found["reason_detail"]
    assert json.loads(found["data"]) == {"record": record.decode()}


def test_every_number_keeps_its_digits():
    numbers = ("1.50", "-0", "12345678901234567890.123456", "1e400", "0.1E-7", "9007199254740993", '"007"')
    for number in numbers:
        record = changed(KONG, response={"status": "@"}).replace(b'"@"', number.encode())
        assert event(record, orders("kong"))["elements"]["status"] == number
        record = changed(REVENIUM, payload={"tokens": "@"}).replace(b'"@"', number.encode())
        assert event(record, orders("revenium"))["elements"]["tokens"] == number


MAPPED = [
    # mapping, members besides, column or element, what it becomes
    ({"credential": 'request.headers["x-api-key"]'}, {}, "credential_id", "key-9"),
    ({"credential": "$['request'].headers.x-api-key"}, {}, "credential_id", "key-9"),
    ({"subscription": "sub", "organization": "org"}, {"sub": "s1", "org": "o1"}, "subscription_id", "s1"),
    ({"subscriber": '["a.b"]["c d"]'}, {"a.b": {"c d": "joe@acme.com"}}, "subscriber", "joe@acme.com"),
    ({"id": "trace"}, {"trace": "t1"}, "event_id", "t1"),
    ({"time": "when"}, {"when": "2026-11-20T12:00:00Z"}, "event_time", NOON),
    ({"status": "upstream_status"}, {"upstream_status": "503"}, "status", '"503"'),
    ({"tokens": "ai.meta.tokens"}, {"ai": {"meta": {"tokens": 1.50}}}, "tokens", "1.5"),
    ({"usage": "ai"}, {"ai": {"output": 7}}, "usage.output", "7"),
    ({"tokens": "ai.tokens"}, {"ai": None}, "tokens", None),
    ({"n": "request"}, {"request": {"id": "r1"}}, "n", '{"id": "r1"}'),
    ({"source": "route.name"}, {"route": {"name": "orders"}, "service": ...}, "source", "orders"),
]


@pytest.mark.parametrize(("mapping", "members", "name", "value"), MAPPED)
def test_a_mapping_replaces_and_adds_paths(mapping, members, name, value):
    found = event(changed(KONG, **members), orders("kong", **mapping))
    assert found["reason"] is None
    assert (found | found["elements"])[name] == value


def test_a_mapping_replaces_all_paths_of_the_format():
    found = event(changed(KONG), orders("kong", credential="nowhere"))
    assert found["reason"] == "missing_subject"
    assert "has credential at `nowhere`" in found["reason_detail"]


def test_a_mapping_adds_to_a_payload():
    found = event(changed(REVENIUM), orders("revenium", label="sourceType", tokens="payload.model", n="nowhere"))
    assert json.loads(found["data"]) == REVENIUM["payload"] | {"label": "AI", "tokens": "m"}
    found = event(changed(REVENIUM, payload=...), orders("revenium", label="sourceType"))
    assert found["data"] == '{"label":"AI"}'
    assert event(changed(REVENIUM, payload=[]), orders("revenium", label="sourceType"))["reason"] == "bad_data"


def test_the_order_of_a_mapping_changes_nothing():
    mapping = {"tokens": "latencies.kong", "n": "latencies.proxy", "zone": "source", "credential": "consumer.id"}
    found = [
        event(changed(KONG), orders("kong", **dict(order))) for order in (mapping.items(), [*mapping.items()][::-1])
    ]
    assert found[0] == found[1]
