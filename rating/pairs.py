"""What is metered of a batch, before and while it is rated: pairs of an event and a charge, and the counter of each.

A counter is a subscription, a charge or quota, and a period; its key is one integer under one catalog.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from rating.catalog import CompiledCatalog
from rating.periods import Times
from rating.prices import Index, Mask
from rating.wide import Wide

# The windows of a quota are counted from 1970: minutes fit until 2225. Their upper half counts those on trial.
PERIOD_BITS = 29
TRIAL_PERIOD = (1 << 17) - 1
TRIAL_WINDOWS = 1 << (PERIOD_BITS - 1)


@dataclass(frozen=True, slots=True)
class Pairs:
    """One row per event and charge that meters it, in the order of the events and, within one, of its charges.

    `event` is the row of the event, `charge` that of the charge, `key` the counter. `quantity` (wide micros) is what
    the event brings. `multiplier` (wide micros) and `value` (the identity of a unique meter's value) are None where no
    charge of the catalog has any. `period_start`, `period_end` are microseconds UTC; of a quota they are its window's.
    `blocked`, if any are, marks what a quota takes away: its quantity is shown, and its usage stays as it is. `apart`,
    if any are, marks charges whose quotas do not share their counter, as they else do.
    """

    event: Index
    charge: Index
    key: Index
    quantity: Wide
    period_start: Times
    period_end: Times
    multiplier: Wide | None
    value: Wide | None
    blocked: Mask | None = None
    apart: Mask | None = None

    def take(self, rows: Index) -> "Pairs":
        """These pairs."""
        taken: list[Any] = [None if column is None else np.take(column, rows, axis=0) for column in self._columns()]
        return Pairs(*taken)

    def between(self, start: int, end: int) -> "Pairs":
        """The pairs from one place up to another, without a copy."""
        between: list[Any] = [None if column is None else column[start:end] for column in self._columns()]
        return Pairs(*between)

    def and_also(self, others: "Pairs") -> "Pairs":
        """These and behind them others, which have the same columns."""
        both = zip(self._columns(), others._columns(), strict=True)
        joined: list[Any] = [None if column is None else np.concatenate([column, more]) for column, more in both]
        return Pairs(*joined)

    def _columns(self) -> tuple[Any, ...]:
        return (
            *(self.event, self.charge, self.key, self.quantity, self.period_start, self.period_end),
            *(self.multiplier, self.value, self.blocked, self.apart),
        )

    def at(self, place: Index, start: int) -> "Pairs":
        """The same pairs, with event rows moved to their `place`, counted from `start`."""
        return replace(self, event=place[self.event] - start)


@dataclass(frozen=True, slots=True)
class Batch:
    """All events of a batch in the order of the log, columns as in `event_columns`, and their catalog's digest."""

    partition: int
    catalog: str
    events: pl.DataFrame

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers."""
        return self.events[name].to_numpy()

    def take(self, rows: Index) -> "Batch":
        """These rows."""
        return Batch(self.partition, self.catalog, self.events[pl.Series(rows.astype(np.uint32))])


def counter_keys(catalog: CompiledCatalog, subscription: Index, charge: Index, period: Index) -> Index:
    """One int64 per counter: the subscription's row, the charge's place in its product, the period's number."""
    products = catalog.products
    place = charge - products.first_charge[catalog.charges.product[charge]]
    return ((subscription * most_charges(catalog) + place) << PERIOD_BITS) | period


def subscriptions_of(catalog: CompiledCatalog, keys: Index) -> Index:
    """The rows of the subscriptions whose counters these are."""
    return (keys >> PERIOD_BITS) // most_charges(catalog)


def counted_of(catalog: CompiledCatalog, keys: Index) -> tuple[Index, Index]:
    """The rows of the subscriptions, and of the charges or quotas, whose counters these are."""
    owner, place = np.divmod(keys >> PERIOD_BITS, most_charges(catalog))
    return owner, catalog.products.first_charge[catalog.subscriptions.product[owner]] + place


def periods_of(keys: Index) -> Index:
    """The numbers of the periods or windows whose counters these are."""
    return keys & ((1 << PERIOD_BITS) - 1)


def most_charges(catalog: CompiledCatalog) -> int:
    """The greatest number of charges that one product has; at least 1."""
    counts = np.diff(catalog.products.first_charge)
    return max(1, int(counts.max())) if len(counts) else 1
