"""The edges of what is taken: plain records, times, numbers, names and texts of every length, records of every size."""

import calendar
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import polars as pl
import pytest

from tests.steps.comparing import ELEMENTS, SIMPLE, check, check_chunk, decoded
from tests.steps.times import time_text

TIME = b'"2026-11-20T10:00:00Z"'
PLAIN = (
    SIMPLE,
    b'{"specversion": "1.0", "id": "01JD3Z0V9", "source": "drug-search", "type": "api.request",'
    b' "time": "2026-11-20T10:00:00.123Z", "subscription": "sub-acme-1", "credential": "key1-hubspot",'
    b' "subscriber": "joe@acme.com", "organization": "AcmeSoft",'
    b' "data": {"status": 200, "input_tokens": 1928, "output_tokens": "391", "region": "eu"}}',
    b'{"source":"s","id":"1","organization":"o","synthetic":true,"time":"1970-01-01T00:00:00.123456789-00:01","data":null}',
    b'{"id":"1","source":"s","subject":"x","time":null,"credential":null,"data":{"a":null,"n":"\\u00e9\\n\\"\\\\z"}} ',
    '{"id":"é","source":"日本","subscriber":"😀","synthetic":false,"x":[{"id":[]},{},"y",-1.5e+7],"data":{}}'.encode(),
    b'{"id":"1","source":"s","credential":"c","data":{'
    + b",".join(b'"e%d":1' % number for number in range(64))
    + b"}}",
    b'{"id":"1","source":"s","credential":"c","data":{"a":' + b"[" * 50 + b"]" * 50 + b"}}",
)
BROKEN = (b"\xff", b'{"id":"\0"}', b'{\t"id":1}', b'{"a":"\\x"}', b"{" * 100, b'"' * 70_000, b"")


@pytest.mark.parametrize("elements", ELEMENTS)
def test_plain_records_are_never_decoded_one_by_one(one_by_one, elements):
    assert check(PLAIN, elements) == [None] * len(PLAIN)
    check_chunk(b"\n".join(PLAIN), elements)
    assert one_by_one.records == 0


def test_a_broken_record_costs_its_neighbours_nothing(one_by_one):
    check([record for broken in BROKEN for record in (*PLAIN[:2], broken, PLAIN[3])])
    assert one_by_one.records == len(BROKEN)


def test_every_day_that_an_event_can_have(one_by_one):
    """Every day from 1970 to 2199, and all that are none: the 29th of February in most years, and the 31st."""
    days = [(year, month, day) for year in range(1970, 2200) for month in range(1, 13) for day in range(1, 32)]
    records = [SIMPLE.replace(TIME, b'"%04d-%02d-%02dT23:59:59.000001Z"' % day) for day in days]
    start, micro = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    wanted = [
        (datetime(year, month, day, 23, 59, 59, 1, tzinfo=UTC) - start) // micro
        if day <= calendar.monthrange(year, month)[1]
        else None
        for year, month, day in days
    ]
    events = decoded(records).events
    assert events["event_time"].to_list() == wanted
    assert events["reason"].to_list() == [None if time is not None else "bad_time" for time in wanted]
    assert one_by_one.records == wanted.count(None)


def test_times_at_both_ends(one_by_one):
    """In every zone and to the last digit; and a fraction does not bring a time back that lies before the beginning."""
    ends = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    steps = (timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=10), timedelta(hours=23, minutes=59))
    moments = [end + sign * step for end in ends for step in steps for sign in (-1, 0, 1)]
    zones = [timezone(sign * step) for step in steps[2:] for sign in (-1, 1)]
    texts = [moment.astimezone(zone).isoformat() for moment in moments for zone in (UTC, *zones)]
    reasons = check([SIMPLE.replace(TIME, f'"{text}"'.encode()) for text in texts], ())
    outside = [not ends[0] <= moment < ends[1] for moment in moments for _ in range(1 + len(zones))]
    assert reasons == ["bad_time" if is_outside else None for is_outside in outside]
    assert one_by_one.records == sum(outside)


def test_times_of_every_shape(one_by_one):
    random = Random(5)
    texts = [time_text(random, 0.3) for _ in range(3_000)]
    reasons = check([SIMPLE.replace(TIME, text.encode()) for text in texts], ())
    assert 0.1 * len(texts) < reasons.count("bad_time") < one_by_one.records < 0.6 * len(texts)


