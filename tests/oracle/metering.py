"""What an event brings to a charge: whether the filters let it through, its quantity, its multiplier; and counters."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from tests.oracle import sql
from tests.oracle.pricing import round_half_away
from tests.oracle.reading import Event, decimal_of, element_of, text_of

BAD_QUANTITY = "bad_quantity"
LARGEST_MULTIPLIER = 10**6


@dataclass
class Counter:
    """What one charge has metered in one window."""

    count: int = 0
    total: Fraction = Fraction(0)
    greatest: Fraction = Fraction(0)
    latest: tuple[datetime, Fraction] | None = None
    values: frozenset[Fraction | str] = frozenset()
    weighted: Fraction = Fraction(0)
    peak: Fraction = Fraction(0)

    def add(self, aggregation: str, measure: Fraction | str, time: datetime) -> None:
        self.count += 1
        if aggregation == "unique":
            self.values |= {measure}
        else:
            self.total += measure
            self.greatest = max(self.greatest, measure)
            self.latest = max(self.latest or (time, measure), (time, measure))

    def usage(self, aggregation: str) -> Fraction:
        match aggregation:
            case "count":
                return self.total
            case "sum":
                return self.total
            case "max":
                return self.greatest
            case "latest":
                return self.latest[1] if self.latest else Fraction(0)
            case "unique":
                return Fraction(len(self.values))
            case "average":
                return round_half_away(self.total / self.count, 6) if self.count else Fraction(0)
        raise AssertionError(aggregation)


def lets_through(charge: Any, event: Event) -> bool:
    """A meter's filter, and the product's rules that are nothing but a filter."""
    filters = [rule.where for rule in charge.rules if rule.multiplier is None and rule.quantity is None]
    return all(sql.is_true(where, event) for where in (charge.meter.where, *filters) if where is not None)


def measure_of(charge: Any, event: Event) -> Fraction | str | None:
    """What the meter takes from the event: None when its element is absent, BAD_QUANTITY when it is no quantity."""
    meter = charge.meter
    if meter.aggregation == "count":
        return Fraction(1)
    if meter.aggregation == "unique":
        element = element_of(event, meter.element)
        if element is None:
            return None
        number = decimal_of(element)
        return number if number is not None else _marked(text_of(element))
    formula = meter.quantity
    for rule in _matching(charge, event):
        formula = rule.quantity if rule.quantity is not None else formula
    if formula is None:
        element = element_of(event, meter.element)
        quantity = decimal_of(element)
        bad = element is not None and quantity is None
    else:
        quantity = sql.number(formula, event)
        bad = sql.unreadable(formula, event) or (quantity is not None and not _is_quantity(quantity))
    if bad or (quantity is not None and quantity < 0 and not meter.allow_negative):
        return BAD_QUANTITY
    return quantity


def _marked(text: str | None) -> str:
    """A text of its own, so that none is taken for BAD_QUANTITY."""
    return BAD_QUANTITY if text is None else f"text {text}"


def multiplier_of(charge: Any, event: Event) -> Fraction | str:
    product = Fraction(1)
    for rule in _matching(charge, event):
        if rule.multiplier is not None:
            factor = sql.number(rule.multiplier, event)
            if factor is None or not _is_quantity(factor):
                return BAD_QUANTITY
            product *= factor
    return product if _is_quantity(product) and abs(product) < LARGEST_MULTIPLIER else BAD_QUANTITY


def _matching(charge: Any, event: Event) -> list[Any]:
    return [rule for rule in charge.rules if rule.where is None or sql.is_true(rule.where, event)]


def _is_quantity(value: Fraction) -> bool:
    """At most 6 fractional and 20 integer digits."""
    return (value * 10**6).denominator == 1 and abs(value) < 10**20
