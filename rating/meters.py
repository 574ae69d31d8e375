"""Meters: which charges an event brings usage to, and how much.

Owns filters, formulas, multipliers and the reading of elements as exact numbers. Does not own running totals. The rule:
what a charge needs and cannot read exactly rejects the event; what an event does not have, it is simply not metered by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from rating.expressions import Expression
from rating.money import ONE, ONE_UNIT, divide_half_away
from rating.prices import MULTIPLIER_BOUND, Index, Mask
from rating.quantities import ABSENT, UNUSUAL, read_micros
from rating.texts import texts_of
from rating.wide import picked
from schemas.decimals import parse_quantity

Element = tuple[str, Literal["number", "text"]]
_NEITHER_TEXT_NOR_NUMBER = r"^[tf\[{]"


class Elements:
    """The elements of a batch as columns, made on demand: exact numbers, or text.

    `texts` holds per element name its JSON text, one row per event; null where the event has none.
    """

    def __init__(self, texts: Mapping[str, pl.Series], height: int) -> None:
        self._raw = texts
        self.height = height
        self._numbers: dict[str, pl.Series] = {}
        self._texts: dict[str, pl.Series] = {}

    def number(self, name: str) -> pl.Series:
        """The element as Int128 micros; null where it is absent or no decimal within bounds."""
        if name not in self._numbers:
            self._numbers[name] = _numbers(self._raw[name])
        return self._numbers[name]

    def text(self, name: str) -> pl.Series:
        """The element as text; null where it is absent or neither text nor number."""
        if name not in self._texts:
            self._texts[name] = _texts(self._raw[name])
        return self._texts[name]

    def present(self, name: str) -> Mask:
        """Where the event has the element, whatever its value."""
        return self._raw[name].is_not_null().to_numpy()

    def columns_for(self, expression: Expression, rows: Index | None) -> dict[Element, pl.Series]:
        """The columns that an expression asks for, of all rows or of these."""
        columns: dict[Element, pl.Series] = {}
        for name, kind in expression.elements:
            column = self.number(name) if kind == "number" else self.text(name)
            columns[name, kind] = column if rows is None else picked(column, rows)
        return columns


def _numbers(raw: pl.Series) -> pl.Series:
    """Plain decimals are read as a column; every other text goes to the exact reader by itself."""
    micros, kinds = read_micros(texts_of(raw))
    numbers = pl.Series(micros).cast(pl.Int128)
    if not kinds.any():
        return numbers
    unusual = np.flatnonzero(kinds == UNUSUAL)
    said = _texts(raw.gather(unusual)).to_list()
    parsed = [None if text is None else parse_quantity(text) for text in said]
    numbers = numbers.set(pl.Series(kinds == ABSENT), None)
    return numbers.scatter(unusual, pl.Series(parsed, dtype=pl.Int128)) if len(unusual) else numbers


def _texts(raw: pl.Series) -> pl.Series:
    """What JSON strings say and how numbers are written; null for booleans, arrays and objects."""
    texts = raw.str.strip_chars('"')
    escaped = np.flatnonzero(raw.str.contains("\\", literal=True).fill_null(value=False).to_numpy())
    if len(escaped):
        said = [_said(text) for text in raw.gather(escaped)]
        texts = texts.scatter(escaped, pl.Series(said, dtype=pl.String))
    composite = raw.str.contains(_NEITHER_TEXT_NOR_NUMBER)
    return texts if not composite.any() else _nothing(len(raw)).zip_with(composite, texts)


def _said(raw: str) -> str | None:
    return msgspec.json.decode(raw, type=str) if raw.startswith('"') else None


def _nothing(height: int) -> pl.Series:
    return pl.Series([None], dtype=pl.String).new_from_index(0, height)


@dataclass(frozen=True, slots=True)
class Conditional:
    """A pricing rule's expression, and the filter under which it holds (None: always)."""

    where: Expression | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Program:
    """How one meter reads an event: equal programs of several charges are evaluated once.

    `element` is the plain element of the quantity; `formulas` replace it where they hold, the last one wins.
    """

    aggregation: str
    element: str | None
    formulas: tuple[Conditional, ...]
    filters: tuple[Expression, ...]
    exempt: Expression | None
    multipliers: tuple[Conditional, ...]
    allow_negative: bool

    @property
    def elements(self) -> frozenset[str]:
        """The names of all elements that the program reads."""
        expressions = [*self.filters, *self._conditional_expressions()]
        if self.exempt is not None:
            expressions.append(self.exempt)
        named = {self.element} if self.element is not None else set()
        return frozenset(named | {name for expression in expressions for name, _ in expression.elements})

    def _conditional_expressions(self) -> Iterable[Expression]:
        for conditional in (*self.formulas, *self.multipliers):
            yield conditional.value
            if conditional.where is not None:
                yield conditional.where


@dataclass(frozen=True, slots=True)
class Reading:
    """What one program reads of some rows, one row each.

    `metered`: the charge meters the event. `exempted`: the product's exemption holds for it. `faults`: row number to
    what is wrong with it. `quantity`, `multiplier`: Int128 micros; `multiplier` None when it is 1 throughout.
    `value_hash`: (n, 2) uint64 of the distinct value, for unique meters.
    """

    metered: Mask
    exempted: Mask
    quantity: pl.Series
    multiplier: pl.Series | None = None
    value_hash: npt.NDArray[np.uint64] | None = None
    faults: dict[int, str] = field(default_factory=dict)


