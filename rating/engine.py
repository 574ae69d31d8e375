"""The recipe of rating, in the order in which things happen to a batch.

`admit` is the stateless half, a whole batch of one lane at a time: resolve → lateness → filters and meters → period →
split by key group. `rate` is the stateful half, per key group: what was applied already → duplicates → running usage.
`assemble` prices any number of rated shares at once: slices → lines and verdicts, as rows of the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from rating import rows
from rating.batch import DecodedBatch
from rating.catalog import CompiledCatalog
from rating.dedupe import Sightings, hash_identities, pack_positions
from rating.fold import Folded, fold
from rating.measures import event_columns, measure
from rating.occasions import brought_to_light
from rating.pairs import Batch, Pairs
from rating.periods import FoundPeriods, Times
from rating.prices import Index, Mask
from rating.quotas import let_through
from rating.rated import Crossings, Rated, Standings, verdicts_after
from rating.resolve import LaneState, resolve
from rating.rows import Outcome
from rating.sharing import with_quotas_apart
from rating.standings import standings_of
from rating.state import GroupState
from rating.thresholds import Crossed
from rating.wide import Wide
from schemas.verdicts import Verdict

__all__ = [
    "Admitted",
    "GroupState",
    "LaneState",
    "Outcome",
    "Rated",
    "RatingSettings",
    "Share",
    "admit",
    "assemble",
    "rate",
]


@dataclass(frozen=True, slots=True)
class RatingSettings:
    """What a deployment chooses once: `key_groups`; `lateness` and `skew` in microseconds (None: unlimited)."""

    key_groups: int = 16
    lateness: int | None = None
    skew: int | None = 300_000_000


@dataclass(frozen=True, slots=True)
class Share:
    """One key group's part of a batch: the `rows` of its events that are to be rated, in the order of the log.

    `identity` (n, 2) uint64 and `pairs`, whose `event` counts within the share, are of these rows.
    """

    batch: Batch
    rows: Index
    identity: Wide
    pairs: Pairs

    @property
    def height(self) -> int:
        """The number of events."""
        return len(self.rows)

    def __reduce__(self) -> tuple[object, ...]:
        # To another process go the share's own events only.
        return Share, (self.batch.take(self.rows), np.arange(len(self.rows)), self.identity, self.pairs)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A batch after its stateless half: `settled` are ledger rows of `events` that are decided; the shares are not.

    `notifications` tell of credentials and strangers that came to light.

    `record_time` is the lane's progress in microseconds UTC, `first_time` that at its first record; `received` counts
    the records; `catalog` is a digest.
    """

    catalog: str
    partition: int
    next_offset: int
    record_time: int
    first_time: int
    received: int
    settled: pl.DataFrame
    notifications: pl.DataFrame
    shares: tuple[tuple[int, Share], ...]


def admit(
    lane: LaneState, batch: DecodedBatch, catalog: CompiledCatalog, settings: RatingSettings
) -> tuple[LaneState, Admitted]:
    """Decides what can be decided of each record by itself, and splits the rest by key group. The lane is consumed."""
    lane, resolved = resolve(lane, batch, catalog, settings.lateness, settings.skew)
    if lane.found is None or lane.catalog != catalog.digest:
        clocks = catalog.subscriptions.clocks, catalog.charges.windows
        lane.found = FoundPeriods.none(len(clocks[0].anchor)), FoundPeriods.none(len(clocks[1].anchor))
        lane.catalog = catalog.digest
    pairs = measure(batch, resolved, catalog, lane.found)
    whole = Batch(batch.partition, catalog.digest, event_columns(batch, resolved))
    open_rows = np.flatnonzero(resolved.verdict <= Verdict.BLOCKED)
    decided = np.flatnonzero(resolved.verdict > Verdict.BLOCKED)
    admitted = Admitted(
        catalog.digest,
        batch.partition,
        batch.next_offset,
        lane.latest_time,
        int(resolved.record_time[0]) if len(whole.events) else lane.latest_time,
        len(whole.events),
        rows.settled_rows(whole.take(decided), catalog),
        brought_to_light(lane, whole.events, resolved.discovered, batch.partition, catalog),
        _split(whole, open_rows, pairs, catalog, settings.key_groups),
    )
    return lane, admitted


def _split(
    batch: Batch, open_rows: Index, pairs: Pairs, catalog: CompiledCatalog, key_groups: int
) -> tuple[tuple[int, Share], ...]:
    """One sort by key group; the shares are slices of it."""
    if not len(open_rows):
        return ()
    group_of_row = np.zeros(len(batch.events), np.uint16)
    owner = batch.column("subscription")[open_rows]
    group_of_row[open_rows] = catalog.subscriptions.id_hash[owner] % np.uint32(key_groups)
    order = open_rows[np.argsort(group_of_row[open_rows], kind="stable")]
    identity = np.take(hash_identities(batch.events["event_id"], batch.events["source"]), order, axis=0)
    place = np.zeros(len(batch.events), np.int64)
    place[order] = np.arange(len(order))
    pair_groups = group_of_row[pairs.event]
    pairs = pairs.take(np.argsort(pair_groups, kind="stable"))
    starts = np.concatenate([[0], np.cumsum(np.bincount(group_of_row[order], minlength=key_groups))])
    pair_starts = np.concatenate([[0], np.cumsum(np.bincount(pair_groups, minlength=key_groups))])
    shares = []
    for group in np.flatnonzero(np.diff(starts)).tolist():
        start, end = int(starts[group]), int(starts[group + 1])
        own = pairs.between(int(pair_starts[group]), int(pair_starts[group + 1])).at(place, start)
        shares.append((group, Share(batch, order[start:end], identity[start:end], own)))
    return tuple(shares)


