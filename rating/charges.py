"""All that is metered, compiled to columns: the charges of each product and, behind them, its quotas.

A quota is metered, folded and kept as a charge is; it has no price and no lines. The rule: `Charges.is_quota` is asked
wherever money is meant. A quota by settlement period that meters what a charge of its product does uses the counter of
that charge: what the one counts is what the other counts.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rating.expand import ExpandedCharge
from rating.expressions import Expression, compile_boolean, compile_number
from rating.hashing import stable_hashes
from rating.meters import Conditional, Program
from rating.periods import PeriodClocks, fixed_length, month_length
from rating.prices import Index, Mask, PriceTable, compile_prices
from rating.usage import Folding, Foldings
from rating.wide import Wide, from_integers
from schemas.catalog import Product, Quota
from schemas.decimals import scaled_quantity
from schemas.prices import COUNT, Meter, PerUnitPrice, PricingRule

_T = TypeVar("_T", bound=Hashable)

_UNPRICED = PerUnitPrice(unit_price=0)
# Monday, from which weeks are counted; all other windows are counted from 1970.
_FIRST_MONDAY = 4 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Charges:
    """All charges and quotas of all products, grouped by product, charges first.

    `program` is the row of `programs`; `measure` (int64) is the same for all that take the same quantity of an event,
    filters aside. `foldings` (uint8) says how usage is folded, `may_fall` whether it may become less within a period.
    `hashes` (n, 2) uint64 stay the same as long as product version and charge or quota keep their names.

    `counter` is the row whose counter each uses: its own, or, of a quota that shares one, that of a charge. `counted`
    are the rows with a counter of their own, those of product i from `first_counted[i]` up to `first_counted[i + 1]`.
    `watching` are the quotas of each row's counter likewise (`first_watching`), for a quota itself; `cuts` marks the
    rows that have one that blocks.

    Of quotas only: `blocks`, `limit` (wide micros), `own_window` (the row in `windows` of its clock, -1 where the
    settlement period is its window).
    """

    ids: tuple[str, ...]
    product: Index
    price_models: tuple[str, ...]
    foldings: Foldings
    may_fall: Mask
    program: Index
    programs: tuple[Program, ...]
    measure: Index
    multiplied: npt.NDArray[np.bool_]
    hashes: npt.NDArray[np.uint64]
    counter: Index
    counted: Index
    first_counted: Index
    watching: Index
    first_watching: Index
    cuts: Mask
    prices: PriceTable
    is_quota: Mask
    blocks: Mask
    limit: Wide
    own_window: Index
    windows: PeriodClocks
    quotas: tuple[Quota | None, ...]

    @property
    def has_quotas(self) -> bool:
        """Whether any product has a quota."""
        return bool(self.is_quota.any())

    @property
    def has_shared_counters(self) -> bool:
        """Whether any quota uses the counter of a charge."""
        return len(self.counted) < len(self.ids)


@dataclass(frozen=True, slots=True)
class _Metered:
    """A charge or a quota of a product, as both are metered."""

    id: str
    program: Program
    aggregation: str
    charge: ExpandedCharge | None
    quota: Quota | None

    @property
    def name(self) -> str:
        """What tells it apart from all others of its product; ids are never empty."""
        return self.id if self.quota is None else f"\n{self.id}"

    @property
    def may_fall(self) -> bool:
        return self.aggregation in ("latest", "average") or self.program.allow_negative


def compile_charges(products: Sequence[Product], expanded: Sequence[Sequence[ExpandedCharge]]) -> Charges:
    """The columns of these products' charges, as expanded, and of their quotas."""
    by_product = [
        (*map(_charge, own), *(_quota(quota, product.exempt_where) for quota in product.quotas))
        for product, own in zip(products, expanded, strict=True)
    ]
    metered = [one for own in by_product for one in own]
    programs, program = _numbered([one.program for one in metered])
    _, measure = _numbered([(one.aggregation, one.program.element, one.program.formulas) for one in metered])
    multiplied = [bool(one.program.multipliers) for one in metered]
    windows, own_window = _windows(metered)
    product = np.repeat(np.arange(len(by_product)), [len(own) for own in by_product])
    counter = _counters(metered, list(zip(product.tolist(), program.tolist(), measure.tolist(), strict=True)))
    counted = np.flatnonzero(counter == np.arange(len(metered)))
    is_quota = np.array([one.quota is not None for one in metered], np.bool_)
    blocks = np.array([one.quota is not None and one.quota.on_exceed == "block" for one in metered], np.bool_)
    first_watching, watching = _watching(counter, is_quota)
    return Charges(
        ids=tuple(one.id for one in metered),
        product=product,
        price_models=tuple("" if one.charge is None else one.charge.price.model for one in metered),
        foldings=np.array([Folding.of(one.aggregation) for one in metered], np.uint8),
        may_fall=np.array([one.may_fall for one in metered], np.bool_),
        program=program,
        programs=programs,
        measure=measure,
        multiplied=np.array(multiplied, np.bool_),
        hashes=stable_hashes(
            f"{owner.reference}\n{one.name}" for owner, own in zip(products, by_product, strict=True) for one in own
        ),
        counter=counter,
        counted=counted,
        first_counted=np.searchsorted(product[counted], np.arange(len(by_product) + 1)),
        watching=watching,
        first_watching=first_watching,
        cuts=np.isin(np.arange(len(metered)), counter[blocks]) | blocks,
        prices=compile_prices([_UNPRICED if one.charge is None else one.charge.price for one in metered], multiplied),
        is_quota=is_quota,
        blocks=blocks,
        limit=from_integers(0 if one.quota is None else scaled_quantity(one.quota.limit) for one in metered),
        own_window=own_window,
        windows=windows,
        quotas=tuple(one.quota for one in metered),
    )


