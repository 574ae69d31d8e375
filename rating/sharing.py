"""Counters that quotas share with charges, where a new catalog begins or ends the sharing (docs/decisions/0026).

Owns what a quota counts from then on. The rule: it goes on from what it has counted, and a charge's counter stays as it
is. A quota whose usage differs from that of the charge it is to share with counts apart, in a counter of its own, until
the window ends; then so do all quotas of that counter.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.kept import KeptCounters
from rating.measures import values_of_others
from rating.pairs import Pairs, counter_keys, periods_of, subscriptions_of
from rating.prices import Index, Mask
from rating.usage import Keys

_COMPARED = ("usage", "total", "count", "latest_time")


@dataclass(frozen=True, slots=True)
class Sharing:
    """Which quotas share which charges' counters, by the hashes of both; (n, 2) uint64."""

    quotas: npt.NDArray[np.uint64]
    charges: npt.NDArray[np.uint64]

    @classmethod
    def under(cls, catalog: CompiledCatalog) -> "Sharing":
        """That of a catalog."""
        counter, hashes = catalog.charges.counter, catalog.charges.hashes
        rows = np.flatnonzero(counter != np.arange(len(counter)))
        return cls(hashes[rows], hashes[counter[rows]])

    def to_bytes(self) -> bytes:
        """As plain bytes."""
        return np.concatenate([self.quotas, self.charges]).tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Sharing":
        """What `to_bytes` gave."""
        quotas, charges = np.frombuffer(stored, np.uint64).reshape(2, -1, 2)
        return cls(quotas, charges)

    def pairs(self) -> set[tuple[tuple[int, int], tuple[int, int]]]:
        """Quota and charge of each."""
        return set(zip(map(tuple, self.quotas.tolist()), map(tuple, self.charges.tolist()), strict=True))


@dataclass(frozen=True, slots=True)
class Placed:
    """Counters that a catalog has a place for: their keys, what they hold, and the charge or quota of each, by its row.

    `apart` are the keys of the charges' counters whose quotas count apart.
    """

    keys: Keys
    held: KeptCounters
    charge: Index
    apart: Keys


def ended(kept: KeptCounters, before: Sharing, catalog: CompiledCatalog) -> KeptCounters:
    """With counters of their own for the quotas that do not share as before: what they have counted in the shared ones.

    A quota that counted apart has one already; one that has windows of its own now begins anew in them.
    """
    windows = {tuple(pair) for pair in catalog.charges.hashes[catalog.charges.own_window >= 0].tolist()}
    over = before.pairs() - Sharing.under(catalog).pairs()
    for quota, charge in sorted(over):
        if quota in windows:
            continue
        own, apart = _of(kept, charge), _of(kept, quota)
        copies = kept.take(own[_missing(_places(kept, own), _places(kept, apart))])
        copies = replace(copies, charges=np.array([quota] * len(copies.charges), np.uint64).reshape(-1, 2))
        kept = kept.and_also(copies)
    return kept


def _of(kept: KeptCounters, one: tuple[int, int]) -> Index:
    """The counters of a charge or quota; its hash may be there twice, for those kept aside have their own."""
    return np.flatnonzero((kept.charges == np.array(one, np.uint64)).all(axis=1)[kept.charge])


def _places(kept: KeptCounters, rows: Index) -> pl.DataFrame:
    owner, period = kept.owner[rows], kept.period[rows]
    return pl.DataFrame({"low": owner[:, 0], "high": owner[:, 1], "period": period})


def _missing(some: pl.DataFrame, others: pl.DataFrame) -> Index:
    """The rows of some that others have not."""
    missing: Index = (
        some.with_row_index("row").join(others, on=some.columns, how="anti")["row"].cast(pl.Int64).to_numpy()
    )
    return np.sort(missing)


def begun(placed: Placed, before: Sharing, known: npt.NDArray[np.uint64], catalog: CompiledCatalog) -> Placed:
    """What remains of the counters of quotas that share one now: those that differ from it, which stay apart.

    `known` are the hashes of all that had counters before; a quota that is new has counted what its charge has. Of
    usage that may fall, the greatest so far is that of both.
    """
    new = _newly_shared(before, catalog)
    placed = _with_those_at_zero(placed, new & _are_among(catalog.charges.hashes, known), catalog)
    counter = catalog.charges.counter[placed.charge]
    shares = np.flatnonzero(counter != placed.charge)
    if not len(shares):
        return placed
    shared = _keys_of(placed.keys[shares], counter[shares], catalog)
    at = _rows_of(shared, placed.keys)
    same = new[placed.charge[shares]] & (at >= 0) & _are_same(placed.held, shares, at)
    peak = _with_greater_peaks(placed, shares[same], at[same])
    apart = np.unique(shared[~same])
    stays = np.ones(len(placed.keys), np.bool_)
    stays[shares[~np.isin(shared, apart)]] = False
    rest = Placed(placed.keys, replace(placed.held, peak=peak), placed.charge, apart)
    return _with_all_apart(rest, np.flatnonzero(stays), catalog)


