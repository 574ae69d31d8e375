"""Random records: events with quantities near the edges, repeats, and everything that a producer may break."""

import json
from datetime import datetime
from random import Random
from typing import Any

GOOD = ("0", "1", "2", "3", "0.5", "99.5", "100", "100.5", "0.000001", "1e2", "15E-1", "-0", "250", "1000000.000001")
NEGATIVE = ("-1", "-0.5", "-100", "-0.000001")
HUGE = ("99999999999999999999", "12345678901234567890.123456", "-99999999999999999999.999999", "9223372036854775808")
BAD = (
    *('"abc"', "1.5000000", "1e400", "1e-7", "true", "false", "[]", "[1]", '{"z": 1}', '""', '" 1"', '"1_000"'),
    *('"+1"', '"01"', '"NaN"', '"\u0661"', "100000000000000000000", '"1e20"', '"0e-7"', '"-"', '"1."', '"\\u0000"'),
)
TEXTS = ('"eu"', '"us"', '"EU"', '"e\u0308"', '""', "5", '"5"', "5.0", "null", "true")


def event_record(
    rng: Random,
    document: dict[str, Any],
    subscription: dict[str, Any],
    time: datetime,
    serial: int,
    bad: bool,
    huge: bool,
) -> bytes:
    """A well-formed event of the subscription; its quantities may be no quantities, and its id that of another event.

    Without `bad` every serial number is an event of its own.
    """
    members = {"subscription": subscription["id"]}
    if rng.random() < 0.15:
        members = _owner(rng, document, subscription, discovers=bad)
    source = rng.choice(("a", "a", "a", "a", "b", "c"))
    attributes = {"id": f"{subscription['id']}-{rng.randrange(60) if bad else serial}", "source": source, **members}
    if rng.random() > 0.05 or not bad:
        attributes["time"] = _written(rng, time)
    pairs = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in attributes.items()]
    if rng.random() < 0.95:
        pairs.append(f'"data": {_data(rng, bad, huge)}')
    rng.shuffle(pairs)
    return ("{" + ", ".join(pairs) + "}").encode()


def _owner(rng: Random, document: dict[str, Any], subscription: dict[str, Any], discovers: bool) -> dict[str, str]:
    """Another way to say whose usage it is; `discovers` if credentials may come to light."""
    credentials = [credential["id"] for credential in document["credentials"]] or ["key0"]
    credentials += ["new1", "new2"] if discovers else []
    ways = (
        {"subject": subscription["id"]},
        {"credential": rng.choice(credentials)},
        {"subscription": subscription["id"], **({"credential": rng.choice(credentials)} if discovers else {})},
        {"subscriber": subscription["subscriber"]},
        {"organization": rng.choice(("org0", "org1", "nowhere"))},
        {"subscription": "nobody"},
        {"subscriber": "nobody@x.example", "organization": "org0"},
    )
    return rng.choice(ways)


def _written(rng: Random, time: datetime) -> str:
    text = time.isoformat()
    return rng.choice((text.replace("+00:00", "Z"), text, time.isoformat(timespec="microseconds")))


def _data(rng: Random, bad: bool, huge: bool) -> str:
    members = {}
    for name in ("x", "y"):
        if rng.random() < 0.9:
            members[name] = _number(rng, bad, huge)
    if rng.random() < 0.6:
        members["region"] = rng.choice(TEXTS if bad else TEXTS[:4])
    if rng.random() < 0.3:
        members["status"] = rng.choice(("200", "499", "500", '"503"', "null"))
    if rng.random() < 0.2:
        members["vip"] = rng.choice(("1", "0"))
    if rng.random() < 0.3:
        members["nested"] = rng.choice((f'{{"z": {_number(rng, bad, huge)}}}', "{}", "7", "null"))
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"


def _number(rng: Random, bad: bool, huge: bool) -> str:
    chance = rng.random()
    if bad and chance < 0.04:
        return rng.choice(BAD)
    if huge and chance < 0.06:
        return rng.choice(HUGE)
    if bad and chance < 0.2:
        return rng.choice(NEGATIVE)
    text = rng.choice(GOOD) if chance < 0.7 else f"{rng.randint(0, 300)}.{rng.randint(0, 999999):06d}"
    return f'"{text}"' if rng.random() < 0.2 else text


def bad_record(rng: Random, subscription: dict[str, Any], time: datetime) -> bytes:
    """A record that is refused, or nearly so."""
    good = {"id": "bad", "source": "a", "subscription": subscription["id"], "time": time.isoformat(), "data": {"x": 1}}
    chance = rng.random()
    if chance < 0.4:
        name = rng.choice((*good, "credential", "subscriber", "organization", "subject", "synthetic"))
        value = rng.choice(
            ("", None, 7, [], {}, True, "x" * 256, "x" * 257, "\0", "2026-02-30T00:00:00Z", "1969-12-31T23:59:59Z")
        )
        return json.dumps({**good, name: value}).encode()
    if chance < 0.5:
        return json.dumps({**good, "data": {f"e{number}": number for number in range(rng.choice((64, 65)))}}).encode()
    if chance < 0.55:
        return json.dumps({**good, "note": "x" * rng.choice((65_300, 66_000))}).encode()
    if chance < 0.7:
        raw = json.dumps(good).encode()
        return raw[: rng.randint(1, len(raw) - 1)]
    if chance < 0.85:
        raw = bytearray(json.dumps(good).encode())
        raw[rng.randrange(len(raw))] = rng.choice(b'\x00\x80\xff{}[]",:0 \\')
        return bytes(raw)
    return rng.choice(
        (b"null", b"[]", b"1", b'"text"', b"{}", b"\xff\xfe", b'{"id": NaN}', b"{" * 300, b"\xef\xbb\xbf{}")
    )
