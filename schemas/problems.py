"""A located problem: what a person wrote that cannot be used, and where it stands.

A problem is a value, never an exception by itself: checks collect all of them and report them together.

>>> print(Problem("unknown source 'drug'; did you mean 'drugs'?", key="products[p].sources[0]", file="a.yaml", line=7))
a.yaml:7: products[p].sources[0]: unknown source 'drug'; did you mean 'drugs'?
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Path = tuple[str | int, ...]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `path` leads to it through the catalog's models; `other` to a second place it speaks of.

    `key`, `file` and `line` are the same place as a person finds it; a check that knows no files leaves them empty and
    the loader fills them in. `in_old` says that `path` leads through the older catalog of a comparison.
    """

    message: str
    path: Path = ()
    key: str = ""
    file: str = ""
    line: int = 0
    severity: Severity = "error"
    other: Path | None = None
    in_old: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        mark = "warning: " if self.severity == "warning" else ""
        return f"{place}{mark}{self.key + ': ' if self.key else ''}{self.message}"


class CatalogErrors(Exception):  # noqa: N818 - it carries several
    """The catalog cannot be used; `problems` holds every reason at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The known word a person most likely meant, or None when none is near."""
    found = difflib.get_close_matches(word, sorted(words), n=1)
    return found[0] if found else None


def suggestion(word: str, words: Iterable[str]) -> str:
    """The tail of a sentence that names the nearest right word: "; did you mean 'x'?", or nothing."""
    found = nearest(word, words)
    return f"; did you mean '{found}'?" if found else ""
