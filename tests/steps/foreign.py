"""Records of the formats that are no CloudEvents, and what becomes of them."""

import json
from typing import Any

from rating.foreign import foreign_sources
from schemas.catalog import Source, SourceFormat
from tests.steps.comparing import SIMPLE, Foreign, check, check_chunk, row_alone

NOON = 1_795_176_000_000_000
ELEMENTS = ("status", "path", "tokens", "usage.output", "n")
FORMATS: tuple[SourceFormat, ...] = ("kong", "envoy", "revenium")

KONG = {
    "request": {"id": "r1", "size": 139, "uri": "/search?q=é", "method": "GET", "headers": {"x-api-key": "key-9"}},
    "response": {"size": "9982", "status": 200},
    "latencies": {"kong": 1, "proxy": 171, "request": 173},
    "service": {"name": "orders", "id": "fb4eecf8"},
    "consumer": {"custom_id": "key-1", "id": "c1"},
    "authenticated_entity": {"id": "a1"},
    "tries": [{"balancer_start_ns": 1.7267838395395e18}],
    "started_at": 1795176000123,
    "source": "upstream",
}
ENVOY = {
    "request_id": "r1",
    "start_time": "2026-11-20T12:00:00.123Z",
    "upstream_cluster": "orders",
    "authority": "api.example.com",
    "response_code": 418,
    "response_flags": "-",
    "bytes_received": 0,
    "bytes_sent": 135,
    "duration": 4,
    "method": "GET",
    "path": "/tea",
    "client": {"key": "key-1"},
    "user_agent": None,
}
REVENIUM = {
    "transactionId": "r1",
    "payload": {"tokens": 1928, "usage": {"output": "391"}, "model": "m"},
    "sourceId": "orders",
    "subscriberCredential": "key-1",
    "sourceType": "AI",
}
METADATA = {"organization_id": "AcmeSoft", "subscriber_identity": "joe@acme.com", "subscriber_credential": "key-2"}
RECORDS: dict[str, dict[str, Any]] = {"kong": KONG, "envoy": ENVOY, "revenium": REVENIUM}
OF_KEY = {"envoy": {"credential": "client.key"}}


def sources(*stated: Source) -> Foreign:
    return foreign_sources(stated)


def orders(kind: SourceFormat, name: str = "orders", **mapping: str) -> Source:
    """A source of this format; Envoy's has a credential, since its logs name nobody."""
    return Source(id=name, format=kind, mapping=OF_KEY.get(kind, {}) | mapping)


def changed(record: dict[str, Any], **members: Any) -> bytes:
    """The record with other members; what is `...` is left out."""
    return json.dumps({name: value for name, value in (record | members).items() if value is not ...}).encode()


def event(record: bytes, *stated: Source) -> dict[str, Any]:
    """The only row that the record becomes, the same whichever way it is read."""
    foreign = sources(*stated)
    check([record, SIMPLE, record], ELEMENTS, foreign)
    if b"\n" not in record:
        check_chunk(record + b"\n" + SIMPLE, ELEMENTS, 5, foreign)
    return row_alone(record, ELEMENTS, foreign)