def rate(
    state: GroupState, share: Share, catalog: CompiledCatalog, settings: RatingSettings
) -> tuple[GroupState, Rated]:
    """Gives each event of the share its verdict and each pair its running usage. The state is consumed."""
    share = _not_applied(state, share)
    if not share.height:
        return state, Rated(share.batch, share.rows, np.zeros(0, np.int8), {}, share.pairs, None)
    state.let_go(catalog)
    share = replace(share, pairs=with_quotas_apart(share.pairs, state.apart, catalog))
    batch, partition = share.batch, share.batch.partition
    offsets, event_time = batch.column("offset")[share.rows], batch.column("event_time")[share.rows]
    sightings = Sightings(share.identity, pack_positions(partition, offsets), batch.column("record_time")[share.rows])
    late = state.duplicates.beyond_reach(sightings)
    refused = np.zeros(share.height, np.bool_)
    while True:
        open_rows = np.flatnonzero(~(refused | late))
        repeated, held = _looked_up(state, sightings, open_rows)
        left = let_through(state.counters, _pairs_without(share, repeated | refused | late), catalog)
        folded, crossed, overflowing = fold(state, left.rows, left.pairs, event_time, catalog)
        if not len(overflowing):
            break
        refused[overflowing] = True
    not_new = repeated | refused | late | held
    state.duplicates.remember(sightings.take(np.flatnonzero(~not_new)) if not_new.any() else sightings)
    state.applied[partition] = int(offsets[-1])
    verdict, words = verdicts_after(
        batch.column("verdict")[share.rows], left.sentences(catalog), repeated, late, refused
    )
    record_time = batch.column("record_time")[share.rows]
    told = _told(left.pairs, folded, crossed, catalog), _standings(left.pairs, folded, crossed, record_time, catalog)
    return state, Rated(batch, share.rows, verdict, words, *_of_charges(left.pairs, folded, catalog), *told)


def _of_charges(pairs: Pairs, folded: Folded, catalog: CompiledCatalog) -> tuple[Pairs, Folded]:
    """The pairs that have lines, and their usage."""
    rows = np.flatnonzero(~catalog.charges.is_quota[pairs.charge])
    return (pairs, folded) if len(rows) == len(pairs.charge) else (pairs.take(rows), folded.take(rows))


def _told(pairs: Pairs, folded: Folded, crossed: Crossed | None, catalog: CompiledCatalog) -> Crossings | None:
    """What somebody is notified of."""
    if crossed is None:
        return None
    notified = np.flatnonzero(catalog.thresholds.notified[crossed.threshold])
    if not len(notified):
        return None
    return Crossings.of(pairs, folded, crossed.pair[notified], crossed.threshold[notified])


def _standings(
    pairs: Pairs, folded: Folded, crossed: Crossed | None, record_time: Times, catalog: CompiledCatalog
) -> Standings | None:
    return standings_of(pairs, folded, crossed, record_time, catalog) if catalog.charges.has_quotas else None


def _looked_up(state: GroupState, sightings: Sightings, open_rows: Index) -> tuple[Mask, Mask]:
    """Which events repeat another one, and which are remembered as themselves; a refused one counts as never seen."""
    if len(open_rows) == len(sightings.position):
        return state.duplicates.look(sightings)
    repeated, held = np.zeros((2, len(sightings.position)), np.bool_)
    repeated[open_rows], held[open_rows] = state.duplicates.look(sightings.take(open_rows))
    return repeated, held


def _pairs_without(share: Share, left_out: Mask) -> Pairs:
    return share.pairs.take(np.flatnonzero(~left_out[share.pairs.event])) if left_out.any() else share.pairs


def _not_applied(state: GroupState, share: Share) -> Share:
    """Defence in depth: events at or below the last applied offset of their partition are in the state already."""
    applied = state.applied.get(share.batch.partition, -1)
    offsets = share.batch.column("offset")[share.rows]
    if not len(offsets) or offsets[0] > applied:
        return share
    first = int(np.searchsorted(offsets, applied, side="right"))
    kept = np.flatnonzero(share.pairs.event >= first)
    place = np.arange(len(offsets))
    return Share(share.batch, share.rows[first:], share.identity[first:], share.pairs.take(kept).at(place, first))


def assemble(rated: Sequence[Rated], catalog: CompiledCatalog) -> Outcome:
    """The ledger rows of these shares: their events with verdicts, and their lines priced."""
    return rows.outcome(rated, catalog)
