"""Counters of a quota's own windows are let go when no event can come into them any more (docs/decisions/0026).

Owns which windows these are. The rule: a window goes once it ends at or before the moment from which events may still
come; that moment follows from record times alone. Counters by settlement period stay.
"""

import numpy as np

from rating.catalog import CompiledCatalog
from rating.pairs import TRIAL_WINDOWS, counted_of, periods_of
from rating.prices import Mask
from rating.usage import Keys


def ended_windows(keys: Keys, moment: int, catalog: CompiledCatalog) -> Mask:
    """Of each counter whether it is that of a window that ends at or before the moment, in microseconds UTC.

    Of a window on trial, which may end sooner, it is the whole window that counts.
    """
    charges = catalog.charges
    over = np.zeros(len(keys), np.bool_)
    if (charges.own_window < 0).all():
        return over
    _, row = counted_of(catalog, keys)
    clock = charges.own_window[row]
    every = np.arange(len(charges.windows.anchor))
    current = charges.windows.numbers_of(every, np.full(len(every), moment))
    tumbling = np.flatnonzero(clock >= 0)
    over[tumbling] = periods_of(keys[tumbling]) % TRIAL_WINDOWS < current[clock[tumbling]]
    return over
