"""Paths to the members of a JSON record, as a person writes them in a source's mapping.

Members are parted by dots; one whose name holds a dot, bracket, quote, blank or `$` stands in brackets and quotes. A
`$` in front, the record itself, may be written or left out. Places in lists have no path.

>>> parse_path('$.request.headers["x-api.key"]')
('request', 'headers', 'x-api.key')
>>> path_text(("request", "headers", "x-api.key"))
'request.headers["x-api.key"]'
"""

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from schemas.fields import Identifier

RecordPath: TypeAlias = tuple[str, ...]

# What a mapping may name besides elements.
MAPPED_ATTRIBUTES = ("id", "source", "time", "subscription", "credential", "subscriber", "organization")

_PLAIN = r"""[^\s.\[\]"'\\$]+"""
_STEP = re.compile(rf"""\.({_PLAIN})|\["([^"]+)"\]|\['([^']+)'\]""")
_PATH = re.compile(rf"(?:{_STEP.pattern})+")
_IN_A_LIST = re.compile(r"\[[0-9*:-]+\]")


def parse_path(text: str) -> RecordPath:
    """The names of the members, from the record inwards; ValueError with a sentence where the text is no path."""
    rest = text[1:] if text.startswith(("$.", "$[")) else text if text.startswith("[") else f".{text}"
    if _PATH.fullmatch(rest) is None:
        hint = "; places in lists cannot be read" if _IN_A_LIST.search(rest) else ""
        raise ValueError(f"'{text}' is no path such as request.id or headers[\"x-api-key\"]{hint}")
    return tuple(plain or double or single for plain, double, single in _STEP.findall(rest))


def path_text(path: RecordPath) -> str:
    """The path as a person writes it."""
    return "".join(map(_step_text, path)).removeprefix(".")


def _step_text(name: str) -> str:
    if re.fullmatch(_PLAIN, name):
        return f".{name}"
    return f"['{name}']" if '"' in name else f'["{name}"]'


def _checked_path(text: str) -> str:
    parse_path(text)
    return text


def _checked_name(name: str) -> str:
    if "." in name:
        raise ValueError(f"'{name}' holds a dot, which leads into an object; name the element without one")
    return name


PathText = Annotated[Identifier, AfterValidator(_checked_path)]
MappedName = Annotated[Identifier, AfterValidator(_checked_name)]
