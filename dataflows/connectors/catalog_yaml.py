r"""YAML text as plain values that remember their lines.

Owns the reading of YAML for catalogs: duplicate keys, tags and broken text become located problems. A plain scalar is
null, true, false, a whole number or text; a number with a fraction or an exponent becomes a `BareNumber`, which no
field accepts, because the digits a person meant may be lost in a float. Dates, `yes` and `no` are text.

>>> read_yaml("a: 1\nb: [x, 0.5]", "c.yaml").documents
[{'a': 1, 'b': ['x', BareNumber(text='0.5')]}]
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from schemas.problems import Path, Problem

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,40})", re.ASCII)
_FRACTION = re.compile(
    r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*\.?[0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII
)
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_STRUCTURE_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_DEEPEST = 50
_MOST_ALIASED = 200_000


@dataclass(frozen=True, slots=True)
class BareNumber:
    """An unquoted number with a fraction or an exponent, as it was written."""

    text: str


class LocatedDict(dict[str, Any]):
    """A mapping that knows its file, its line and the line of each key."""

    __slots__ = ("file", "key_lines", "line")

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.key_lines: dict[str, int] = {}


class LocatedList(list[Any]):
    """A list that knows its file, its line and the line of each item."""

    __slots__ = ("file", "item_lines", "line")

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.item_lines: list[int] = []


@dataclass(slots=True)
class Reading:
    """What one file holds: its documents, and what is wrong with its YAML (path within the document)."""

    documents: list[Any] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class _UnreadableError(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_yaml(text: str, file: str) -> Reading:
    """The documents of a YAML text; a text that is not YAML gives one problem and no documents."""
    builder = _Builder(text, file)
    try:
        documents = builder.documents()
    except _UnreadableError as error:
        return Reading(problems=[Problem(error.message, file=file, line=error.line)])
    except yaml.MarkedYAMLError as error:
        return Reading(problems=[_syntax_problem(error, file)])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Reading(problems=[Problem(f"is not YAML: {error.reason}", file=file, line=line)])
    return Reading(documents, builder.problems)


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark, start = error.problem_mark or error.context_mark, error.context_mark
    line = mark.line + 1 if mark else 1
    begun = f" begun on line {start.line + 1}" if start and start.line + 1 != line else ""
    says = ", ".join(part for part in (error.context and error.context + begun, error.problem) if part)
    return Problem(f"is not YAML: {says}", file=file, line=line)


class _Builder:
    """Turns the parser's events into located values, by recursion over the structure."""

    def __init__(self, text: str, file: str) -> None:
        # The C parser is some twenty times faster; without libyaml the same events come from the Python one.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self.file = file
        self.problems: list[Problem] = []
        self.trail: list[str | int] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0
        self.aliased = 0

    def documents(self) -> list[Any]:
        """Every document of the stream."""
        found = []
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors.clear()
                found.append(self.value(next(self.events)))
        return found

    def value(self, event: Any) -> Any:
        """The value that begins with this event."""
        before = self.nodes
        self.nodes += 1
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value = self.scalar(event)
        elif kind is yaml.AliasEvent:
            return self.alias(event)
        else:
            if len(self.trail) > _DEEPEST:
                raise _UnreadableError(f"is nested more than {_DEEPEST} levels deep", _line(event))
            if event.tag not in _STRUCTURE_TAGS:
                self.report(f"the tag {event.tag} is not supported", event)
            value = self.mapping(event) if kind is yaml.MappingStartEvent else self.sequence(event)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.nodes - before)
        return value

    def scalar(self, event: Any) -> Any:
        """Plain scalars have kinds; quoted and block scalars are text."""
        text: str = event.value
        if event.tag not in _TEXT_TAGS:
            self.report(f"the tag {event.tag} is not supported", event)
        if event.style or event.tag is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        # Signs and zeros in front, or underscores, are no whole number of ours: such text is judged by its field.
        if _FRACTION.fullmatch(text) and not text.lstrip("+-").replace("_", "").isdigit():
            return BareNumber(text)
        return text

    def alias(self, event: Any) -> Any:
        """What an anchor names; the total is bounded, since aliases of aliases grow without end."""
        if event.anchor not in self.anchors:
            raise _UnreadableError(f"is not YAML: found undefined alias '{event.anchor}'", _line(event))
        value, weight = self.anchors[event.anchor]
        self.nodes += weight
        self.aliased += weight
        if self.aliased > _MOST_ALIASED:
            raise _UnreadableError(f"its aliases stand for more than {_MOST_ALIASED} values", _line(event))
        return value

    def mapping(self, start: Any) -> LocatedDict:
        """A mapping; a repeated key is a problem and its first value stays."""
        located = LocatedDict(self.file, _line(start))
        for event in self.events:
            if type(event) is yaml.MappingEndEvent:
                break
            key, line = self.key(event), _line(event)
            self.trail.append(key)
            value = self.value(next(self.events))
            if key in located:
                self.report(f"duplicate key '{key}', already given on line {located.key_lines[key]}", event)
            else:
                located[key] = value
                located.key_lines[key] = line
            self.trail.pop()
        return located

    def key(self, event: Any) -> str:
        """A key is text, whatever it looks like."""
        if type(event) is not yaml.ScalarEvent:
            raise _UnreadableError("a key must be text", _line(event))
        if event.value == "<<" and not event.style:
            raise _UnreadableError("merge keys (<<) are not supported; use an alias for a whole value", _line(event))
        return str(event.value)

    def sequence(self, start: Any) -> LocatedList:
        """A list."""
        located = LocatedList(self.file, _line(start))
        for event in self.events:
            if type(event) is yaml.SequenceEndEvent:
                break
            self.trail.append(len(located))
            located.append(self.value(event))
            located.item_lines.append(_line(event))
            self.trail.pop()
        return located

    def report(self, message: str, event: Any) -> None:
        """Note a problem at this event; its path leads there from the document's top."""
        path: Path = tuple(self.trail)
        self.problems.append(Problem(message, path, file=self.file, line=_line(event)))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
