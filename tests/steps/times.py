"""Random times in JSON: RFC 3339 in all its shapes, the edges of what is allowed, and near misses."""

from random import Random

YEARS = ("2026", "2024", "1970", "1969", "2199", "2200", "2000", "2100", "1900", "0001", "0000", "9999")
WRONG_YEARS = ("202", "20266", "-026", "２０２６", "202a")
MONTHS = ("11", "01", "02", "03", "04", "12")
DAYS = ("20", "01", "28", "29", "30", "31")
HOURS, SIXTIES = ("10", "00", "23"), ("00", "01", "30", "59")
ZONES = ("Z", "Z", "Z", "+00:00", "+01:00", "-00:00", "-11:30", "+23:59", "-23:59")
WRONG_ZONES = (
    "",
    "z",
    "+24:00",
    "+00:60",
    "+0100",
    "+01",
    "+01:00:00",
    "-1:00",
    "ZZ",
    "Z ",
    "+01-00",
    "±00:00",
    "+01:0a",
)
WRONG_TIMES = ("24:00:00", "23:59:60", "24:00:01", "10:60:00", "10-00-00", "10:00", "1:00:00", "10:0000", "10:00:0 ")
DIGITS = "0123456789"


def time_text(random: Random, wrongness: float) -> str:
    """A JSON string, or seldom none; a wrong one has a single fault."""
    wrong = random.randrange(8) if random.random() < max(wrongness, 0.1) else None
    year = random.choice(WRONG_YEARS) if wrong == 0 else random.choice(YEARS[:5] if wrong is None else YEARS)
    month = random.choice(("00", "13", "1", "1a")) if wrong == 1 else random.choice(MONTHS)
    day = random.choice(("00", "32", "31", "30", "29", "1")) if wrong == 2 else random.choice(DAYS[:3] * 4 + DAYS)
    clock = ":".join((random.choice(HOURS), random.choice(SIXTIES), random.choice(SIXTIES)))
    if wrong == 3:
        clock = random.choice(WRONG_TIMES)
    fraction = _fraction(random)
    if wrong == 4:
        fraction = random.choice((".", ",5", ".5.", ".-1", ".0" + "1" * 45, "." + "9" * random.randint(40, 120)))
    zone = random.choice(WRONG_ZONES if wrong == 5 else ZONES)
    between = random.choice((" ", "t", "_", "")) if wrong == 6 else "T"
    text = f'"{year}-{month}-{day}{between}{clock}{fraction}{zone}"'
    return random.choice((text[1:-1], f'"\\u0032{text[2:]}', f'" {text[1:]}', '""', "0")) if wrong == 7 else text


def _fraction(random: Random) -> str:
    if random.random() < 0.5:
        return ""
    return "." + "".join(random.choice(DIGITS) for _ in range(random.randint(1, 12)))
