"""Simulated transactions of a subscription in a test mode, for its hour of twelve periods (semantics 8).

Owns: when they happen, what they say, and their ids. Does not own what they cost (`synthetic_totals`) or where they are
sent. The rule: the subscription, its start and a number decide everything, so a transaction that is produced again has
the same id, and is a duplicate. Times are microseconds UTC, quantities micros.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import xxhash

from rating.catalog import CompiledCatalog
from rating.expand import ExpandedProduct, expand
from rating.expressions import compile_number
from rating.periods import moment_of
from rating.synthetic_elements import WHOLE, SimulatedElement, metered, simulated_elements
from rating.synthetic_reading import evaluated
from schemas.catalog import Catalog, Product, Subscription
from schemas.decimals import QUANTITY_SCALE, format_scaled
from schemas.products import TestMode

PERIOD = 300_000_000
PERIODS = 12
HOUR = PERIOD * PERIODS
_MINUTES = 5
# The number of transactions of a period differs from the usual one by a quarter at most.
_SPREAD = 4
_SUCCESS = 200
_BURSTS, _BURST = 3, 5_000_000
_DISTINCT = 20
_DOUBLINGS = 12
_USUAL = 20 * WHOLE
# A period in which transactions are counted up to a bound has at most so many times the usual number of them.
_LARGEST_PERIOD = 4


class Shape(StrEnum):
    """How usage spreads: evenly, in a few seconds of each period, in few great pieces, or to and across tier bounds."""

    STEADY = "steady"
    BURSTS = "bursts"
    HEAVY_TAIL = "heavy_tail"
    TIER_BOUNDS = "tier_bounds"


@dataclass(frozen=True, slots=True)
class Pace:
    """How many transactions a minute, in which shape; another `seed` gives others."""

    rate: int = 60
    shape: Shape = Shape.STEADY
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Simulation:
    """A subscription whose usage is simulated in [start, end), and all that decides it.

    `sources` are ids, each with the names of the elements that it carries, None for all; `counted` are the bounds of
    what is priced by the number of events, `formulas` the quantities of meters.
    """

    subscription: Subscription
    product: Product
    expanded: ExpandedProduct
    sources: tuple[tuple[str, frozenset[str] | None], ...]
    credentials: tuple[str, ...]
    elements: tuple[SimulatedElement, ...]
    counted: tuple[int, ...]
    formulas: tuple[str, ...]
    start: int
    end: int
    pace: Pace

    @property
    def periods(self) -> int:
        """How many periods begin before the end."""
        return -(-(self.end - self.start) // PERIOD)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction: when, the CloudEvents event as JSON has it, and its elements: micros or text by name."""

    moment: int
    event: dict[str, Any]
    values: Mapping[str, int | str]


def simulations(
    catalog: Catalog, compiled: CompiledCatalog, pace: Pace, modes: Sequence[TestMode] = ("5min_synthetic",)
) -> list[Simulation]:
    """Those of all subscriptions whose product is settled in one of these test modes."""
    products = {product.reference: product for product in catalog.products if product.settlement_period.test_mode}
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    carried = {source.id: None if source.elements is None else frozenset(source.elements) for source in catalog.sources}
    credentials: dict[str, list[str]] = {}
    for credential in catalog.credentials:
        credentials.setdefault(credential.subscription, []).append(credential.id)
    found = []
    for row, subscription in enumerate(catalog.subscriptions):
        product = products.get(subscription.product)
        if product is None or product.settlement_period.test_mode not in modes:
            continue
        start, end = compiled.subscriptions.life[row, :2].tolist()
        ways = metered(product, rules)
        counted = {bound for way in ways if way.meter.aggregation == "count" for bound in way.bounds}
        found.append(
            Simulation(
                subscription,
                product,
                expand(product, rules),
                tuple((name, carried.get(name)) for name in product.sources or tuple(carried)),
                tuple(credentials.get(subscription.id, ())),
                simulated_elements(product, rules),
                tuple(sorted(counted)),
                tuple(sorted({way.meter.quantity for way in ways if way.meter.quantity})),
                start,
                max(start, min(end, start + HOUR)),
                pace,
            )
        )
    return found


def transactions(simulation: Simulation, period: int) -> list[Transaction]:
    """Those of one period, counted from 0, in the order of their time."""
    if not simulation.sources:
        return []
    draws = _Draws(simulation, period)
    count = _count(simulation, period, draws)
    columns = [_column(one, simulation.pace.shape, count, period, draws) for one in simulation.elements]
    offsets = sorted(_offset(simulation.pace.shape, number, count, draws) for number in range(count))
    begin = simulation.start + period * PERIOD
    made = []
    for number, offset in enumerate(offsets):
        if begin + offset >= simulation.end:
            break
        source, carried = simulation.sources[number % len(simulation.sources)]
        values = {
            one.name: column[number]
            for one, column in zip(simulation.elements, columns, strict=True)
            if carried is None or one.name in carried
        }
        stated = _event(simulation, draws, number, begin + offset, source)
        made.append(Transaction(begin + offset, {**stated, "data": _data(values)}, values))
    return _acceptable(simulation, made)


def _acceptable(simulation: Simulation, made: Sequence[Transaction]) -> list[Transaction]:
    """Those that no meter refuses: a formula may come to less than zero, or to too many digits."""
    rows = [one.values for one in made]
    refused = [False] * len(rows)
    for text in simulation.formulas:
        value = evaluated(compile_number(text), rows)
        wrong = value.inexact | (value.values < 0).fill_null(value=False)
        refused = [before or now for before, now in zip(refused, wrong, strict=True)]
    return [one for one, is_refused in zip(made, refused, strict=True) if not is_refused]


