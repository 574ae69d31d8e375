"""From resolved records to what each charge measures of them: the stateless half of rating, a whole batch at a time.

Owns who meters what (sources, filters, trial, life of the subscription) and splits the result by key group. A pair is
one event and one charge that meters it.
"""

import numpy as np
import polars as pl

from rating import wide
from rating.batch import DecodedBatch
from rating.catalog import CompiledCatalog
from rating.meters import Elements, Reading, read
from rating.money import ONE
from rating.pairs import TRIAL_PERIOD, TRIAL_WINDOWS, Pairs, counter_keys
from rating.periods import FoundPeriods
from rating.prices import Index, Mask
from rating.resolve import Resolved
from rating.wide import Wide
from schemas.verdicts import Reason, Verdict

_CHARGE_ODD, _SUBSCRIPTION_ODD, _PERIOD_ODD = (
    np.uint64(0x9E37_79B9_7F4A_7C15),
    np.uint64(0xC2B2_AE3D_27D4_EB4F),
    np.uint64(0x1656_67B1_9E37_79F9),
)
# Takes back a product with the first of them, for both are odd.
_CHARGE_BACK = np.uint64(pow(int(_CHARGE_ODD), -1, 1 << 64))


def measure(
    batch: DecodedBatch, resolved: Resolved, catalog: CompiledCatalog, found: tuple[FoundPeriods, FoundPeriods]
) -> Pairs:
    """What charges and quotas measure of the resolved records; decides bad quantities, blocked, trial, exempt events.

    `found` are the periods of subscriptions and the windows of quotas found last. Afterwards every record has a
    verdict, except those that will be rated.
    """
    height = len(resolved.verdict)
    charged = _charged_rows(batch, resolved, catalog)
    counts = np.diff(catalog.charges.first_counted)
    product = catalog.subscriptions.product[resolved.subscription[charged]] if len(charged) else charged
    event = np.repeat(charged, counts[product]) if len(charged) else charged
    charge = _charges_of(catalog, product, counts)
    reading = _read_all(batch, event, charge, catalog, resolved, height)
    metered = _decide(resolved, catalog, charged, event, reading, catalog.charges.is_quota[charge])
    return _pairs(resolved, catalog, event[metered], charge[metered], _taken(reading, metered), found)


def _charged_rows(batch: DecodedBatch, resolved: Resolved, catalog: CompiledCatalog) -> Index:
    """The resolved records whose source is among the product's."""
    candidates = np.flatnonzero((resolved.subscription >= 0) & (resolved.verdict != Verdict.REJECTED))
    if not len(candidates):
        return candidates
    product = catalog.subscriptions.product[resolved.subscription[candidates]]
    if catalog.products.charged[:, -1].all():
        return candidates
    codes = catalog.products.source_lookup.rows_of(batch.events["source"])[candidates]
    charged = catalog.products.charged[product, codes]
    return candidates[charged]


def _charges_of(catalog: CompiledCatalog, product: Index, counts: Index) -> Index:
    """All charges of each of these products, and its quotas with counters of their own, one after another."""
    own = counts[product] if len(product) else product
    starts = catalog.charges.first_counted[product] if len(product) else product
    within = np.arange(int(own.sum())) - np.repeat(np.cumsum(own) - own, own)
    rows: Index = catalog.charges.counted[np.repeat(starts, own) + within]
    return rows


def _read_all(
    batch: DecodedBatch, event: Index, charge: Index, catalog: CompiledCatalog, resolved: Resolved, height: int
) -> Reading:
    """One reading for all pairs, each program evaluated once over all the pairs that use it."""
    elements = Elements(batch.elements, height)
    program = catalog.charges.program[charge]
    readings: list[tuple[Index, Reading]] = []
    for number in np.unique(program).tolist():
        places = np.flatnonzero(program == number)
        rows = event[places]
        whole = len(rows) == height and bool((rows == np.arange(height)).all())
        reading = read(catalog.charges.programs[number], elements, None if whole else rows)
        for row, sentence in reading.faults.items():
            _reject(resolved, int(rows[row]), sentence)
        readings.append((places, reading))
    return _joined(readings, len(event), with_multipliers=bool(catalog.charges.multiplied.any()))


