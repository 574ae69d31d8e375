"""The catalogs that a ledger was rated with, kept beside its tables so that every line can be explained later.

Owns `<ledger>/catalogs/<digest>.json`. The rule: a file is named by the digest that line items carry,
and never changes.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from dataflows.errors import RatemillError
from schemas.catalog import Catalog

FOLDER = "catalogs"


def keep_catalog(ledger: Path, catalog: Catalog, digest: str) -> None:
    """Keep a catalog in the ledger, unless it is there already."""
    target = _file(ledger, digest)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(f".{os.getpid()}")
    aside.write_text(catalog.model_dump_json(), encoding="utf-8")
    aside.replace(target)


def kept_catalog(ledger: Path, digest: str) -> Catalog | None:
    """The catalog of a digest, or None if this ledger never saw it."""
    source = _file(ledger, digest)
    if not source.exists():
        return None
    try:
        return Catalog.model_validate_json(source.read_bytes())
    except ValidationError as error:
        raise RatemillError(f"{source} was damaged and is no catalog any more: restore it from a backup") from error


def _file(ledger: Path, digest: str) -> Path:
    return ledger / FOLDER / f"{digest}.json"