class _Draws:
    """Numbers decided by the simulation, a period and what they are for, whatever else was drawn."""

    def __init__(self, simulation: Simulation, period: int) -> None:
        seed = repr((simulation.subscription.id, simulation.start, simulation.pace.seed)).encode()
        self.identity = f"synthetic-{xxhash.xxh3_128_hexdigest(seed)}-{period}"

    def below(self, end: int, name: str, number: int) -> int:
        """A number of [0, end), each as likely as the others."""
        return xxhash.xxh64_intdigest(repr((self.identity, name, number)).encode()) * end >> 64


def _count(simulation: Simulation, period: int, draws: _Draws) -> int:
    usual = simulation.pace.rate * _MINUTES
    if simulation.pace.shape is not Shape.TIER_BOUNDS:
        return usual - usual // _SPREAD + draws.below(usual // _SPREAD * 2 + 1, "count", 0)
    stops = [stop // WHOLE for stop in _stops(simulation.counted, WHOLE)]
    near = [stop for stop in stops if stop <= usual * _LARGEST_PERIOD]
    return near[period % len(near)] if near else usual


def _stops(bounds: Sequence[int], unit: int) -> list[int]:
    """Each bound, one unit before and one after it."""
    return sorted({stop for bound in bounds for stop in (bound - unit, bound, bound + unit) if stop > 0})


def _offset(shape: Shape, number: int, count: int, draws: _Draws) -> int:
    if shape is Shape.BURSTS:
        burst = number * _BURSTS // count
        part = PERIOD // _BURSTS
        return burst * part + draws.below(part - _BURST, "burst", burst) + draws.below(_BURST, "time", number)
    begin, end = number * PERIOD // count, (number + 1) * PERIOD // count
    return begin + draws.below(max(1, end - begin), "time", number)


def _event(simulation: Simulation, draws: _Draws, number: int, moment: int, source: str) -> dict[str, Any]:
    names = simulation.credentials
    credential = {"credential": names[draws.below(len(names), "credential", number)]} if names else {}
    return {
        "specversion": "1.0",
        "id": f"{draws.identity}-{number}",
        "source": source,
        "type": "synthetic.transaction",
        "time": moment_of(moment).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "subscription": simulation.subscription.id,
        **credential,
        "synthetic": True,
    }


def _data(values: Mapping[str, int | str]) -> dict[str, Any]:
    """Nested where names have dots; numbers are decimal texts, but for the status, which is one everywhere."""
    data: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        target = data
        for parent in parents:
            target = target.setdefault(parent, {})
        if name == "status" and isinstance(value, int):
            target[last] = value // WHOLE
        else:
            target[last] = format_scaled(value, QUANTITY_SCALE) if isinstance(value, int) else value
    return data


def _column(one: SimulatedElement, shape: Shape, count: int, period: int, draws: _Draws) -> Sequence[int | str]:
    """The values of one element in all transactions of a period."""
    numbers = range(count)
    if one.name == "status":
        return [_SUCCESS * WHOLE] * count
    if one.is_text:
        texts = [value for value in one.constants if isinstance(value, str)]
        choices = [*texts, "other"] if texts else [f"{one.name}-{place}" for place in range(_DISTINCT)]
        if shape is Shape.TIER_BOUNDS and texts:
            # What a condition leaves out would miss the bound: for some periods it holds throughout.
            return [choices[period * len(choices) // PERIODS]] * count
        return [choices[draws.below(len(choices), one.name, number)] for number in numbers]
    if one.use == "compared":
        stops = _stops([value for value in one.constants if isinstance(value, int)], WHOLE) or [WHOLE]
        return [stops[draws.below(len(stops), one.name, number)] for number in numbers]
    if shape is Shape.TIER_BOUNDS and one.bounds:
        stops = _stops(one.bounds, one.unit)
        if one.use == "valued":
            return [stops[(period + number) % len(stops)] for number in numbers]
        return _to_a_stop(stops, one.unit, count, period)
    greatest = one.bounds[-1] if one.bounds else 0
    # Twice the last bound in a period, of which filters take some away, so that every tier is met.
    usual = greatest * 2 // (max(count, 1) if one.use == "summed" else 2) or _USUAL
    return [_piece(one, shape, usual // one.unit or 1, draws, number) for number in numbers]


def _piece(one: SimulatedElement, shape: Shape, usual: int, draws: _Draws, number: int) -> int:
    """A quantity with a mean of about `usual` units."""
    if shape is not Shape.HEAVY_TAIL:
        return (1 + draws.below(2 * usual, one.name, number)) * one.unit
    doublings = 0
    roll = draws.below(1 << _DOUBLINGS, f"{one.name} doubled", number)
    while roll & 1:
        roll >>= 1
        doublings += 1
    least = usual // (_DOUBLINGS // 2) or 1
    return ((1 + draws.below(2 * least, one.name, number)) << doublings) * one.unit


def _to_a_stop(stops: Sequence[int], unit: int, count: int, period: int) -> list[int]:
    """Pieces whose sum meets each stop, up to the one at which the period ends: in small steps, then stop by stop."""
    met = stops[: period % len(stops) + 1][-count:]
    if not met:
        return []
    steps = count - len(met)
    reached = [met[0] * (step + 1) // (steps + 1) // unit * unit for step in range(steps)] + list(met)
    return [after - before for before, after in zip([0, *reached], reached, strict=False)]