def _reject(resolved: Resolved, row: int, sentence: str) -> None:
    if resolved.verdict[row] != Verdict.REJECTED:
        resolved.verdict[row] = Verdict.REJECTED
        resolved.reason[row] = Reason.BAD_QUANTITY
        resolved.detail[row] = sentence


def _joined(readings: list[tuple[Index, Reading]], height: int, *, with_multipliers: bool) -> Reading:
    """One reading of all pairs. Whether it has multipliers is the catalog's to say, never that of this batch alone."""
    if len(readings) == 1 and (readings[0][1].multiplier is not None or not with_multipliers):
        return readings[0][1]
    metered, exempted = np.zeros(height, np.bool_), np.zeros(height, np.bool_)
    quantity = wide.zeros(height)
    multiplier = wide.from_small(np.full(height, ONE)) if with_multipliers else None
    value = wide.zeros(height) if any(reading.value_hash is not None for _, reading in readings) else None
    for places, reading in readings:
        metered[places], exempted[places] = reading.metered, reading.exempted
        quantity[places] = wide.from_series(reading.quantity)
        if multiplier is not None and reading.multiplier is not None:
            multiplier[places] = wide.from_series(reading.multiplier)
        if value is not None and reading.value_hash is not None:
            value[places] = reading.value_hash
    return Reading(
        metered, exempted, wide.to_series(quantity), None if multiplier is None else wide.to_series(multiplier), value
    )


def _taken(reading: Reading, metered: Mask) -> Reading:
    if metered.all():
        return reading
    rows = np.flatnonzero(metered)
    return Reading(
        reading.metered[rows],
        reading.exempted[rows],
        wide.picked(reading.quantity, rows),
        None if reading.multiplier is None else wide.picked(reading.multiplier, rows),
        None if reading.value_hash is None else reading.value_hash[rows],
    )


def _decide(
    resolved: Resolved, catalog: CompiledCatalog, charged: Index, event: Index, reading: Reading, is_quota: Mask
) -> Mask:
    """Blocked, trial and exempt events; gives the pairs that go on: not those of events that are blocked or refused.

    A quota counts what it meters, though no charge may meter it.
    """
    known = resolved.subscription >= 0
    owner = np.where(known, resolved.subscription, 0)
    columns = catalog.subscriptions
    moment = resolved.event_time
    if known.any():
        start, end, trial_end, _ = np.take(columns.life, owner, axis=0).T
        inactive = known & ((moment < start) | (moment >= end))
        resolved.decide(
            inactive, Verdict.BLOCKED, Reason.NOT_ACTIVE, "its time lies outside the life of its subscription"
        )
        trial = known & (moment < trial_end) & (resolved.verdict == 0)
        resolved.verdict[trial] = Verdict.TRIAL
    _exempt(resolved, charged, event[reading.metered & ~is_quota], event[reading.exempted])
    resolved.verdict[resolved.verdict == 0] = Verdict.RATED
    going_on = (resolved.verdict >= Verdict.RATED) & (resolved.verdict < Verdict.BLOCKED)
    metered: Mask = reading.metered & going_on[event]
    return metered


def _exempt(resolved: Resolved, charged: Index, metered: Index, filtered: Index) -> None:
    """Of events, by their rows: sold by a source of the product, metered by a charge, let out by its filter."""
    height = len(resolved.verdict)
    unmetered = ~_marked(metered, height) & (resolved.verdict == 0)
    if not unmetered.any():
        return
    offered, exempted = _marked(charged, height), _marked(filtered, height)
    for rows, reason, sentence in (
        (~offered, Reason.SOURCE_NOT_IN_PRODUCT, "its source is not among the product's"),
        (offered & exempted, Reason.EXEMPT_BY_FILTER, "the product's `exempt_where` holds for it"),
        (offered & ~exempted, Reason.NO_CHARGE, "no charge of the product meters it"),
    ):
        resolved.decide(unmetered & rows, Verdict.EXEMPT, reason, sentence)


