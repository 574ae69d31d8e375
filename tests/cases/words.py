"""The words of one line of a case, and the small values written in them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TypeVar

T = TypeVar("T")
_WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[\w.]+=(?:"(?:[^"\\]|\\.)*"|\{[^}]*\}|\[[^\]]*\]|\S*)|\S+)')
_SPANS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


class CaseError(Exception):
    """A mistake in a case; the message begins with file and line."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")


class Words:
    """Reads one line from left to right; a text in double quotes is one word, `#` begins a comment."""

    def __init__(self, line: str, place: str) -> None:
        self.text, self.place, self.position = line.rstrip(), place, 0
        if self.text.lstrip().startswith("#"):
            self.text = ""
        elif (comment := re.search(r"\s{2}#\s.*$", self.text)) is not None:
            self.text = self.text[: comment.start()]

    def is_blank(self) -> bool:
        return not self.text.strip()

    def word(self, what: str) -> str:
        """The next word without its quotes; `what` says what was expected."""
        match = _WORD.match(self.text, self.position)
        if match is None:
            raise CaseError(self.place, f"{what} is missing")
        self.position = match.end()
        text = match[1]
        return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') and len(text) > 1 else text

    def assignment(self) -> tuple[str, str]:
        """The next word `name=value` as its two sides."""
        name, _, text = self.word("name=value").partition("=")
        return name, text

    def matches(self, pattern: str) -> bool:
        match = _WORD.match(self.text, self.position)
        return match is not None and re.fullmatch(pattern, match[1]) is not None

    def matches_next(self, word: str) -> bool:
        """Whether the word after the next is this one."""
        match = _WORD.match(self.text, self.position)
        after = match and _WORD.match(self.text, match.end())
        return bool(after) and after[1] == word

    def is_quoted(self) -> bool:
        return self.matches(r'".*"')

    def take(self, word: str) -> bool:
        """Steps over the word if it comes next."""
        taken = self.matches(re.escape(word))
        if taken:
            self.word(word)
        return taken

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise CaseError(self.place, f"`{word}` is missing at `{self.text[self.position :].strip()}`")

    def rest(self) -> str:
        text, self.position = self.text[self.position :].strip(), len(self.text)
        return text

    def before_arrow(self) -> str:
        """Everything up to the last arrow."""
        start, arrow = self.position, self.text.rfind(" -> ")
        self.position = arrow if arrow >= start else len(self.text)
        return self.text[start : self.position].strip()

    def pair(self, value: Callable[[str], T]) -> tuple[T, T]:
        """`A..B` as two values."""
        first, dots, second = self.word("A..B").partition("..")
        if not dots:
            raise CaseError(self.place, f"`{first}` is not A..B")
        return value(first), value(second)

    def end(self) -> None:
        if self.text[self.position :].strip():
            raise CaseError(self.place, f"`{self.text[self.position :].strip()}` is not understood")


def number_of(text: str, place: str) -> Fraction:
    """A decimal number; thousands may be set off by commas."""
    plain = text.replace(",", "")
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", plain) is None:
        raise CaseError(place, f"'{text}' is not a number")
    return Fraction(plain)


def amounts_of(text: str, place: str) -> tuple[Fraction, ...]:
    """`1.00 + 0.50 - 2` as signed amounts, one per line item.

    >>> amounts_of("1.00 + 0.50 - 2", "here")
    (Fraction(1, 1), Fraction(1, 2), Fraction(-2, 1))
    """
    terms = re.findall(r"([+-]?)\s*([0-9][0-9.,]*)\s*", text)
    if "".join(sign + digits for sign, digits in terms) != re.sub(r"\s", "", text):
        raise CaseError(place, f"`{text}` is not a sum of amounts")
    return tuple(number_of(sign + digits, place) for sign, digits in terms)


def time_of(text: str, day: str, place: str) -> datetime:
    """`09:00` on the case's day, `2026-02-03`, or `2026-02-03T10:00:00+01:00`; UTC where no offset is written."""
    full = f"{day}T{text}" if re.fullmatch(r"[0-9]{2}:[0-9]{2}.*", text) else text
    try:
        moment = datetime.fromisoformat(full)
    except ValueError:
        raise CaseError(place, f"'{text}' is not a time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def span_of(text: str, place: str) -> timedelta | None:
    """`24h`, `5m`, `35d`, or `none`."""
    match = re.fullmatch(r"([0-9]+)([dhms])", text)
    if match is None and text != "none":
        raise CaseError(place, f"'{text}' is not a span such as 24h")
    return None if match is None else timedelta(**{_SPANS[match[2]]: int(match[1])})
