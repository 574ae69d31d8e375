"""Folders of templates: one file for each part of a kind, and what they share.

Owns the names of those files and reading them. A folder may hold some of them; anything else in it is refused, so that
a misspelt name is noticed.

>>> file_name("quota_reached", "subject"), file_name("quota_reached", "html")
('quota_reached.subject.txt', 'quota_reached.html')
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dataflows.errors import RatemillError
from dataflows.templating.language import FOOTER, LAYOUT, Part
from schemas.notification_variables import KINDS
from schemas.problems import Problem, suggestion
from schemas.products import NotificationKind

PARTS: tuple[Part, ...] = ("subject", "text", "html")
SHARED = (LAYOUT, FOOTER)
_SUFFIXES: Mapping[Part, str] = {"subject": ".subject.txt", "text": ".txt", "html": ".html"}
_LARGEST_FILE = 1 << 20


class TemplateErrors(RatemillError):  # noqa: N818 - it carries several
    """Templates cannot be used; `problems` holds every reason, the message the first of them."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"the templates cannot be used: {problems[0]}{more}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts of templates by the names of their files; `place` is what messages call their folder."""

    files: Mapping[str, str] = field(default_factory=dict)
    place: str = ""

    def place_of(self, name: str) -> str:
        """A file as a message names it."""
        return str(Path(self.place, name))


def file_name(kind: NotificationKind, part: Part) -> str:
    """The file of a part of a kind."""
    return f"{kind}{_SUFFIXES[part]}"


def read_templates(folder: Path) -> Sources:
    """The templates of a folder. Raises `TemplateErrors` naming every file that is none or cannot be read."""
    problems: list[Problem] = []
    files: dict[str, str] = {}
    try:
        # Names that begin with a dot are those of mounted volumes and editors.
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        reason = "there is no such folder of templates" if not folder.exists() else f"cannot be read: {error.strerror}"
        raise TemplateErrors((Problem(reason, file=str(folder)),)) from error
    for path in paths:
        read = _read(path)
        if isinstance(read, Problem):
            problems.append(read)
        else:
            files[path.name] = read
    if problems:
        raise TemplateErrors(tuple(problems))
    return Sources(files, str(folder))


def _read(path: Path) -> str | Problem:
    if path.name not in _NAMES:
        return Problem(f"is no template's name{suggestion(path.name, _NAMES)}", file=str(path))
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return Problem(f"has more than {_LARGEST_FILE} bytes", file=str(path))
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return Problem(f"cannot be read: {error.strerror}", file=str(path))
    except UnicodeDecodeError as error:
        return Problem(f"is not UTF-8 (byte 0x{error.object[error.start]:02x})", file=str(path))


_NAMES = frozenset({*SHARED, *(file_name(kind, part) for kind in KINDS for part in PARTS)})