def _newly_shared(before: Sharing, catalog: CompiledCatalog) -> Mask:
    """Of each row whether it is a quota that did not share the counter that it shares now."""
    counter, kept = catalog.charges.counter, before.pairs()
    hashes = [tuple(pair) for pair in catalog.charges.hashes.tolist()]
    new = [row != own and (hashes[row], hashes[own]) not in kept for row, own in enumerate(counter.tolist())]
    return np.array(new, np.bool_)


def _are_among(hashes: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64]) -> Mask:
    among = set(map(tuple, others.tolist()))
    return np.array([tuple(pair) in among for pair in hashes.tolist()], np.bool_)


def _with_those_at_zero(placed: Placed, quotas: Mask, catalog: CompiledCatalog) -> Placed:
    """With the counters that these quotas do not have yet where the charge that they share with has one."""
    for quota in np.flatnonzero(quotas).tolist():
        rows = np.flatnonzero(placed.charge == catalog.charges.counter[quota])
        keys = _keys_of(placed.keys[rows], np.full(len(rows), quota), catalog)
        missing = ~np.isin(keys, placed.keys)
        held = placed.held.and_also(placed.held.take(rows[missing]).at_start())
        charge = np.concatenate([placed.charge, np.full(int(missing.sum()), quota)])
        placed = Placed(np.concatenate([placed.keys, keys[missing]]), held, charge, placed.apart)
    return placed


def _keys_of(keys: Keys, charge: Index, catalog: CompiledCatalog) -> Keys:
    """The counters of these charges or quotas, of the same subscriptions and periods."""
    return counter_keys(catalog, subscriptions_of(catalog, keys), charge, periods_of(keys))


def _rows_of(wanted: Keys, keys: Keys) -> Index:
    """The row of each of these keys among others, -1 where there is none."""
    if not len(keys):
        return np.full(len(wanted), -1)
    order = np.argsort(keys)
    rows = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    return np.where(keys[rows] == wanted, rows, -1)


def _are_same(held: KeptCounters, rows: Index, others: Index) -> Mask:
    same = np.ones(len(rows), np.bool_)
    for name in _COMPARED:
        column = getattr(held, name)
        equal = column[rows] == column[others]
        same &= equal.all(axis=1) if equal.ndim == 2 else equal
    return same


def _with_greater_peaks(placed: Placed, quotas: Index, at: Index) -> Any:
    peak = placed.held.peak.copy()
    for charge in np.unique(placed.charge[quotas]).tolist():
        own = placed.charge[quotas] == charge
        row, quota = at[own], quotas[own]
        less = wide.less(peak[row], peak[quota])
        peak[row[less]] = peak[quota[less]]
    return peak


def _with_all_apart(placed: Placed, stays: Index, catalog: CompiledCatalog) -> Placed:
    """These counters, and copies of the shared ones for quotas that share one with a quota that counts apart."""
    shared = np.flatnonzero(np.isin(placed.keys, placed.apart))
    row, quota = _each_quota(shared, placed.charge[shared], catalog)
    keys = _keys_of(placed.keys[row], quota, catalog)
    missing = ~np.isin(keys, placed.keys)
    rows = np.concatenate([stays, row[missing]])
    keys, charge = (
        np.concatenate([column[stays], more[missing]]) for column, more in ((placed.keys, keys), (placed.charge, quota))
    )
    return Placed(keys, placed.held.take(rows), charge, placed.apart)


def _each_quota(rows: Index, charge: Index, catalog: CompiledCatalog) -> tuple[Index, Index]:
    """The rows, once for each quota of their counters, and these quotas."""
    first, behind = (catalog.charges.first_watching[charge + step] for step in (0, 1))
    counts = behind - first
    starts = np.repeat(first - np.cumsum(counts) + counts, counts)
    return np.repeat(rows, counts), catalog.charges.watching[np.arange(len(starts)) + starts]


def with_quotas_apart(pairs: Pairs, apart: Keys, catalog: CompiledCatalog) -> Pairs:
    """The pairs, and where quotas count apart a pair for each of them."""
    if not len(apart):
        return pairs
    marked = np.isin(pairs.key, apart)
    row, quota = _each_quota(np.flatnonzero(marked), pairs.charge[marked], catalog)
    more = replace(pairs.take(row), charge=quota, key=_keys_of(pairs.key[row], quota, catalog))
    if more.value is not None:
        more = replace(more, value=values_of_others(more.value, pairs.charge[row], quota, catalog))
    joined = pairs.and_also(more)
    order = np.lexsort((joined.charge, joined.event))
    own = np.concatenate([marked, np.zeros(len(row), np.bool_)])
    return replace(joined, apart=own).take(order)
