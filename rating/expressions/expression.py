"""Expressions ready to use: compiled once with the catalog, evaluated on whole batches of events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from operator import or_

import polars as pl

from rating.expressions.bounds import Bounds, bounds
from rating.expressions.columns import column_value, constant_column, is_true, stretched
from rating.expressions.compared import compared
from rating.expressions.errors import ExpressionError
from rating.expressions.lowering import lower
from rating.expressions.nodes import Arithmetic, Constant, Element, ElementKind, Node, Quotient, Value, walk
from rating.expressions.numbers import micros
from rating.expressions.rows import row_value
from rating.expressions.syntax import parse
from schemas.decimals import QUANTITY_INTEGER_DIGITS, QUANTITY_SCALE

# A quantity is smaller than this, in micros.
_QUANTITY_END: int = 10 ** (QUANTITY_INTEGER_DIGITS + QUANTITY_SCALE)


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

    @cached_property
    def compared(self) -> frozenset[tuple[str, int | str]]:
        """The elements that it compares with constants, each with the constant: micros or text."""
        return frozenset(compared(self._root))

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
        large = self._large(needed, height)
        if large is None:
            return self._by_columns(needed, height, self._safe[1])
        reached = self._bounds(_ranges(needed))
        if reached.fits:
            return self._by_columns(needed, height, reached)
        return self._in_two_parts(needed, height, large)

    def __reduce__(self) -> tuple[Callable[[str], "Expression"], tuple[str]]:
        """Pickled as its text: the tree is nobody's format."""
        return (compile_boolean if self.is_condition else compile_number), (self.text,)

    @cached_property
    def _leaves(self) -> tuple[Element, ...]:
        found = {node for node in walk(self._root) if isinstance(node, Element)}
        return tuple(sorted(found, key=lambda element: (element.name, element.kind)))

    @cached_property
    def _computes(self) -> bool:
        """Whether any integer is computed: if not, what fits 128 bits before fits them after."""
        return any(isinstance(node, Arithmetic | Quotient) for node in walk(self._root))

    @cached_property
    def _safe(self) -> tuple[int, Bounds]:
        """The magnitude that all numbers may have without a second thought, and what the tree reaches with them.

        A power of ten, so that nothing passes 128 bits nor, if possible, the bounds of a quantity; 0 if there is none.
        """
        if not self._computes:
            reached = self._bounds(dict.fromkeys(self._leaves, (0, 0)))
            return (_QUANTITY_END if reached.fits else 0), reached
        powers = [10**digits for digits in range(QUANTITY_INTEGER_DIGITS + QUANTITY_SCALE, -1, -1)]
        reaches = [(power, self._bounds(dict.fromkeys(self._leaves, (-power, power)))) for power in powers]
        fitting = [(power, reached) for power, reached in reaches if reached.fits]
        exact = (one for one in fitting if self.is_condition or not self._may_pass_a_quantity(one[1]))
        return next(exact, fitting[0] if fitting else (0, reaches[-1][1]))

    def _may_pass_a_quantity(self, reached: Bounds) -> bool:
        return max(-reached.low, reached.high) // self._divisor >= _QUANTITY_END - 1

    def _bounds(self, ranges: Mapping[Element, tuple[int, int]]) -> Bounds:
        found = bounds(self._root, ranges)
        return found._replace(widest=max(found.widest, self._divisor))

    def _by_columns(self, columns: Mapping[Element, pl.Series], height: int, reached: Bounds) -> Evaluated:
        values = stretched(column_value(self._root, columns, height), height)
        inexact = _nowhere(height)
        if self.is_condition:
            return Evaluated(is_true(values), inexact)
        if self._divisor > 1:
            by = constant_column(self._divisor, "number")
            whole = values // by
            inexact, values = is_true(whole * by != values), whole
        if self._may_pass_a_quantity(reached):
            end, negative_end = constant_column(_QUANTITY_END, "number"), constant_column(-_QUANTITY_END, "number")
            inexact = inexact | is_true((values >= end) | (values <= negative_end))
        if inexact.any():
            values = constant_column(None, "number").zip_with(inexact, values)
        return Evaluated(values.clone(), inexact)

    def _in_two_parts(self, columns: Mapping[Element, pl.Series], height: int, large: pl.Series) -> Evaluated:
        """The few events with very large numbers one by one, all others as columns."""
        places = pl.Series(range(height), dtype=pl.Int64)
        order = pl.concat([places.filter(~large), places.filter(large)]).arg_sort()
        small_part = {element: column.filter(~large) for element, column in columns.items()}
        large_part = {element: column.filter(large) for element, column in columns.items()}
        large_count = int(large.sum())
        by_rows = self._by_rows(large_part, large_count)
        if large_count == height:
            return by_rows
        by_columns = self._by_columns(small_part, height - large_count, self._safe[1])
        return Evaluated(
            pl.concat([by_columns.values, by_rows.values]).gather(order),
            pl.concat([by_columns.inexact, by_rows.inexact]).gather(order),
        )

    def _large(self, columns: Mapping[Element, pl.Series], height: int) -> pl.Series | None:
        """Which events have a number beyond the safe magnitude, None if no event has."""
        safe = self._safe[0]
        if not safe:
            return stretched(constant_column(True, "boolean"), height)
        if not self._computes:
            return None
        above, below = constant_column(safe, "number"), constant_column(-safe, "number")
        numbers = (column for element, column in columns.items() if element.kind == "number")
        outside = [one for column in numbers for one in (column > above, column < below) if one.any()]
        return is_true(reduce(or_, outside)) if outside else None

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
    return stretched(constant_column(False, "boolean"), height).clone()
