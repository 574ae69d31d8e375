"""A catalog from a folder of YAML files: read, validated and checked, every problem with its place.

The rule: all problems are reported at once, each with file, line and key; none is an exception of its own.
`load_catalog` is for those who need the catalog, `check` for those who ask what is wrong with it.
"""

import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dataflows.connectors.catalog_files import SECTIONS, Folder, place_of, placed, read_folder
from dataflows.connectors.catalog_sentences import model_path, sentence
from rating.lint import compare, lint
from schemas.catalog import Catalog
from schemas.problems import CatalogErrors, Problem, suggestion
from schemas.problems import Path as ModelPath


@dataclass(slots=True)
class _Loaded:
    """A validated folder: `kept[section][i]` is the place among the raw items of the catalog's item i.

    `invalid` are the problems of the items that are not in the catalog; `problems` are these and all others so far.
    """

    folder: Folder
    catalog: Catalog
    kept: dict[str, list[int]]
    invalid: list[Problem]
    problems: list[Problem]


def load_catalog(path: Path) -> Catalog:
    """The catalog of a folder (or of a single YAML file). Raises `CatalogErrors` with every error in it."""
    return _load_sound(path).catalog


def load_successor(path: Path) -> tuple[Catalog, Callable[[Catalog, datetime], None]]:
    """The catalog of a folder, and what judges the step to it from another one at a moment.

    Both raise `CatalogErrors`: the first for what is wrong in itself, the second for what may not change.
    """
    loaded = _load_sound(path)

    def judge(before: Catalog, moment: datetime) -> None:
        # What is no more has no file; its problem names it.
        _refuse([one if one.in_old else _located(one, loaded) for one in compare(loaded.catalog, before, moment)])

    return loaded.catalog, judge


def _load_sound(path: Path) -> _Loaded:
    loaded = _load(path)
    _refuse([*loaded.problems, *_linted(loaded)])
    return loaded


def _refuse(problems: Iterable[Problem]) -> None:
    errors = tuple(problem for problem in problems if problem.severity == "error")
    if errors:
        raise CatalogErrors(_in_order(errors))


def check(path: Path, against: Path | None = None, as_of: datetime | None = None) -> tuple[Problem, ...]:
    """Every error and warning of a catalog; with `against`, also those of replacing that older catalog by it.

    `as_of` is the moment of the replacement, now by default: what lies before it may be settled already.
    """
    loaded = _load(path)
    problems = [*loaded.problems, *_linted(loaded)]
    if against is not None:
        old = _load(against)
        problems += old.problems
        if loaded.folder.readable and not old.problems:
            found = compare(loaded.catalog, old.catalog, as_of or datetime.now(UTC), _unusable(loaded))
            problems += [_located(problem, old if problem.in_old else loaded) for problem in found]
    return _in_order(problems)


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(set(problems), key=lambda one: (one.file, one.line, one.key, one.message)))


@cache
def _adapter(section: str) -> TypeAdapter[tuple[Any, ...]]:
    items: Any = Catalog.model_fields[section].annotation
    return TypeAdapter(items)


def _load(path: Path) -> _Loaded:
    folder = read_folder(path)
    invalid: list[Problem] = []
    kept: dict[str, list[int]] = {}
    valid: dict[str, tuple[Any, ...]] = {}
    for name, section in folder.sections.items():
        kept[name] = list(range(len(section.items)))
        try:
            valid[name] = _adapter(name).validate_python(section.items)
        except ValidationError as errors:
            found = _structural(errors, name, folder)
            invalid += found
            broken = {problem.path[1] for problem in found}
            kept[name] = [index for index in kept[name] if index not in broken]
            valid[name] = _adapter(name).validate_python([section.items[index] for index in kept[name]])
    loaded = _Loaded(folder, Catalog.model_construct(None, **valid), kept, invalid, [*folder.problems, *invalid])
    loaded.problems += _zone_problems(loaded)
    loaded.problems += _email_problems(loaded)
    return loaded


def _structural(errors: ValidationError, name: str, folder: Folder) -> list[Problem]:
    """Pydantic's errors of one section as located problems."""
    problems = []
    for error in errors.errors(include_url=False):
        items = folder.sections[name].items
        path = (name, *model_path(error["loc"], items))
        relative = {**error, "loc": error["loc"][1:]}
        problem = Problem(sentence(relative, SECTIONS[name]), path)
        problems.append(placed(problem, folder))
    return problems


def _zone_problems(loaded: _Loaded) -> list[Problem]:
    """Time zones are data of the machine, so they are looked up here and not in the lint."""
    known = _zones()
    found = []
    for index, organization in enumerate(loaded.catalog.organizations):
        if organization.timezone not in known:
            zone = organization.timezone
            message = f"unknown time zone '{zone}'{suggestion(zone, known)}"
            found.append(_located(Problem(message, ("organizations", index, "timezone")), loaded))
    return found


def _email_problems(loaded: _Loaded) -> list[Problem]:
    """Templates are not the lint's: the core knows no template engine."""
    if not any(product.emails for product in loaded.catalog.products):
        return []
    # Loaded for those who need it: most catalogs word no notification themselves.
    from dataflows.notification_templates import email_problems

    return [_located(problem, loaded) for problem in email_problems(loaded.catalog)]


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _unusable(loaded: _Loaded) -> frozenset[tuple[str, str]]:
    """(section, id) of the items that are there but were not valid: their problem is told already."""
    return frozenset(
        (str(section), identity)
        for section, index, *key in (problem.path for problem in loaded.invalid)
        for identity in _identities(loaded.folder.sections[str(section)].items[int(index)], key)
    )


def _identities(item: Any, key: list[str | int]) -> Iterator[str]:
    """What an item may be called by; "*" when the problem lies in its id itself, or it has none."""
    identity = {"id", "email", "version"}
    if not isinstance(item, Mapping) or not identity.isdisjoint(key[:1]):
        yield "*"
    elif "version" in item:
        yield f"{item.get('id')}@{item['version']}"
    else:
        yield str(item.get("id", item.get("email", "*")))


def _linted(loaded: _Loaded) -> list[Problem]:
    """The lint's problems, unless a file could not be read: then references into it would be false alarms."""
    if not loaded.folder.readable:
        return []
    return [_located(problem, loaded) for problem in lint(loaded.catalog, _unusable(loaded))]


def _located(problem: Problem, loaded: _Loaded) -> Problem:
    """A problem of the lint with its file, line and key, and where the other place it speaks of is."""
    problem = placed(replace(problem, path=_raw_path(problem.path, loaded)), loaded.folder)
    if problem.other is None:
        return problem
    file, line = place_of(_raw_path(problem.other, loaded), loaded.folder)
    return replace(problem, message=f"{problem.message} ({file}:{line})")


def _raw_path(path: ModelPath, loaded: _Loaded) -> ModelPath:
    """From an item's place in the catalog to its place among the items as written."""
    match path:
        case (str(section), int(index), *rest):
            return (section, loaded.kept[section][index], *rest)
        case _:
            return path
