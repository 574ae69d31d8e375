"""Random records: JSON written by hand in every form that producers find, and then broken byte by byte.

What comes first in a choice is the plainest, so a law shrinks towards it.
"""

from random import Random

from tests.steps.times import time_text

REQUIRED = ("id", "source")
OWNERS = ("subscription", "subject", "credential", "subscriber", "organization")
ELEMENTS = ("a", "n", "region", "user")
NEAR_NAMES = (
    *("specversion", "type", "Id", "ids", "dat", "datum", "", " id", "a.b", "a.b.c", "ab", "b", "c", "d", "é", "é"),
    *("\u0430", "e\u0301", "x" * 255, "x" * 256),
)
ESCAPED_NAMES = ("i\\u0064", "\\u0061", "sourc\\u0065", "d\\/ta", "\\u00e9", "\\u006e", "a\\u002eb")
WRONG_NAMES = ("id\\", "na\\me", "\\u0000", "\\ud800", "a\tb", "\ud800")
STRINGS = (
    *("x", "sub-1", "twelve bytes", "thirteen byte", "EU", "é", "日本語", "😀", "\x7f", "a b", "true", "null", "1.50"),
    *("{[,:]}", "]}", "}, ", "\\n", '\\"', '\\"}', "\\\\", '\\\\\\"', "\\/", "\\u0041", "\\u00e9", "\\uD83D\\uDE00"),
)
LONG_STRINGS = ("", "x" * 256, "x" * 257, "é" * 128, "é" * 129, "é" * 256, "é" * 257, "\\u00e9" * 256, "😀" * 64)
WRONG_STRINGS = (
    *("\\u0000", "\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\ude00\\ud83d", "\\x", "\\u12", "\\u12g4", "\\U0041", "\\"),
    *("\0", "\x1f", "\t", "\r", "a\\", "\\\r", "\ud800"),
)
NUMBERS = (
    *("0", "1", "200", "-1", "0.5", "-0", "-0.0", "1.250", "12345678901234567890", "-99999999999999999999.123456"),
    *("1e5", "1E+5", "2e-7", "0e0", "-1.5E-07", "1e400", "1e99999999999999999999", "9007199254740993", "0.1e1"),
)
WRONG_NUMBERS = (
    "01",
    "-",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "--1",
    "-01",
    "0x1",
    "1_0",
    "1.e1",
    "00",
    "1,5",
    "1 2",
    "\u0661",
)
WORDS = ("true", "false", "null")
WRONG_WORDS = ("True", "tru", "truE", "nul", "nulll", "fals", "NaN", "Infinity", "-Infinity", "undefined", "t", "")
BLANKS = (" ", "  ", "\t", "\r", " \r\t")
WRONG_BLANKS = ("\v", "\f", "\0", "\xa0", "\ufeff", "/**/", "\u2028")
NOISE = b'{}[]",:\\0159eE+-.tfnu \t\r\0\x7f\x80\xc3\xa9\xe2\xed\xa0\xf0\xff'
UNUSUAL_RECORDS = (
    *(b"{}", b"null", b"[]", b"1", b'"text"', b"[{}]", b"{", b"}", b'{"', b'{"id', b"{]", b'{"id":', b'{"id":"1",}'),
    *(
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"\xed\xa0\x80",
        b"{" * 300,
        b"[" * 300,
        b'{"a":' * 70,
        b"?",
        b"\\",
        b'\\"',
        b'"',
    ),
)


