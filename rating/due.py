"""Which settlement periods are due: over by a moment, not settled yet, in their order (semantics 8).

Owns the calendar of settlement. Does not own what is owed. A subscription pays from the end of its trial; the period
that holds that moment is its first. Periods are numbered from 0 within a subscription; OPENING, before them all, is the
moment at which it begins to pay, when fees in advance and on purchase are due. Times are microseconds UTC.
"""

from dataclasses import dataclass

import numpy as np

from rating.catalog import CompiledCatalog
from rating.periods import ENDLESS, Times
from rating.prices import Index, Mask
from rating.terms import Terms

OPENING = -1
NEVER = -2
VOIDS_NONE = -1


@dataclass(frozen=True, slots=True)
class Moments:
    """Up to when input is complete, less the grace: for test modes, whose grace is shorter, and for all others."""

    usual: int
    of_test_modes: int

    @classmethod
    def both(cls, moment: int) -> "Moments":
        """The same moment for all."""
        return cls(moment, moment)


@dataclass(frozen=True, slots=True)
class Due:
    """Periods to settle, one row each, ascending by subscription (its row in the catalog) and number.

    `end` is the end of the period or, if earlier, of the subscription; `is_first` marks the row whose invoice carries
    what earlier periods still owe, `is_last` the one with which a subscription ends. `issued` is when its invoice is.

    A row with a `revision` was settled before: one of `supplements` gets what came later and has no invoice to come,
    any other is made anew and takes the place of the revision that `voids` names, VOIDS_NONE of all others.
    """

    subscription: Index
    number: Index
    start: Times
    end: Times
    is_first: Mask
    is_last: Mask
    issued: Times
    revision: Index
    supplements: Mask
    voids: Index

    def take(self, rows: Index | slice) -> "Due":
        """These rows."""
        return Due(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def joined(self, other: "Due") -> "Due":
        """These rows and those of another, in the order of both; no subscription has rows in both."""
        columns = (np.concatenate([getattr(one, name) for one in (self, other)]) for name in self.__dataclass_fields__)
        every = Due(*columns)
        return every.take(np.argsort(every.subscription, kind="stable"))

    @property
    def closes(self) -> Mask:
        """Which rows close a period."""
        closes: Mask = (self.number > OPENING) & ~self.supplements
        return closes

    @property
    def opens(self) -> Mask:
        """Which rows open a subscription."""
        opens: Mask = (self.number == OPENING) & ~self.supplements
        return opens


def paid_from(catalog: CompiledCatalog, subscription: Index) -> Times:
    """When these subscriptions begin to pay: at their start, or at the end of their trial."""
    life = catalog.subscriptions.life
    begin: Times = np.maximum(life[subscription, 0], life[subscription, 2])
    return begin


def pays(catalog: CompiledCatalog, subscription: Index) -> Mask:
    """Which of these subscriptions ever come to pay: they do not if they end within their trial."""
    pays_at_all: Mask = paid_from(catalog, subscription) < catalog.subscriptions.life[subscription, 1]
    return pays_at_all


def due_periods(catalog: CompiledCatalog, terms: Terms, settled: Index, until: Moments) -> Due:
    """The periods due; `settled` is the number settled last of each subscription, NEVER where there is none."""
    columns = catalog.subscriptions
    _, end, _, clock = columns.life.T
    begin = np.maximum(columns.life[:, 0], columns.life[:, 2])
    limit = np.where(terms.is_test[columns.product], until.of_test_modes, until.usual)
    rows = np.flatnonzero((begin < end) & (begin <= limit))
    clock, begin, end, limit = clock[rows], begin[rows], end[rows], limit[rows]
    first = columns.clocks.numbers_of(clock, begin)
    ended = end <= limit
    last = columns.clocks.numbers_of(clock, np.where(ended, end - 1, limit))
    last = np.where(ended, last, last - 1)
    next_number = np.maximum(settled[rows] + 1, first)
    opens = terms.has_opening[columns.product[rows]] & (settled[rows] == NEVER)
    counts = np.maximum(last - next_number + 1, 0) + opens
    place = np.repeat(np.arange(len(rows)), counts)
    step = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    opening = opens[place] & (step == 0)
    number = np.where(opening, OPENING, next_number[place] + step - opens[place])
    shown = np.maximum(number, 0)
    start = np.where(opening, begin[place], columns.clocks.starts(clock[place], shown))
    over = np.where(opening, begin[place], columns.clocks.starts(clock[place], shown + 1))
    over = np.minimum(over, end[place])
    is_first = ~opening & (number == next_number[place])
    is_last = ~opening & ended[place] & (number == last[place])
    none = np.zeros(len(place), np.int64)
    return Due(
        rows[place], number, start, over, is_first, is_last, over, none, none.astype(np.bool_), none + VOIDS_NONE
    )


def ended(catalog: CompiledCatalog, terms: Terms, settled: Index, until: Moments, due: Due) -> Index:
    """The subscriptions that were settled to their end: nothing of them is due, and nothing will be."""
    columns = catalog.subscriptions
    limit = np.where(terms.is_test[columns.product], until.of_test_modes, until.usual)
    over = (settled != NEVER) & (columns.life[:, 1] <= limit)
    over[due.subscription] = False
    return np.flatnonzero(over)


def again(
    catalog: CompiledCatalog, subscription: Index, number: Index, revision: Index, voids: Index, moment: int
) -> Due:
    """Periods that were settled before, to be settled once more at a moment (microseconds UTC)."""
    begin, last = paid_from(catalog, subscription), catalog.subscriptions.life[subscription, 1]
    start, over = whole_periods(catalog, subscription, np.maximum(number, 0))
    opening = number == OPENING
    start = np.where(opening, begin, start)
    over = np.where(opening, begin, np.minimum(over, last))
    none = np.zeros(len(subscription), np.bool_)
    supplements = voids == VOIDS_NONE
    issued = np.maximum(over, moment)
    return Due(subscription, number, start, over, ~opening | supplements, none, issued, revision, supplements, voids)


def period_end(catalog: CompiledCatalog, subscription: int, moment: int) -> int:
    """When the period of a subscription that is open at a moment is over, the first that is paid at the earliest."""
    row = np.array([subscription])
    columns = catalog.subscriptions
    begin = np.maximum(paid_from(catalog, row), moment)
    _, _, over = columns.clocks.periods_of(columns.life[row, 3], begin)
    return int(np.minimum(over, columns.life[row, 1])[0])


def whole_periods(catalog: CompiledCatalog, subscription: Index, number: Index) -> tuple[Times, Times]:
    """Where these periods begin and end, whatever part of them is paid; the end of an endless one is ENDLESS."""
    clock = catalog.subscriptions.life[subscription, 3]
    clocks = catalog.subscriptions.clocks
    return clocks.starts(clock, number), clocks.starts(clock, number + 1)


@dataclass(frozen=True, slots=True)
class PaidPart:
    """How much of periods is paid: `part` of `whole`, both in microseconds; of an endless period all of it."""

    part: Times
    whole: Times

    @property
    def is_cut(self) -> Mask:
        """Which of them are paid in part only."""
        return self.part < self.whole


def paid_part(catalog: CompiledCatalog, subscription: Index, number: Index) -> PaidPart:
    """The part of these periods between the end of the trial and the end of the subscription."""
    start, over = whole_periods(catalog, subscription, number)
    begin = np.maximum(start, paid_from(catalog, subscription))
    end = np.minimum(over, catalog.subscriptions.life[subscription, 1])
    whole = np.where(over == ENDLESS, 1, over - start)
    part = np.where(over == ENDLESS, 1, np.maximum(end - begin, 0))
    return PaidPart(part, whole)


def without(due: Due, waiting: Index) -> Due:
    """The periods of all but these subscriptions."""
    return due.take(np.flatnonzero(~np.isin(due.subscription, waiting)))


def next_due(catalog: CompiledCatalog, terms: Terms, until: Moments) -> Moments:
    """The next moments after `until` at which a subscription begins to pay or a period is over; ENDLESS if none is."""
    columns = catalog.subscriptions
    _, end, _, clock = columns.life.T
    begin = np.maximum(columns.life[:, 0], columns.life[:, 2])
    tested = terms.is_test[columns.product]
    limit = np.where(tested, until.of_test_modes, until.usual)
    _, _, over = columns.clocks.periods_of(clock, np.maximum(limit, begin))
    coming = np.where(begin > limit, begin, np.minimum(over, end))
    open_rows = (begin < end) & (end > limit)
    usual, of_test_modes = (int(coming[open_rows & own].min(initial=ENDLESS)) for own in (~tested, tested))
    return Moments(usual, of_test_modes)