def read(program: Program, elements: Elements, rows: Index | None) -> Reading:
    """Reads the rows (None: all of them) with one program."""
    height = elements.height if rows is None else len(rows)
    exempted = np.zeros(height, np.bool_)
    if program.exempt is not None:
        exempted = _holds(program.exempt, elements, rows, height)
    metered = ~exempted
    for expression in program.filters:
        metered &= _holds(expression, elements, rows, height)
    faults: dict[int, str] = {}
    hashes = None
    quantity = pl.repeat(ONE, height, dtype=pl.Int128, eager=True)
    if program.aggregation == "unique":
        hashes = _value_hashes(program, elements, rows, metered, faults)
    elif program.aggregation != "count":
        quantity = _quantity(program, elements, rows, metered, faults)
    multiplier = _multiplier(program, elements, rows, metered, faults)
    return Reading(metered, exempted, quantity, multiplier, hashes, faults)


def _holds(expression: Expression | None, elements: Elements, rows: Index | None, height: int) -> Mask:
    if expression is None:
        return np.ones(height, np.bool_)
    return expression.evaluate(elements.columns_for(expression, rows), height).values.to_numpy()


def _taken(column: npt.NDArray[np.bool_] | pl.Series, rows: Index | None) -> Mask:
    values = column.to_numpy() if isinstance(column, pl.Series) else column
    return values if rows is None else values[rows]


def _value_hashes(
    program: Program, elements: Elements, rows: Index | None, metered: Mask, faults: dict[int, str]
) -> npt.NDArray[np.uint64]:
    """128-bit hashes of the values that a unique meter tells apart: the decimal where it is one, else the text."""
    assert program.element is not None, "a unique meter without an element should have been refused"
    text = elements.text(program.element)
    number = elements.number(program.element)
    unreadable = elements.present(program.element) & text.is_null().to_numpy()
    _note_faults(_taken(unreadable, rows), metered, faults, f"`{program.element}` is neither text nor a number")
    metered &= _taken(text.is_not_null(), rows)
    chosen = np.flatnonzero(metered)
    pick = chosen if rows is None else rows[chosen]
    digests = [
        xxhash.xxh3_128_digest((f"n{micros}" if micros is not None else f"t{value}").encode())
        for micros, value in zip(number.gather(pick), text.gather(pick), strict=True)
    ]
    hashes = np.zeros((len(metered), 2), np.uint64)
    hashes[chosen] = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
    return hashes


def _quantity(
    program: Program, elements: Elements, rows: Index | None, metered: Mask, faults: dict[int, str]
) -> pl.Series:
    height = len(metered)
    quantity = pl.Series([None], dtype=pl.Int128).new_from_index(0, height)
    unreadable, inexact = np.zeros(height, np.bool_), np.zeros(height, np.bool_)
    if program.element is not None:
        own = elements.number(program.element)
        quantity = own if rows is None else picked(own, rows)
        if quantity.has_nulls():
            unreadable = _taken(elements.present(program.element), rows) & quantity.is_null().to_numpy()
    for formula in program.formulas:
        applies = _holds(formula.where, elements, rows, height)
        value = formula.value.evaluate(elements.columns_for(formula.value, rows), height)
        quantity = value.values.zip_with(pl.Series(applies), quantity)
        inexact = np.where(applies, value.inexact.to_numpy(), inexact)
        unreadable = np.where(applies, _unreadable_inputs(formula.value, elements, rows, height), unreadable)
    _note_faults(unreadable, metered, faults, "the metered quantity is not a decimal of at most 20 + 6 digits")
    _note_faults(inexact, metered, faults, "the formula gives more digits than a quantity may have")
    present = quantity.is_not_null().to_numpy()
    metered &= present
    quantity = quantity if present.all() else quantity.fill_null(0)
    if not program.allow_negative:
        negative = (quantity < 0).to_numpy()
        _note_faults(negative, metered, faults, "the quantity is negative, which the meter does not allow")
    return quantity


def _unreadable_inputs(expression: Expression, elements: Elements, rows: Index | None, height: int) -> Mask:
    unreadable = np.zeros(height, np.bool_)
    for name, kind in expression.elements:
        column = elements.number(name) if kind == "number" else elements.text(name)
        if column.has_nulls():
            unreadable |= _taken(elements.present(name) & column.is_null().to_numpy(), rows)
    return unreadable


def _multiplier(
    program: Program, elements: Elements, rows: Index | None, metered: Mask, faults: dict[int, str]
) -> pl.Series | None:
    if not program.multipliers:
        return None
    height = len(metered)
    product = pl.repeat(ONE, height, dtype=pl.Int128, eager=True)
    for rule in program.multipliers:
        applies = _holds(rule.where, elements, rows, height)
        value = rule.value.evaluate(elements.columns_for(rule.value, rows), height)
        bounded = (value.values.abs() < MULTIPLIER_BOUND * ONE).fill_null(value=False) & ~value.inexact
        _note_faults(
            applies & ~bounded.to_numpy(),
            metered,
            faults,
            "a multiplier is missing, or not below 1,000,000 with 6 digits",
        )
        factor = value.values.zip_with(
            bounded & pl.Series(applies), pl.repeat(ONE, height, dtype=pl.Int128, eager=True)
        )
        exact = product * factor
        fits = ((exact % ONE_UNIT) == 0) & (exact.abs() < MULTIPLIER_BOUND * ONE * ONE)
        _note_faults(~fits.to_numpy(), metered, faults, "the product of the multipliers has more than 6 + 6 digits")
        product = divide_half_away(exact, ONE_UNIT).zip_with(fits, product)
    return product


def _note_faults(wrong: Mask, metered: Mask, faults: dict[int, str], sentence: str) -> None:
    for row in np.flatnonzero(wrong & metered).tolist():
        faults.setdefault(row, sentence)
    metered &= ~wrong
