"""JSON as it is written: every short text in a value's place, every escape, every broken byte."""

from itertools import permutations, product

import pytest

from tests.steps.comparing import ELEMENTS, SIMPLE, check

VALUES = (
    b'{"id":"1","source":"s","subject":"x","synthetic":false,"x":null,"data":{"a":-1.5e+3,"n":[{},true],"u":"\\u00e9"}}'
)


OUTER = (
    *(
        '"data":{"b":{},"a":{"b":1}}',
        '"x":{"b":{},"n":5,"a":{"b":2},"id":"7"}',
        '"y":[{"n":1},{"id":2,"data":{"n":3}}]',
    ),
    *('"z":{"data":{"n":1,"a":{}},"n":2,"time":3}', '"n":9', '"a":{"d":{},"b":3}'),
)
INNER = (
    *('"a":{"x":{},"b":{"x":[],"c":1}}', '"x":{"a":{},"n":1,"b":2}', '"b":{"c":1}', '"y":[{"a":1},[{"n":2}],3]'),
    *('"id":"5"', '"data":{"d":{},"n":{},"a":1}'),
)


@pytest.mark.parametrize("elements", ELEMENTS)
def test_names_elsewhere_mean_nothing(one_by_one, elements):
    """Members with a watched name in other objects, in every order."""
    start = SIMPLE[: SIMPLE.index(b'"data"')].decode()
    records = [f"{start}{','.join(members)}}}" for members in permutations(OUTER)]
    records += [f'{start}"data":{{{",".join(members)}}}}}' for members in permutations(INNER)]
    assert check([record.encode() for record in records], elements) == [None] * len(records)
    assert one_by_one.records == 0


@pytest.mark.parametrize("event", [SIMPLE, VALUES])
def test_every_place_of_an_event_with_every_byte_of_structure(one_by_one, event):
    records = [
        event[:at] + bytes([byte]) + event[at + left_out :]
        for at in range(len(event))
        for left_out in (0, 1)
        for byte in b'{}[]",:\\0 -.eTn\t\0\x80'
    ]
    records += [event[:at] + event[at + 1 :] for at in range(len(event))]
    check(records)
    assert 0.3 * len(records) < one_by_one.records < 0.95 * len(records)


@pytest.mark.parametrize("alphabet", ["01-+.eE", '{}[],:"1'])
def test_every_short_text_as_a_value(alphabet):
    texts = ["".join(letters) for length in range(5) for letters in product(alphabet, repeat=length)]
    reasons = check([SIMPLE.replace(b'"2"', text.encode()) for text in texts])
    assert 0 < reasons.count(None) < len(texts)


@pytest.mark.parametrize("word", ["true", "false", "null"])
def test_words_and_what_looks_like_them(word):
    near = {word[:at] + letter + word[at + 1 :] for at in range(len(word)) for letter in "xtrufalsen E"}
    near |= {word[:at] for at in range(len(word))} | {word + letter for letter in "elsx0"} | {word.upper(), "NaN"}
    templates = [VALUES.replace(old, b"%s") for old in (b"false", b"null", b"true", b'"1"', b'"x":', b"-1.5e+3")]
    for template in templates:
        check([template % text.encode() for text in sorted(near)])


def test_every_escape():
    texts = [b"\\" + bytes([byte]) for byte in range(256)]
    texts += [b"\\u" + b"0041"[:at] + bytes([byte]) + b"0041"[at + 1 :] for at in range(4) for byte in range(256)]
    texts += [b"\\u0041"[:length] for length in range(7)]
    numbers = ["0000", "0001", "001f", "0020", "D7FF", "d800", "DBFF", "dc00", "dfff", "E000", "ffff", "FFFE"]
    texts += [f"\\u{one}{other}".encode() for one in numbers for other in ("", *(f"\\u{number}" for number in numbers))]
    for old in (b'"2"', b'"x"', b'"n"', b'"1"', b'"2026-11-20T10:00:00Z"'):
        check([SIMPLE.replace(old, b'"%sz"' % text) for text in texts])


def test_every_beginning_of_a_character():
    """UTF-8 of every length, cut short or with a wrong byte in the middle, alone and beside a good one."""
    good = ["é", "€", "😀", "\u0800", "\ud7ff", "\ue000", "\U0010ffff", "\x7f"]
    texts = [one.encode()[:length] for one in good for length in range(1, 5)]
    texts += [
        bytes([first, *rest]) for first in range(0x80, 256) for rest in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf\xbf")
    ]
    texts += [b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80"]
    for old in (b'"2"', b'"x"', b'"n"'):
        check([SIMPLE.replace(old, b'"%s"' % text) for text in texts])
