"""Records of other formats (Revenium events, gateways' access logs) as structured CloudEvents records.

Owns: whose record it is, and what it says as an event. Does not own where a format has what (`rating.foreign`), nor
whether the event is sound: the exact decoder judges it as one that was sent so. The rule: texts are copied as they were
written, so that no number loses a digit, and the same record gives the same bytes whatever order a mapping has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import msgspec

from dataflows.steps.members import Members, members_at
from rating.foreign import ForeignSource, Places
from schemas.events import IDENTITY_ATTRIBUTES, OWNER_ATTRIBUTES, RECORD_BYTES_LIMIT, Refused
from schemas.record_paths import RecordPath, path_text
from schemas.verdicts import Reason

_NO_VALUE = frozenset([b"", b"null"])
_CLOUDEVENTS = tuple((name,) for name in ("specversion", *IDENTITY_ATTRIBUTES, *OWNER_ATTRIBUTES))
_NUMBERS = b"-0123456789"
_START = datetime(1970, 1, 1)  # noqa: DTZ001 (UTC, written with a Z)
# Before the year 5139, which a datetime still has.
_LONGEST_MILLISECONDS = 14
_QUOTE = b'"'
_PLACES_TOLD = 8
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)


class Translated(NamedTuple):
    """A source's record, as the structured record that says the same."""

    record: bytes
    source: ForeignSource

    def explained(self, refused: Refused) -> Refused:
        """The refusal of the structured record, with where its source was looked through for what is wrong."""
        source = self.source
        names = [name for name in source.attributes if f"`{name}`" in refused.detail]
        if refused.reason is Reason.MISSING_SUBJECT:
            names = [name for name in source.attributes if name in OWNER_ATTRIBUTES]
        places = [(name, source.attributes[name]) for name in names]
        if refused.reason is Reason.BAD_DATA and source.payload:
            places.append(("data", source.payload))
        told = " and ".join(f"{name} at {_alternatives(paths)}" for name, paths in places)
        whose = f"source '{source.id}' (format {source.format})"
        return _with_detail(refused, f"{whose} has {told}" if told else f"it was read as one of {whose}")


def translated(record: bytes, foreign: tuple[ForeignSource, ...]) -> Translated | None:
    """The record of one of these sources as a structured one; None for a record that none of them claims."""
    if not foreign or len(record) > RECORD_BYTES_LIMIT:
        return None
    try:
        record.decode()
        source = _claims(foreign).claimant(record)
        return None if source is None else Translated(_translation(source).structured(record), source)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def unclaimed(refused: Refused, foreign: tuple[ForeignSource, ...]) -> Refused:
    """The refusal of a record that none of these sources claims, with where their names were looked for."""
    if refused.reason is not Reason.MISSING_ID or not foreign:
        return refused
    places = dict.fromkeys(path for source in foreign for path in source.attributes["source"])
    told = _alternatives(tuple(places)[:_PLACES_TOLD])
    return _with_detail(refused, f"it is no record of another format either: no source has the name found at {told}")


def _with_detail(refused: Refused, more: str) -> Refused:
    return msgspec.structs.replace(refused, detail=f"{refused.detail}; {more}")


@dataclass(slots=True)
class _Gathered:
    """Paths to be read at once, and where each one's text will be."""

    paths: list[RecordPath]

    def add(self, places: Places) -> slice:
        """Where the texts at these places will be."""
        self.paths += places
        return slice(len(self.paths) - len(places), len(self.paths))

    def members(self) -> Members:
        """The reader of all paths."""
        return members_at(tuple(self.paths))


@dataclass(frozen=True, slots=True)
class _Unnamed:
    """A source that takes records without a source's name; `names` and `marks` are where the texts of these are."""

    source: ForeignSource
    names: slice
    marks: slice
    unset: frozenset[bytes]

    def takes(self, texts: Sequence[bytes]) -> bool:
        """Whether it takes a record with these texts."""
        return not _first(texts[self.names], self.unset) and bool(_first(texts[self.marks], self.unset))


@dataclass(frozen=True, slots=True)
class _Claims:
    """How records are told apart; `named` are the sources by their names at the place of each text."""

    members: Members
    named: tuple[tuple[int, Mapping[str, ForeignSource]], ...]
    unnamed: tuple[_Unnamed, ...]
    order: Mapping[str, int]

    def claimant(self, record: bytes) -> ForeignSource | None:
        """The source whose record it is; of several that its name is found for, the first in the catalog."""
        texts = self.members(record)
        version, name, source, *owners = texts[: len(_CLOUDEVENTS)]
        if version or (name and source and any(owners)):
            return None
        named = [sources.get(_plain(texts[place])) for place, sources in self.named if texts[place]]
        found = [source for source in named if source is not None]
        if found:
            return min(found, key=lambda source: self.order[source.id])
        return next((one.source for one in self.unnamed if one.takes(texts)), None)