class Writer:
    """Writes one record; how often it breaks the rules is drawn anew for each."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.richness = random.choice((0, 0.1, 0.4))
        self.wrongness = random.choice((0, 0, 0, 0, 0.01, 0.04))
        self.blankness = random.choice((0, 0, 0, 0, 0, 0, 0.02, 0.3))

    def record(self) -> bytes:
        """An object with attributes in any order; a lone surrogate is written as the three bytes it would have."""
        names = [name for name in REQUIRED if not self.happens(0.02)]
        names += [name for name in (*OWNERS, "time", "synthetic") if self.happens(0.4)]
        names += [self.random.choice(OWNERS) for _ in range(1) if not {*OWNERS} & {*names} and self.happens(0.9)]
        names += [self.odd_name() for _ in range(2) if self.happens(self.richness)]
        self.random.shuffle(names)
        pairs = [(name, self.attribute(name)) for name in names]
        if self.happens(0.85):
            pairs.insert(self.random.randrange(len(pairs) + 1), ("data", self.data()))
        if self.happens(0.03) and pairs:
            name = self.random.choice(("data", self.random.choice(pairs)[0]))
            text = self.data() if name == "data" else self.attribute(name) if self.happens(0.5) else self.value(1)
            pairs.insert(self.random.randrange(len(pairs) + 1), (name, text))
        return (self.blank() + self.object(pairs) + self.blank()).encode("utf-8", "surrogatepass")

    def happens(self, chance: float) -> bool:
        return self.random.random() < chance

    def blank(self) -> str:
        if self.happens(self.wrongness / 10):
            return self.random.choice(WRONG_BLANKS)
        if self.happens(self.blankness):
            return self.random.choice(BLANKS)
        return " " if self.happens(0.1) else ""

    def object(self, pairs: list[tuple[str, str]]) -> str:
        members = [f'{self.blank()}"{name}"{self.blank()}:{self.blank()}{text}{self.blank()}' for name, text in pairs]
        return "{" + self.listed(members) + "}"

    def listed(self, members: list[str]) -> str:
        """With commas between them, or nearly so."""
        if self.happens(self.wrongness / 4):
            members = [*members, ""]
        return ",".join(members) or self.blank()

    def attribute(self, name: str) -> str:
        if self.happens(self.wrongness):
            return self.value(1)
        if self.happens(0.01 if name in REQUIRED else 0.1):
            return "null"
        if name == "synthetic":
            return self.random.choice(("true", "false"))
        if name == "time":
            return time_text(self.random, self.wrongness)
        if name in REQUIRED or name in OWNERS:
            return self.string()
        return self.members_of_data(3) if self.happens(0.5) else self.value(3)

    def data(self) -> str:
        if self.happens(self.wrongness):
            return self.value(2)
        if self.happens(0.1):
            return self.random.choice(("{}", "null"))
        if self.happens(0.03):
            return self.many_members()
        return self.members_of_data(3)

    def members_of_data(self, depth: int) -> str:
        """Members that are asked for, and those of the object `a` and of its `b` in turn."""
        names = ELEMENTS if depth == 3 else ("b", "c", "d")
        names = [name for name in names if self.happens(0.7)]
        if self.happens(self.richness):
            names.append(self.odd_name())
        if self.happens(0.03) and names:
            names.append(self.random.choice(names))
        self.random.shuffle(names)
        return self.object([(name, self.member(name, depth)) for name in names])

    def odd_name(self) -> str:
        """One that nobody asks for, or that only looks so."""
        if self.happens(self.wrongness):
            return self.random.choice(WRONG_NAMES)
        return self.random.choice(ESCAPED_NAMES if self.happens(0.1) else NEAR_NAMES)

    def member(self, name: str, depth: int) -> str:
        if name in ("a", "b") and depth > 0 and self.happens(0.6):
            return self.members_of_data(depth - 1)
        return self.value(depth)

    def many_members(self) -> str:
        """About as many elements as are allowed, some of them nested or named twice."""
        numbers = range(self.random.choice((62, 63, 64, 65, 66, 100)))
        pairs = [(f"e{number}", "1") for number in numbers]
        if self.happens(0.3):
            pairs.append(("a", self.object([("b", "1"), ("c", "{}")])))
        if self.happens(0.3):
            pairs.append(("e0", "{}" if self.happens(0.5) else "2"))
        return self.object(pairs)

    def value(self, depth: int) -> str:
        if self.happens(self.wrongness / 4):
            return self.random.choice(WRONG_NUMBERS + WRONG_WORDS)
        kind = self.random.choice(("number", "number", "string", "string", "word", "array", "object"))
        match kind if depth > 0 else "number":
            case "number":
                return self.random.choice(NUMBERS)
            case "string":
                return self.string()
            case "word":
                return self.random.choice(WORDS)
            case "array":
                values = [self.blank() + self.value(depth - 1) for _ in range(self.random.randrange(3))]
                return self.deep("[", "]") if self.happens(0.05) else "[" + self.listed(values) + "]"
            case _:
                names = [self.random.choice((*ELEMENTS, self.odd_name())) for _ in range(self.random.randrange(3))]
                pairs = [(name, self.value(depth - 1)) for name in names]
                return self.deep('{"a":', "}") if self.happens(0.05) else self.object(pairs)

    def deep(self, opening: str, closing: str) -> str:
        """Nested so deeply that one path gives up, or both."""
        depth = self.random.choice((10, 56, 57, 58, 59, 60, 61, 62, 100))
        return opening * depth + "1" + closing * (depth - (1 if self.happens(self.wrongness) else 0))

    def string(self) -> str:
        if self.happens(self.wrongness):
            return f'"{self.random.choice(WRONG_STRINGS)}"'
        if self.happens(self.richness / 4):
            return f'"{self.random.choice(LONG_STRINGS)}"'
        if self.happens(self.richness):
            return f'"{"".join(self.random.choice(STRINGS) for _ in range(self.random.randint(1, 3)))}"'
        return f'"{self.random.choice(STRINGS[:5])}"'


def any_record(random: Random) -> bytes:
    """Written well, written badly, broken afterwards, or no JSON at all; seldom with a line feed inside."""
    chance = random.random()
    if chance > 0.98:
        return bytes(random.choice(NOISE) for _ in range(random.randrange(30)))
    if chance > 0.96:
        return random.choice(UNUSUAL_RECORDS)
    record = Writer(random).record()
    if chance > 0.66:
        for _ in range(random.choice((1, 1, 2, 3))):
            record = broken(random, record)
    return record


def broken(random: Random, record: bytes) -> bytes:
    """Bytes flipped, put in, left out, or a piece of it twice, missing or elsewhere."""
    if not record:
        return b" "
    at = random.randrange(len(record))
    end = min(len(record), at + random.choice((1, 1, 2, 5, 20)))
    other = random.randrange(len(record))
    match random.randrange(7):
        case 0:
            return record[:at] + bytes([record[at] ^ 1 << random.randrange(8)]) + record[at + 1 :]
        case 1:
            return record[:at] + bytes([random.choice(NOISE)]) + record[at:]
        case 2:
            return record[:at] + bytes([random.choice(NOISE)]) + record[at + 1 :]
        case 3:
            return record[:at] + record[end:]
        case 4:
            return record[:end] + record[at:]
        case 5:
            return record[:other] + record[at:end] + record[other:]
        case _:
            return record[:at]