def _numbered(values: Sequence[_T]) -> tuple[tuple[_T, ...], Index]:
    """The distinct values in the order in which they come, and the number of each."""
    distinct = tuple(dict.fromkeys(values))
    number = {value: row for row, value in enumerate(distinct)}
    return distinct, np.array([number[value] for value in values], np.int64)


def _counters(metered: Sequence[_Metered], same: Sequence[tuple[int, int, int]]) -> Index:
    """The row whose counter each uses; `same` is equal for what meters the same: product, program and measure.

    Of several charges that meter the same it is the one with the least id, so that their order decides nothing.
    """
    charges = [row for row, one in enumerate(metered) if one.quota is None]
    shared = {same[row]: row for row in sorted(charges, key=lambda row: metered[row].id, reverse=True)}
    sharing = [one.quota is not None and one.quota.window is None for one in metered]
    rows = [shared.get(same[row], row) if shares else row for row, shares in enumerate(sharing)]
    return np.array(rows, np.int64)


def _watching(counter: Index, is_quota: Mask) -> tuple[Index, Index]:
    """The quotas by the rows of their counters, and where those of each row begin.

    A quota that shares a counter stands in its own row too: it may count apart.
    """
    quotas = np.flatnonzero(is_quota)
    sharing = quotas[counter[quotas] != quotas]
    rows, watching = np.concatenate([counter[quotas], sharing]), np.concatenate([quotas, sharing])
    order = np.argsort(rows, kind="stable")
    return np.searchsorted(rows[order], np.arange(len(counter) + 1)), watching[order]


def _charge(charge: ExpandedCharge) -> _Metered:
    program = _program(charge.meter, charge.rules, charge.exempt_where)
    return _Metered(charge.id, program, charge.meter.aggregation, charge, None)


def _quota(quota: Quota, exempt_where: str | None) -> _Metered:
    """Pricing rules are about prices: a quota meters without them."""
    meter = quota.meter or COUNT
    return _Metered(quota.name, _program(meter, (), exempt_where), meter.aggregation, None, quota)


def _program(meter: Meter, rules: Sequence[PricingRule], exempt_where: str | None) -> Program:
    formulas = [Conditional(None, compile_number(meter.quantity))] if meter.quantity is not None else []
    formulas += [Conditional(_where(rule), compile_number(rule.quantity)) for rule in rules if rule.quantity]
    plain = [rule for rule in rules if rule.multiplier is None and rule.quantity is None]
    filters = [compile_boolean(text) for text in (meter.where, *(rule.where for rule in plain)) if text is not None]
    counted = meter.aggregation in ("count", "unique")
    return Program(
        aggregation=meter.aggregation if counted else "number",
        element=None if meter.aggregation == "count" else meter.element,
        formulas=() if counted else tuple(formulas),
        filters=tuple(filters),
        exempt=None if exempt_where is None else compile_boolean(exempt_where),
        multipliers=tuple(
            Conditional(_where(rule), compile_number(rule.multiplier)) for rule in rules if rule.multiplier
        ),
        allow_negative=meter.allow_negative,
    )


def _where(rule: PricingRule) -> Expression | None:
    return None if rule.where is None else compile_boolean(rule.where)


def _windows(metered: Sequence[_Metered]) -> tuple[PeriodClocks, Index]:
    """The clocks of all tumbling windows, which are aligned to UTC, and the clock of each quota."""
    own = [None if one.quota is None else one.quota.window for one in metered]
    stated = [window for window in own if window is not None]
    clocks = PeriodClocks.of_columns(
        np.array([fixed_length(window.unit) * window.count for window in stated], np.int64),
        np.array([month_length(window.unit) * window.count for window in stated], np.int64),
        np.array([_FIRST_MONDAY if window.unit == "week" else 0 for window in stated], np.int64),
        ["UTC"] * len(stated),
    )
    rows = iter(range(len(stated)))
    return clocks, np.array([-1 if window is None else next(rows) for window in own], np.int64)
