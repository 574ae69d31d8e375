"""Which catalog rates a record: the one that was in effect at its lane's clock.

Owns: what the flow asks of the catalogs it runs with, and the simplest answer to it. Does not own: where versions come
from (`catalog_versions`). The rule: the answer depends on the log's own time alone, so a replay gets the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rating.catalog import CompiledCatalog


class Catalogs(Protocol):
    """The versions of the catalog, each from a moment on; asked from several threads."""

    def compiled(self, digest: str) -> CompiledCatalog:
        """The catalog with this digest."""
        ...

    def at(self, clock: int) -> str:
        """The digest of the catalog in effect at a moment, in microseconds UTC."""
        ...

    def latest(self) -> CompiledCatalog:
        """The newest catalog that is known."""
        ...

    def changes(self) -> list[int]:
        """The moments at which a catalog took the place of another, or will, ascending."""
        ...

    def wait_until_known(self, clock: int, give_up: Callable[[], bool]) -> None:
        """Returns when no catalog can be published any more that takes effect up to this moment, or on `give_up`."""
        ...

    def check(self) -> None:
        """RatemillError if it is not learned any more what is published."""
        ...


@dataclass(frozen=True, slots=True)
class OneCatalog:
    """A catalog that never changes while the flow runs: the embedded form."""

    catalog: CompiledCatalog

    def compiled(self, digest: str) -> CompiledCatalog:
        """The catalog; another one was never given out."""
        assert digest == self.catalog.digest, digest
        return self.catalog

    def at(self, clock: int) -> str:
        """Its digest, whenever."""
        del clock
        return self.catalog.digest

    def latest(self) -> CompiledCatalog:
        """The catalog."""
        return self.catalog

    def changes(self) -> list[int]:
        """None."""
        return []

    def wait_until_known(self, clock: int, give_up: Callable[[], bool]) -> None:
        """Nothing will be published."""
        del clock, give_up

    def check(self) -> None:
        """There is nothing to learn."""
