"""The JSON texts of chosen members of an object, byte for byte as they were written.

>>> members_at((("a",), ("b", "c"), ("b", "d")))(b'{"b": {"c": 1.50}, "a": "x"}')
[b'"x"', b'1.50', b'']
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from schemas.record_paths import RecordPath

Members: TypeAlias = Callable[[Any], list[bytes]]
_Fill: TypeAlias = Callable[[Any, list[bytes]], None]

_ABSENT = msgspec.Raw(b"")
_OBJECT = b"{"


@lru_cache(maxsize=4096)
def members_at(paths: tuple[RecordPath, ...]) -> Members:
    """A function of an object's bytes that gives the text at each of these paths, empty where nothing is.

    It raises msgspec.DecodeError for what is no JSON object, RecursionError for one nested too deeply; that the bytes
    are UTF-8 must be sure. Of two members with one name the last counts.
    """
    stepwise = _stepwise(paths)
    within = any(one != other and other[: len(one)] == one for one in paths for other in paths)
    return stepwise if within or not paths else _at_once(paths, stepwise)


def _at_once(paths: Sequence[RecordPath], otherwise: Members) -> Members:
    """One decoding into nested objects; where a path leads through what is no object, `otherwise` reads them all."""
    tree = _Tree(paths)
    decode = msgspec.json.Decoder(tree.struct).decode
    texts = attrgetter(*map(tree.attribute, paths), tree.attribute(paths[0]))

    def read(text: Any) -> list[bytes]:
        try:
            *found, _ = texts(decode(text))
        except msgspec.ValidationError:
            return otherwise(text)
        return [b"" if raw is _ABSENT else bytes(raw) for raw in found]

    return read


class _Tree:
    """A struct with fields `f0, f1, ...` for the members at the paths: their texts, or structs of what is within."""

    def __init__(self, paths: Sequence[RecordPath]) -> None:
        self._tops = tuple(dict.fromkeys(path[0] for path in paths))
        inner = {top: [path[1:] for path in paths if path[0] == top and len(path) > 1] for top in self._tops}
        self._within = {top: _Tree(rest) for top, rest in inner.items() if rest}
        fields = [(f"f{place}", *self._field(top)) for place, top in enumerate(self._tops)]
        rename = {f"f{place}": top for place, top in enumerate(self._tops)}
        self.struct = msgspec.defstruct("Members", fields, gc=False, rename=rename)

    def attribute(self, path: RecordPath) -> str:
        """Where the struct has what is at a path."""
        own = f"f{self._tops.index(path[0])}"
        return own if len(path) == 1 else f"{own}.{self._within[path[0]].attribute(path[1:])}"

    def _field(self, top: str) -> tuple[Any, Any]:
        if top not in self._within:
            return msgspec.Raw, _ABSENT
        nothing = self._within[top].struct()
        return self._within[top].struct, msgspec.field(default_factory=lambda: nothing)


def _stepwise(paths: Sequence[RecordPath]) -> Members:
    """One decoding per object on the way; anything may stand anywhere."""
    fill = _filling([(path, place) for place, path in enumerate(paths)])
    height = len(paths)

    def read(text: Any) -> list[bytes]:
        found = [b""] * height
        fill(text, found)
        return found

    return read


def _filling(paths: list[tuple[RecordPath, int]]) -> _Fill:
    """Puts the texts of paths that begin here at their places."""
    tops = tuple(dict.fromkeys(path[0] for path, _ in paths))
    decode = msgspec.json.Decoder(_Tree([(top,) for top in tops]).struct).decode
    wanted = [[place for path, place in paths if path == (top,)] for top in tops]
    inner = [[(path[1:], place) for path, place in paths if path[0] == top and len(path) > 1] for top in tops]
    plans = [(places, _filling(rest) if rest else None) for places, rest in zip(wanted, inner, strict=True)]

    def fill(text: Any, found: list[bytes]) -> None:
        for raw, (places, fill_inner) in zip(msgspec.structs.astuple(decode(text)), plans, strict=True):
            member = bytes(raw)
            for place in places:
                found[place] = member
            if fill_inner is not None and member.startswith(_OBJECT):
                fill_inner(member, found)

    return fill