def _marked(rows: Index, height: int) -> Mask:
    mask = np.zeros(height, np.bool_)
    mask[rows] = True
    return mask


def _pairs(
    resolved: Resolved,
    catalog: CompiledCatalog,
    event: Index,
    charge: Index,
    reading: Reading,
    found: tuple[FoundPeriods, FoundPeriods],
) -> Pairs:
    columns = catalog.subscriptions
    owner = resolved.subscription[event]
    trial = resolved.verdict[event] == Verdict.TRIAL
    life = np.take(columns.life, owner, axis=0)
    number, start, end = columns.clocks.periods_of(life[:, 3], resolved.event_time[event], found[0])
    if trial.any():
        number = np.where(trial, TRIAL_PERIOD, number)
        start, end = np.where(trial, life[:, 0], start), np.where(trial, life[:, 2], end)
    windows = catalog.charges.own_window[charge]
    tumbling = np.flatnonzero(windows >= 0)
    if len(tumbling):
        moments = resolved.event_time[event[tumbling]]
        window, *ends = catalog.charges.windows.periods_of(windows[tumbling], moments, found[1])
        number[tumbling] = window + np.where(trial[tumbling], TRIAL_WINDOWS, 0)
        start[tumbling] = ends[0]
        # A trial's counters end with it.
        end[tumbling] = np.where(trial[tumbling], np.minimum(ends[1], life[tumbling, 2]), ends[1])
    return Pairs(
        event,
        charge,
        counter_keys(catalog, owner, charge, number),
        wide.from_series(reading.quantity),
        start,
        end,
        None if reading.multiplier is None else wide.from_series(reading.multiplier),
        None if reading.value_hash is None else _value_identities(catalog, owner, charge, number, reading.value_hash),
    )


def _value_identities(catalog: CompiledCatalog, owner: Index, charge: Index, number: Index, value: Wide) -> Wide:
    """The values of unique meters, told apart by counter as well; the same under every catalog that keeps the counter.

    Pairs of other meters have no value: 0.
    """
    counter = (
        catalog.charges.hashes[charge] * _CHARGE_ODD
        ^ catalog.subscriptions.hashes[owner] * _SUBSCRIPTION_ODD
        ^ number.astype(np.uint64)[:, None] * _PERIOD_ODD
    )
    identity: Wide = (value ^ counter) * _CHARGE_ODD
    identity[~value.any(axis=1)] = 0
    return identity


def values_of_others(value: Wide, charge: Index, other: Index, catalog: CompiledCatalog) -> Wide:
    """The identities that values of these charges have for others, of the same subscriptions and periods."""
    hashes = catalog.charges.hashes
    identity: Wide = (
        (value * _CHARGE_BACK) ^ (hashes[charge] * _CHARGE_ODD) ^ (hashes[other] * _CHARGE_ODD)
    ) * _CHARGE_ODD
    identity[~value.any(axis=1)] = 0
    return identity


def event_columns(batch: DecodedBatch, resolved: Resolved) -> pl.DataFrame:
    """The decoded events with their times, subscription rows, verdicts and reasons; one row per record."""
    nothing = pl.Series([None], dtype=pl.String)
    reason, detail = (nothing.new_from_index(0, len(resolved.verdict)) for _ in range(2))
    if resolved.reason:
        rows = list(resolved.reason)
        reason = reason.scatter(rows, pl.Series([word.value for word in resolved.reason.values()]))
        detail = detail.scatter(rows, pl.Series([resolved.detail[row] for row in rows], dtype=pl.String))
    return batch.events.with_columns(
        pl.Series("event_time", resolved.event_time),
        pl.Series("record_time", resolved.record_time),
        pl.Series("subscription", resolved.subscription),
        pl.Series("verdict", resolved.verdict),
        reason.alias("reason"),
        detail.alias("reason_detail"),
    )
