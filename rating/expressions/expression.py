"""Expressions ready to use: compiled once with the catalog, evaluated on whole batches of events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import polars as pl

from rating.expressions.bounds import Bounds, bounds
from rating.expressions.columns import column_value, constant_column, stretched
from rating.expressions.errors import ExpressionError
from rating.expressions.lowering import lower
from rating.expressions.nodes import Arithmetic, Constant, Element, ElementKind, Node, Quotient, Value, walk
from rating.expressions.numbers import micros
from rating.expressions.rows import row_value
from rating.expressions.syntax import parse
from schemas.decimals import QUANTITY_INTEGER_DIGITS, QUANTITY_SCALE

# A quantity is smaller than this, in micros.
_QUANTITY_END = 10 ** (QUANTITY_INTEGER_DIGITS + QUANTITY_SCALE)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One value per event.

    `values`: of a condition Boolean without nulls; of a number Int128 micros, null where SQL has NULL or where inexact.
    `inexact`: Boolean without nulls; true where the exact number has more than 6 fractional or 20 integer digits.
    """

    values: pl.Series
    inexact: pl.Series


@dataclass(frozen=True)
class Expression:
    """A compiled scalar expression; two are equal when their texts and kinds are.

    `elements` are the columns it needs: (name, "number" | "text").
    """

    text: str
    is_condition: bool
    _root: Node = field(compare=False, repr=False)
    _divisor: int = field(compare=False, repr=False)

    @cached_property
    def elements(self) -> frozenset[tuple[str, ElementKind]]:
        """The elements it reads and how."""
        return frozenset((element.name, element.kind) for element in self._leaves)

    @property
    def constant(self) -> int | None:
        """The micros of a number that is the same for every event; None if it depends on the event or is NULL."""
        value = self._root.value if isinstance(self._root, Constant) else None
        return value // self._divisor if isinstance(value, int) and not self.is_condition else None

    def evaluate(self, columns: Mapping[tuple[str, ElementKind], pl.Series], height: int) -> Evaluated:
        """The values for a batch of `height` events.

        `columns` holds one Series of that height per member of `elements`: Int128 micros for "number", String for
        "text", null where the element is absent (or, as a number, is not one).
        """
        needed = {element: columns[element.name, element.kind] for element in self._leaves}
        for element, column in needed.items():
            expected = pl.Int128 if element.kind == "number" else pl.String
            assert len(column) == height and column.dtype == expected, f"wrong column for {element}"
        reached = self._reached(needed)
        if reached.fits:
            return self._by_columns(needed, height, reached)
        return self._in_two_parts(needed, height)

    def __reduce__(self) -> tuple[Callable[[str], "Expression"], tuple[str]]:
        """Pickled as its text: the tree is nobody's format."""
        return (compile_boolean if self.is_condition else compile_number), (self.text,)

    @cached_property
    def _leaves(self) -> tuple[Element, ...]:
        found = {node for node in walk(self._root) if isinstance(node, Element)}
        return tuple(sorted(found, key=lambda element: (element.name, element.kind)))

    @cached_property
    def _reached_by_literals(self) -> Bounds | None:
        """What literals alone reach, if no integer is computed at all: an element in bounds then stays in bounds."""
        if any(isinstance(node, Arithmetic | Quotient) for node in walk(self._root)):
            return None
        return self._bounds(dict.fromkeys(self._leaves, (0, 0)))

    @cached_property
    def _safe_magnitude(self) -> int:
        """The largest power of ten that every number may reach with the whole tree inside 128 bits, or 0."""
        powers = (10**digits for digits in range(QUANTITY_INTEGER_DIGITS + QUANTITY_SCALE, -1, -1))
        return next((power for power in powers if self._fits_up_to(power)), 0)

    def _fits_up_to(self, magnitude: int) -> bool:
        return self._bounds(dict.fromkeys(self._leaves, (-magnitude, magnitude))).fits

    def _reached(self, columns: Mapping[Element, pl.Series]) -> Bounds:
        return self._reached_by_literals or self._bounds(_ranges(columns))

    def _bounds(self, ranges: Mapping[Element, tuple[int, int]]) -> Bounds:
        found = bounds(self._root, ranges)
        return found._replace(widest=max(found.widest, self._divisor))

    def _by_columns(self, columns: Mapping[Element, pl.Series], height: int, reached: Bounds) -> Evaluated:
        values = stretched(column_value(self._root, columns, height), height)
        if self.is_condition:
            return Evaluated(values.fill_null(False) if values.null_count() else values, _nowhere(height))
        quotient, inexact = values, _nowhere(height)
        if self._divisor > 1:
            by = constant_column(self._divisor, "number")
            quotient = values // by
            inexact = (quotient * by != values).fill_null(False)
        if max(-reached.low, reached.high) // self._divisor >= _QUANTITY_END - 1:
            inexact = inexact | (quotient.abs() >= constant_column(_QUANTITY_END, "number")).fill_null(False)
        if inexact.any():
            quotient = quotient.zip_with(~inexact, constant_column(None, "number"))
        return Evaluated(quotient, inexact)

    def _in_two_parts(self, columns: Mapping[Element, pl.Series], height: int) -> Evaluated:
        """The few events with very large numbers one by one, all others as columns."""
        large = self._large(columns, height)
        places = pl.Series(range(height), dtype=pl.Int64)
        order = pl.concat([places.filter(~large), places.filter(large)]).arg_sort()
        small_part = {element: column.filter(~large) for element, column in columns.items()}
        large_part = {element: column.filter(large) for element, column in columns.items()}
        large_count = int(large.sum())
        by_rows = self._by_rows(large_part, large_count)
        if large_count == height:
            return by_rows
        by_columns = self._by_columns(small_part, height - large_count, self._reached(small_part))
        return Evaluated(
            pl.concat([by_columns.values, by_rows.values]).gather(order),
            pl.concat([by_columns.inexact, by_rows.inexact]).gather(order),
        )

    def _large(self, columns: Mapping[Element, pl.Series], height: int) -> pl.Series:
        if not self._safe_magnitude:
            return stretched(pl.Series([True]), height)
        large = _nowhere(height)
        end = constant_column(self._safe_magnitude, "number")
        for element, column in columns.items():
            if element.kind == "number":
                large = large | ((column > end) | (column < constant_column(0, "number") - end)).fill_null(False)
        return large

    def _by_rows(self, columns: Mapping[Element, pl.Series], height: int) -> Evaluated:
        lists = [column.to_list() for column in columns.values()]
        events = zip(*lists, strict=True) if lists else iter([()] * height)
        found = [row_value(self._root, dict(zip(columns, event, strict=True))) for event in events]
        if self.is_condition:
            return Evaluated(pl.Series([value is True for value in found], dtype=pl.Boolean), _nowhere(height))
        exact = [_exact_micros(value, self._divisor) for value in found]
        inexact = [one is None and value is not None for one, value in zip(exact, found, strict=True)]
        return Evaluated(pl.Series(exact, dtype=pl.Int128), pl.Series(inexact, dtype=pl.Boolean))