def test_each_character_of_a_time(one_by_one):
    for text in ("2026-11-20T10:00:00.25+01:30", "2024-02-29T23:59:59Z"):
        texts = [text[:at] + byte + text[at + 1 :] for at in range(len(text)) for byte in "0123456789-+:.TZtz /é\0"]
        texts += [text[:at] + text[at + 1 :] for at in range(len(text))]
        texts += [text[:at] + text[at : at + 1] + text[at:] for at in range(len(text))]
        reasons = check([SIMPLE.replace(TIME, f'"{one}"'.encode()) for one in texts], ())
        assert 0 < reasons.count(None) < len(texts)


@pytest.mark.parametrize("digits", [19, 20, 39, 4_300, 4_301, 5_000, 60_000])
@pytest.mark.parametrize("number", ["%s", "-%s", "0.%s", "1e%s", "[%s]", '{"b": %s}', '"%s"'])
def test_numbers_of_every_length(number, digits):
    text = (number % ("1" * digits)).encode()
    records = [SIMPLE.replace(b'"2"', text), SIMPLE.replace(b'"data"', b'"x":%s,"data"' % text)]
    check([*records, *(record.replace(b":", b":\t", 1) for record in records)], ("n", "n.b"))


@pytest.mark.parametrize("length", [1, 12, 254, 255, 256, 257, 1_000])
def test_names_of_elements_of_every_length(length):
    name = "x" * length
    records = [SIMPLE.replace(old, b'"%s"' % name.encode()) for old in (b'"n"', b'"a"', b'"b"', b'"c"')]
    check(records, (name, f"{name}.b", f"a.{name}", f"a.b.{name}", f"{'y' * length}.b", f"a.{'y' * length}"))


def test_texts_of_every_length():
    """Short strings are kept in the column itself, longer ones point into the record; beyond 256 characters none is."""
    texts = [filler * length for length in range(260) for filler in ("x", "é", "€", "😀", "\\n", "\\u00e9")]
    text = '{"id":"%s","source":"s","subject":"%s","time":"2026-11-20T10:00:00Z","data":{"n":"%s"}}'
    reasons = check([(text % (one, one, one)).encode() for one in texts], ("n",))
    assert reasons.count(None) == 6 * 256


def test_texts_are_told_apart_by_every_byte():
    """Views of strings hold a length, a beginning and a place: none of them may be taken from a neighbour."""
    random = Random(1)
    names = ["".join(random.choices("ab", k=random.randint(4, 20))) for _ in range(500)]
    events = decoded([SIMPLE.replace(b'"1"', f'"{name}"'.encode()) for name in names]).events
    assert events["event_id"].to_list() == names
    assert events["event_id"].n_unique() == len(set(names))
    assert events.filter(pl.col("event_id") == names[7])["event_id"].to_list() == [names[7]] * names.count(names[7])


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
@pytest.mark.parametrize("filler", [b"x", "é".encode(), b'\\"', b"\\u00e9", b" ", b"\t"])
def test_a_record_of_the_largest_size(filler, size):
    start, end = SIMPLE[:-1] + b',"note":"', b'"}'
    room = size - len(start) - len(end)
    record = start + filler * (room // len(filler)) + b"x" * (room % len(filler)) + end
    assert len(record) == size
    check([record, SIMPLE])
    check_chunk(record + b"\n" + record[:-1] + b" }\r\n" + SIMPLE)


def test_a_chunk_of_many_blocks(one_by_one):
    """More text than is marked at once, with lines longer than that, escaped and full of quotes."""
    random = Random(3)
    lines = []
    for number in range(400):
        padding = random.choice((b"x", b"\\\\", b'\\"', "é".encode())) * random.randrange(2_000)
        lines.append(SIMPLE.replace(b'"n"', b'"note":"%s","n"' % padding).replace(b'"1"', b'"%d"' % number))
    lines[100:100] = [b"{" + b'"":"",' * 100_000 + b"}", b'"\\"' * 100_000]
    check_chunk(b"\n".join(lines))
    assert one_by_one.records == 2
    lines[200] = b'{"note":"\xff"}'
    check_chunk(b"\n".join(lines) + b"\n")
