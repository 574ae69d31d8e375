"""A catalog as entries, each a key and the bytes of its JSON: how the topic and its readers hold one.

Owns: keys (`kind:id`), the order of entries, and the digest of all of them. Does not own: the topic. The rule: entries
have one order, that of their keys, so that publisher and readers build the same catalog, with the same digest.

>>> catalog = Catalog.model_validate({"sources": [{"id": "search"}, {"id": "maps"}]})
>>> list(entries_of(catalog))
['source:maps', 'source:search']
>>> catalog_of(entries_of(catalog)) == canonical(catalog)
True
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dataflows.errors import RatemillError
from schemas.catalog import Catalog
from schemas.fields import Record

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Kind:
    """The word of a kind in keys, its section of the catalog, and what an entry is known by."""

    word: str
    section: str
    identity: Callable[[Any], str] = lambda entry: str(entry.id)


_KINDS = (
    _Kind("organization", "organizations"),
    _Kind("subscriber", "subscribers", lambda entry: str(entry.email)),
    _Kind("source", "sources"),
    _Kind("product", "products", lambda entry: str(entry.reference)),
    _Kind("pricing_rule", "pricing_rules"),
    _Kind("subscription", "subscriptions"),
    _Kind("credential", "credentials"),
    _Kind("refund", "refunds"),
)


def canonical(catalog: Catalog) -> Catalog:
    """The same catalog with its entries in their one order."""
    return catalog.model_copy(
        update={kind.section: tuple(sorted(getattr(catalog, kind.section), key=kind.identity)) for kind in _KINDS}
    )


def entries_of(catalog: Catalog) -> dict[str, bytes]:
    """The entries of a catalog that passed the lint, in their order."""
    return {
        f"{kind.word}:{kind.identity(entry)}": entry.model_dump_json().encode()
        for kind in _KINDS
        for entry in sorted(getattr(catalog, kind.section), key=kind.identity)
    }


def catalog_of(entries: Mapping[str, bytes]) -> Catalog:
    """The catalog of these entries; RatemillError if one is of no kind that is known, or not valid."""
    values: dict[str, list[bytes]] = {kind.word: [] for kind in _KINDS}
    for key in sorted(entries):
        word = key.partition(":")[0]
        if word not in values:
            raise RatemillError(f"the catalog's entry {key} is of no kind that this version of Ratemill knows")
        values[word].append(entries[key])
    sections: dict[str, Any] = {kind.section: _section(kind, values[kind.word]) for kind in _KINDS}
    return Catalog.model_construct(None, **sections)


def content_digest(entries: Mapping[str, bytes]) -> str:
    """Hex of the SHA-256 over all entries as they are stored; no version of Ratemill sees another one."""
    state = hashlib.sha256()
    for key in sorted(entries):
        for part in (key.encode(), entries[key]):
            state.update(len(part).to_bytes(_LENGTH_BYTES))
            state.update(part)
    return state.hexdigest()


def _section(kind: _Kind, values: list[bytes]) -> tuple[Record, ...]:
    try:
        return _adapter(kind.section).validate_json(b"[" + b",".join(values) + b"]")
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place, what = int(fault["loc"][0]), fault["msg"]
        raise RatemillError(
            f"an entry of the published catalog is not valid ({kind.word} {place + 1} of {len(values)}: {what}):"
            " publish the catalog again with this version of Ratemill and --force"
        ) from error


@cache
def _adapter(section: str) -> TypeAdapter[tuple[Record, ...]]:
    entries: Any = Catalog.model_fields[section].annotation
    return TypeAdapter(entries)