@lru_cache(maxsize=4096)
def compile_boolean(text: str) -> Expression:
    """A condition such as `region = 'eu' AND status < 500`; raises ExpressionError."""
    lowered = lower(parse(text), "boolean")
    return Expression(text, True, lowered.node, 1)


@lru_cache(maxsize=4096)
def compile_number(text: str) -> Expression:
    """A number such as `input_tokens + 4 * output_tokens` or `1.2`; raises ExpressionError."""
    root, divisor = micros(lower(parse(text), "number"))
    if isinstance(root, Constant) and root.value is not None and _exact_micros(root.value, divisor) is None:
        raise ExpressionError("this constant has more than 6 fractional or 20 integer digits", 1)
    return Expression(text, False, root, divisor)


def _exact_micros(value: Value, divisor: int) -> int | None:
    if value is None:
        return None
    quotient, left_over = divmod(int(value), divisor)
    return quotient if not left_over and abs(quotient) < _QUANTITY_END else None


def _ranges(columns: Mapping[Element, pl.Series]) -> dict[Element, tuple[int, int]]:
    """Least and greatest value of every number in the batch, as Python integers; 0 where all are NULL."""
    ranges = {}
    for element, column in columns.items():
        low, high = (column.min(), column.max()) if element.kind == "number" else (0, 0)
        ranges[element] = (low, high) if isinstance(low, int) and isinstance(high, int) else (0, 0)
    return ranges


def _nowhere(height: int) -> pl.Series:
    return stretched(pl.Series([False]), height)
