"""The files of a catalog folder as merged sections of located items, before anything is validated.

Files are merged by their top-level keys, nested folders included; names beginning with a dot are passed over. Owns
what a file may be and where each item, key and value stands; knows nothing of what the items mean.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from dataflows.connectors.catalog_yaml import LocatedDict, LocatedList, read_yaml
from schemas.catalog import Catalog
from schemas.fields import Record, describe
from schemas.problems import Path as ModelPath
from schemas.problems import Problem, suggestion

SECTIONS: Mapping[str, type[Record]] = {
    name: get_args(field_info.annotation)[0] for name, field_info in Catalog.model_fields.items()
}
# What the trade also calls these things (semantics 1): accepted here, never seen further inside.
SECTION_SYNONYMS = {
    "customers": "organizations",
    "client_owners": "subscribers",
    "assets": "sources",
    "plans": "products",
    "licenses": "subscriptions",
    "product_licenses": "subscriptions",
    "applications": "credentials",
    "product_keys": "credentials",
}
KEY_SYNONYMS = {
    "products": {"assets": "sources", "invoicing_period": "settlement_period"},
    "subscribers": {"customers": "organizations"},
    "subscriptions": {"plan": "product", "client_owner": "subscriber", "customer": "organization"},
    "credentials": {"license": "subscription", "product_license": "subscription", "client_owner": "subscriber"},
}
_SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True)
class Section:
    """One top-level key over all files: its items, and where each stands."""

    items: list[Any] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Folder:
    """What a folder holds before validation. `readable` is false when a file's content is not known."""

    path: Path
    sections: dict[str, Section] = field(default_factory=lambda: {name: Section() for name in SECTIONS})
    problems: list[Problem] = field(default_factory=list)
    readable: bool = True


def read_folder(path: Path) -> Folder:
    """Every section of every file under a path; what cannot be read is a problem of the folder."""
    folder = Folder(path)
    files = list(_files(path, folder))
    if not files and not folder.problems:
        _unreadable(folder, "holds no YAML files (*.yaml, *.yml)", path)
    for file in files:
        _read_file(file, folder)
    return folder


def _files(path: Path, folder: Folder) -> Iterator[Path]:
    """The YAML files under a path, in the order of their names."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        _unreadable(folder, "is not a folder" if path.exists() else "there is no such catalog folder", path)
        return

    def report(error: OSError) -> None:
        _unreadable(folder, f"cannot be read: {error.strerror}", Path(error.filename))

    for root, folders, names in os.walk(path, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(root, name)


def _unreadable(folder: Folder, message: str, path: Path, line: int = 0) -> None:
    folder.problems.append(Problem(message, file=str(path), line=line))
    folder.readable = False


def _read_file(path: Path, folder: Folder) -> None:
    try:
        if not path.is_file():
            _unreadable(folder, "is not a regular file", path)
            return
        content = path.read_bytes()
    except OSError as error:
        _unreadable(folder, f"cannot be read: {error.strerror}", path)
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _unreadable(folder, f"is not UTF-8 (byte 0x{content[error.start]:02x})", path, line)
        return
    reading = read_yaml(text, str(path))
    if reading.problems and not reading.documents:
        folder.readable = False
    for document in reading.documents:
        _merge(document, str(path), folder)
    top = reading.documents[0] if len(reading.documents) == 1 else None
    folder.problems += [replace(one, key=_key(one.path, top)) for one in reading.problems]


def _merge(document: Any, file: str, folder: Folder) -> None:
    """Add a document's sections to those of the folder."""
    if document is None:
        return
    if not isinstance(document, LocatedDict):
        message = f"expected a mapping with keys such as products and subscriptions, not {describe(document)}"
        folder.problems.append(Problem(message, file=file, line=getattr(document, "line", 1)))
        return
    for written, items in document.items():
        name = SECTION_SYNONYMS.get(written, written)
        line = document.key_lines[written]
        if name not in folder.sections:
            known = suggestion(written, SECTIONS)
            folder.problems.append(Problem(f"unknown key '{written}'{known}", (written,), written, file, line))
        elif isinstance(items, LocatedList):
            section = folder.sections[name]
            section.items += [_renamed(item, KEY_SYNONYMS.get(name, {})) for item in items]
            section.places += [(items.file, item_line) for item_line in items.item_lines]
        elif items is not None:
            message = f"expected a list, not {describe(items)}"
            folder.problems.append(Problem(message, (name,), name, file, line))


def _renamed(item: Any, synonyms: Mapping[str, str]) -> Any:
    """An item with the trade's other words for its keys replaced by ours."""
    if not synonyms or not isinstance(item, LocatedDict) or synonyms.keys().isdisjoint(item):
        return item
    renamed = LocatedDict(item.file, item.line)
    for written, value in item.items():
        name = synonyms.get(written, written)
        name = written if name in item else name
        renamed[name] = value
        renamed.key_lines[name] = item.key_lines[written]
    return renamed


def placed(problem: Problem, folder: Folder) -> Problem:
    """The problem with file, line and key of its path, which leads through the items as written."""
    file, line = place_of(problem.path, folder)
    section = folder.sections.get(str(problem.path[0])) if problem.path else None
    top = {str(problem.path[0]): section.items} if section else {}
    return replace(problem, file=file, line=line, key=_key(problem.path, top))


def place_of(path: ModelPath, folder: Folder) -> tuple[str, int]:
    """File and line of a path, or of the nearest thing around it that was written."""
    match path:
        case (str(name), int(index), *rest):
            section = folder.sections[name]
            place, at = section.places[index], section.items[index]
        case _:
            return str(folder.path), 0
    for part in rest:
        if isinstance(at, LocatedDict) and part in at:
            place = (at.file, at.key_lines[str(part)])
            at = at[str(part)]
        elif isinstance(at, LocatedList) and isinstance(part, int) and part < len(at):
            place = (at.file, at.item_lines[part])
            at = at[part]
        else:
            break
    return place


def _key(path: ModelPath, top: Any) -> str:
    """A path as a person reads it: `products[platinum@1.0.0].tiers[1].up_to`; items are named by their id."""
    words, at = "", top
    for part in path:
        at = at[part] if (isinstance(at, Mapping) and part in at) or _has_index(at, part) else None
        words += f"[{_label(at, part)}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def _has_index(at: Any, part: str | int) -> bool:
    return isinstance(at, list) and isinstance(part, int) and part < len(at)


def _label(item: Any, index: int) -> str:
    if not isinstance(item, Mapping):
        return str(index)
    version = f"@{item['version']}" if isinstance(item.get("version"), str) else ""
    for key in ("id", "email", "name"):
        if isinstance(item.get(key), str | int):
            return f"{item[key]}{version}"
    return str(index)
