"""The catalogs that a ledger was rated with, and from which moment on each of them applied.

Owns `<ledger>/catalogs/<digest>.json`, named by the digest that line items carry, and
`<ledger>/catalogs/history/<effective_from>-<published_at>-<digest>.json`, one file per version, whose name is the
entry (microseconds UTC). The topic forgets its versions, the ledger never does. The rule: nothing here ever changes;
versions are added in the order of their publication, so what was rated once is rated the same again.

>>> stamp = VersionStamp(1_794_000_005_000_000, 1_794_000_000_000_000, "9f")
>>> VersionStamp.of_name(stamp.name) == stamp
True
"""

import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import ValidationError

from dataflows.errors import RatemillError
from dataflows.ledger.folder import alone, plain_os_errors, sync
from dataflows.moments import moment_text
from schemas.catalog import Catalog

BEGINNING = 0
_FOLDER = "catalogs"
_SUFFIX = ".json"
_NAME = re.compile(r"([0-9]{20})-([0-9]{20})-([0-9a-f]+)\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class VersionStamp:
    """A version without its content; moments are microseconds UTC."""

    effective_from: int
    published_at: int
    digest: str

    @property
    def name(self) -> str:
        """The name of its file in the history."""
        return f"{self.effective_from:020d}-{self.published_at:020d}-{self.digest}{_SUFFIX}"

    @classmethod
    def of_name(cls, name: str) -> "VersionStamp":
        """The version that a file of the history stands for."""
        entry = _NAME.fullmatch(name)
        if entry is None:
            raise RatemillError(f"{name} in the history of a ledger's catalogs is no entry of it: take the file away")
        return cls(int(entry[1]), int(entry[2]), entry[3])

    def for_people(self) -> bytes:
        """What its file says: the name again, its moments written as such."""
        said = {
            "digest": self.digest,
            "effective_from": moment_text(self.effective_from),
            "published_at": moment_text(self.published_at),
        }
        return orjson.dumps(said, option=orjson.OPT_INDENT_2)


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """A catalog, its digest, and since when it applies: to records whose lane clock is at `effective_from` or later."""

    digest: str
    effective_from: int
    published_at: int
    catalog: Catalog


class CatalogHistory:
    """The catalogs kept in one ledger; threads and processes may use it side by side."""

    def __init__(self, ledger: Path) -> None:
        self._catalogs = ledger / _FOLDER
        self._history = self._catalogs / "history"

    def versions(self) -> list[VersionStamp]:
        """The versions that applied, apply or will apply, ascending: each until the next one's `effective_from`.

        One that was published while a later one waited to take effect has replaced that one.
        """
        return _in_force(self._stamps())

    def newest(self) -> VersionStamp | None:
        """The version that was published last; it may not apply yet."""
        return max(self._stamps(), key=lambda stamp: stamp.published_at, default=None)

    def add(self, version: CatalogVersion) -> VersionStamp | None:
        """Add a version and keep its catalog; None if it, or one published after it, is there already.

        The first version of a ledger applies from the beginning of time.
        """
        with plain_os_errors(f"cannot keep the catalog in {self._catalogs}"):
            if not self._is_news(version):
                return None
            self.keep(version.catalog, version.digest)
            self._history.mkdir(exist_ok=True)
            with alone(self._history / "lock"):
                # Another process may have been faster.
                if not self._is_news(version):
                    return None
                first = not self._stamps()
                stamp = VersionStamp(
                    BEGINNING if first else version.effective_from, version.published_at, version.digest
                )
                _create(self._history / stamp.name, stamp.for_people())
            return stamp

    def keep(self, catalog: Catalog, digest: str) -> None:
        """Keep a catalog without saying when it applies, unless it is there already."""
        target = self._file(digest)
        if not target.exists():
            with plain_os_errors(f"cannot keep the catalog in {self._catalogs}"):
                self._catalogs.mkdir(exist_ok=True)
                _create(target, catalog.model_dump_json().encode())

    def catalog(self, digest: str) -> Catalog:
        """The catalog of a digest; RatemillError if this ledger does not keep it."""
        source = self._file(digest)
        try:
            return Catalog.model_validate_json(source.read_bytes())
        except FileNotFoundError as error:
            raise RatemillError(f"the ledger does not keep the catalog {source}: restore it from a backup") from error
        except ValidationError as error:
            raise RatemillError(f"{source} was damaged and is no catalog any more: restore it from a backup") from error

    def keeps(self, digest: str) -> bool:
        """Whether the catalog of a digest is there."""
        return self._file(digest).exists()

    def _is_news(self, version: CatalogVersion) -> bool:
        return all(stamp.published_at < version.published_at for stamp in self._stamps())

    def _stamps(self) -> list[VersionStamp]:
        if not self._history.exists():
            return []
        names = [name for name in os.listdir(self._history) if name.endswith(_SUFFIX) and not name.startswith(".")]
        return [VersionStamp.of_name(name) for name in names]

    def _file(self, digest: str) -> Path:
        return self._catalogs / f"{digest}{_SUFFIX}"


def _in_force(stamps: Iterable[VersionStamp]) -> list[VersionStamp]:
    applying: list[VersionStamp] = []
    for stamp in sorted(stamps, key=lambda stamp: stamp.published_at):
        while applying and applying[-1].effective_from >= stamp.effective_from:
            applying.pop()
        applying.append(stamp)
    return applying


def _create(target: Path, content: bytes) -> None:
    """A new file, complete on disk before it has its name; of two that create the same one, either may win."""
    aside = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(target)
    sync(target.parent)
