"""LIKE patterns: `%` is any run of characters, `_` exactly one; a match covers the whole text.

A pattern is kept as its pieces between the `%` signs; in a piece, None stands for `_`.

>>> pattern = parse_pattern("gpt-%_", None)
>>> matches(pattern, "gpt-4"), matches(pattern, "gpt-")
(True, False)
"""

from typing import TypeAlias

Piece: TypeAlias = tuple[str | None, ...]
Pattern: TypeAlias = tuple[Piece, ...]

_SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~")


def parse_pattern(text: str, escape: str | None) -> Pattern:
    """The pieces of a pattern; the character after `escape` stands for itself. ValueError: nothing follows `escape`."""
    pieces: list[list[str | None]] = [[]]
    characters = iter(text)
    for character in characters:
        if character == escape:
            literal = next(characters, None)
            if literal is None:
                raise ValueError("the pattern ends in its escape character")
            pieces[-1].append(literal)
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if character == "_" else character)
    return tuple(map(tuple, pieces))


def matches(pattern: Pattern, text: str) -> bool:
    """Whether the whole text matches: the ends are fixed, what lies between is taken as early as possible."""
    first, *rest = pattern
    if not rest:
        return len(text) == len(first) and _fits(first, text, 0)
    *middle, last = rest
    start, end = len(first), len(text) - len(last)
    if end < start or not _fits(first, text, 0) or not _fits(last, text, end):
        return False
    for piece in middle:
        found = _find(piece, text, start, end)
        if found is None:
            return False
        start = found + len(piece)
    return True


def regular_expression(pattern: Pattern) -> str:
    """The pattern as a regular expression of the Rust crate that Polars uses."""
    pieces = ("".join("." if one is None else _escaped(one) for one in piece) for piece in pattern)
    return rf"(?s)\A{'.*'.join(pieces)}\z"


def _fits(piece: Piece, text: str, start: int) -> bool:
    return all(one is None or one == text[start + i] for i, one in enumerate(piece))


def _find(piece: Piece, text: str, start: int, end: int) -> int | None:
    places = range(start, end - len(piece) + 1)
    return next((place for place in places if _fits(piece, text, place)), None)


def _escaped(character: str) -> str:
    return f"\\{character}" if character in _SPECIAL else character
