"""Occasions of the calendar, as one writer of the ledger tells them: each once, when progress passes its moment.

Owns: how far they have been told. Does not own: which there are (`rating.occasions`). The rule: they are told up to the
progress of the commits, which is kept with them; so a crash neither loses nor repeats one. What lies before the first
progress of a ledger is not told: a catalog that is new to it may be years old.
"""

import numpy as np
import polars as pl

from dataflows.catalog_history import CatalogHistory
from dataflows.catalogs import Catalogs
from dataflows.ledger.commit import LanePosition, progress_of
from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.writer import LedgerWriter
from rating.catalog import CompiledCatalog, compile_catalog
from rating.occasions import Calendar
from schemas.ledger import NOTIFICATIONS, polars_schema

_NONE = pl.DataFrame(schema=polars_schema(NOTIFICATIONS))


class Occasions:
    """What this writer has to tell, of the subscriptions whose key groups it writes."""

    def __init__(self, folder: LedgerFolder, writer: LedgerWriter, catalogs: Catalogs) -> None:
        self._folder = folder
        self._number = writer.number
        self._catalogs = catalogs
        self._catalog = writer.catalog
        self._lanes = dict(writer.lanes)
        self._told = progress_of(self._lanes.values())
        self._calendar: Calendar | None = None

    def reach(self, partition: int, position: LanePosition, catalog: str, first_time: int | None) -> pl.DataFrame:
        """The notices that are due, now that an input is read up to a position, under a catalog (digest).

        `first_time` is where the input stood before, in microseconds, should nothing have been told yet.
        """
        if self._told is None:
            self._told = first_time
        self._lanes[partition] = position.after(self._lanes.get(partition))
        # An input that lies behind may still be under the catalog before.
        leads = (position.progress or 0) >= max((at.progress or 0 for at in self._lanes.values()), default=0)
        overdue = self._under(catalog) if self._calendar is None or (leads and catalog != self._catalog) else _NONE
        progress = progress_of(self._lanes.values())
        if progress is None or self._told is None or progress <= self._told:
            self._told = self._told if progress is None else max(progress, self._told or progress)
            return overdue
        assert self._calendar is not None
        due = self._calendar.between(self._told, progress)
        self._told = progress
        return pl.concat([overdue, due]) if overdue.height else due

    def _under(self, digest: str) -> pl.DataFrame:
        """Go on under this catalog; what is overdue of those who are new in it."""
        before = self._before(digest)
        compiled = self._catalogs.compiled(digest)
        key_groups, writers = self._folder.shape.key_groups, self._folder.shape.writers
        own = compiled.subscriptions.id_hash % np.uint32(key_groups) % np.uint32(writers) == self._number
        self._catalog, self._calendar = digest, Calendar.of(compiled, own)
        if before is None or self._told is None:
            return _NONE
        return self._calendar.of_newcomers(before, self._told)

    def _before(self, digest: str) -> CompiledCatalog | None:
        """The catalog before this one, if there was one; it may be that of the run before."""
        if self._catalog in ("", digest):
            return None
        if self._calendar is not None:
            return self._calendar.catalog
        history = CatalogHistory(self._folder.root)
        return compile_catalog(history.catalog(self._catalog)) if history.keeps(self._catalog) else None