@lru_cache(maxsize=16)
def _claims(foreign: tuple[ForeignSource, ...]) -> _Claims:
    gathered = _Gathered(list(_CLOUDEVENTS))
    by_path: dict[RecordPath, dict[str, ForeignSource]] = {}
    for source in foreign:
        for path in source.attributes["source"]:
            by_path.setdefault(path, {})[source.id] = source
    named = tuple((gathered.add((path,)).start, sources) for path, sources in by_path.items())
    unnamed = tuple(
        _Unnamed(one, gathered.add(one.attributes["source"]), gathered.add(one.marks), _unset(one))
        for one in foreign
        if one.takes_unnamed
    )
    return _Claims(gathered.members(), named, unnamed, {source.id: place for place, source in enumerate(foreign)})


@dataclass(frozen=True, slots=True)
class _Translation:
    """One source's way from its records to events: how members begin, and where the texts of their values are."""

    begins: bytes
    members: Members
    attributes: tuple[tuple[bytes, slice], ...]
    time: slice
    elements: tuple[tuple[bytes, slice], ...]
    payload: slice
    unset: frozenset[bytes]

    def structured(self, record: bytes) -> bytes:
        """The record as a structured one."""
        texts = self.members(record)
        parts = [self.begins]
        for begins, places in self.attributes:
            if text := _first(texts[places], self.unset):
                parts += (begins, _attribute(text))
        if text := _first(texts[self.time], self.unset):
            parts += (b',"time":', _moment(text))
        parts += (b',"data":', self._data(texts), b"}")
        return b"".join(parts)

    def _data(self, texts: Sequence[bytes]) -> bytes:
        payload = _first(texts[self.payload], _NO_VALUE)
        found = [(begins, _first(texts[places], _NO_VALUE)) for begins, places in self.elements]
        if not payload:
            return b"{" + b",".join([begins + text for begins, text in found if text]) + b"}"
        return payload if not any(text for _, text in found) else _with_elements(payload, found)


def _with_elements(payload: bytes, found: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The payload with further elements; one that is no object stays as it is, and will be refused."""
    if not payload.startswith(b"{"):
        return payload
    elements = _object.decode(b"{" + b",".join([begins + text for begins, text in found if text]) + b"}")
    return _encode(_object.decode(payload) | elements)


@lru_cache(maxsize=1 << 16)
def _translation(source: ForeignSource) -> _Translation:
    gathered = _Gathered([])
    attributes = {name: gathered.add(places) for name, places in source.attributes.items() if name != "source"}
    return _Translation(
        begins=b'{"source":' + _encode(source.id),
        time=attributes.pop("time"),
        attributes=tuple((b"," + _encode(name) + b":", places) for name, places in attributes.items()),
        elements=tuple((_encode(name) + b":", gathered.add(places)) for name, places in source.elements.items()),
        payload=gathered.add(source.payload),
        unset=_unset(source),
        members=gathered.members(),
    )


def _unset(source: ForeignSource) -> frozenset[bytes]:
    return _NO_VALUE | {_encode(text) for text in source.unset}


def _first(texts: Sequence[bytes], unset: frozenset[bytes]) -> bytes:
    """The first text that says something, or nothing."""
    for text in texts:
        if text not in unset:
            return text
    return b""


def _plain(text: bytes) -> str:
    """What a JSON string says; of another value its text."""
    return _string.decode(text) if text.startswith(_QUOTE) else text.decode()


def _attribute(text: bytes) -> bytes:
    """A number as the string of its digits, as gateways write ids; all else as it is."""
    return b'"' + text + b'"' if text[0] in _NUMBERS else text


def _moment(text: bytes) -> bytes:
    """A number of milliseconds since 1970 as RFC 3339, to the microsecond; all else as it is."""
    whole, point, part = text.partition(b".")
    if len(whole) > _LONGEST_MILLISECONDS or not whole.isdigit() or (point and not part.isdigit()):
        return text
    seconds, milliseconds = divmod(int(whole), 1_000)
    return b'"%b.%03d%bZ"' % (_second(seconds), milliseconds, part[:3].ljust(3, b"0"))


@lru_cache(maxsize=4096)
def _second(seconds: int) -> bytes:
    return (_START + timedelta(seconds=seconds)).isoformat().encode()


def _alternatives(places: Places) -> str:
    *others, last = [f"`{path_text(path)}`" for path in places]
    return f"{', '.join(others)} or {last}" if others else last
