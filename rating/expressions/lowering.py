"""From the checked syntax tree to the small integer tree: one rule per kind of node.

How numbers keep their denominators is in `numbers`; here is which node becomes what, and what is refused on the way.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from sqlglot import exp

from rating.expressions.errors import ExpressionError
from rating.expressions.kinds import Kind, Kinds
from rating.expressions.like import parse_pattern
from rating.expressions.nodes import (
    Absolute,
    Arithmetic,
    Between,
    Choice,
    Coalesce,
    Compare,
    Constant,
    Element,
    Extreme,
    IsNull,
    Like,
    Logic,
    Node,
    Not,
    OneOf,
    Quotient,
    TextCall,
)
from rating.expressions.numbers import MICROS, Lowered, aligned, divided, folded, product, rounded, times
from rating.expressions.syntax import column_of, element_name
from schemas.decimals import PRICE_SCALE, QUANTITY_INTEGER_DIGITS, parse_scaled

MOST_ROUNDED_DIGITS = 18

_COMPARISONS: dict[type[exp.Expr], Literal["=", "<>", "<", "<=", ">", ">="]] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip


def lower(tree: exp.Expr, wanted: Kind) -> Lowered:
    """The integer tree of a checked syntax tree; raises ExpressionError where the kinds do not fit."""
    return _Lowering(Kinds(tree, wanted)).lower(tree)


class _Lowering:
    """One walk over one tree; the kinds are known, so every rule is a line or two."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    def lower(self, node: exp.Expr) -> Lowered:
        lowered = self._lower(node)
        return Lowered(folded(lowered.node, self._kinds.of(node)), lowered.denominator)

    def _lower(self, node: exp.Expr) -> Lowered:
        match node:
            case exp.Paren():
                return self.lower(node.this)
            case exp.Column() | exp.Dot():
                return self._element(node)
            case exp.Literal() | exp.Boolean() | exp.Null():
                return self._constant(node)
            case exp.Case():
                return self._case(node)
            case exp.Coalesce():
                values, denominator = aligned(self._children(node))
                return Lowered(Coalesce(values), denominator)
            case exp.Lower() | exp.Upper() | exp.Length():
                return self._text_call(node)
            case _:
                return self._number(node) if self._kinds.of(node) == "number" else Lowered(self._condition(node))

    def _children(self, node: exp.Expr) -> list[Lowered]:
        return [self.lower(child) for child in node.iter_expressions()]

    def _element(self, node: exp.Expr) -> Lowered:
        name, kind = element_name(node), self._kinds.of(node)
        if kind == "boolean":
            raise ExpressionError(f"{name} is no condition by itself: compare it, as in {name} = 1", column_of(node))
        if kind is None:
            raise _undecided(node)
        return Lowered(Element(name, kind), MICROS if kind == "number" else 1)

    def _constant(self, node: exp.Expr) -> Lowered:
        kind = self._kinds.of(node)
        if isinstance(node, exp.Null):
            if kind is None:
                raise ExpressionError("NULL alone has no kind here", column_of(node))
            return Lowered(Constant(None, kind))
        if isinstance(node, exp.Literal) and not node.is_string:
            return _literal(node)
        return Lowered(Constant(node.this, kind or "text"))

    def _text_call(self, node: exp.Expr) -> Lowered:
        value = self.lower(node.this).node
        if isinstance(node, exp.Length):
            return Lowered(TextCall("length", value))
        return Lowered(TextCall("lower" if isinstance(node, exp.Lower) else "upper", value))

    def _case(self, node: exp.Case) -> Lowered:
        conditions = [self._when(node, branch.this) for branch in node.args["ifs"]]
        results = [self.lower(branch.args["true"]) for branch in node.args["ifs"]]
        otherwise = node.args.get("default")
        kind = self._kinds.of(node)
        if kind is None:
            raise _undecided(node)
        last = Lowered(Constant(None, kind)) if otherwise is None else self.lower(otherwise)
        values, denominator = aligned([*results, last])
        return Lowered(Choice(tuple(zip(conditions, values, strict=False)), values[-1]), denominator)

    def _when(self, node: exp.Case, condition: exp.Expr) -> Node:
        if node.this is None:
            return self.lower(condition).node
        if not isinstance(node.this, exp.Column | exp.Dot):
            # It would be computed once per branch, and nested ones without end.
            raise ExpressionError("CASE x WHEN needs an element: write CASE WHEN ... = ...", column_of(node.this))
        self._check_comparable(node, [node.this, condition])
        (left, right), _ = aligned([self.lower(node.this), self.lower(condition)])
        return Compare("=", left, right)

    def _number(self, node: exp.Expr) -> Lowered:
        match node:
            case exp.Round():
                return rounded(self.lower(node.this), self._digits(node))
            case exp.Least() | exp.Greatest():
                values, denominator = aligned(self._children(node))
                return Lowered(Extreme("least" if isinstance(node, exp.Least) else "greatest", values), denominator)
            case exp.Div() | exp.Mod():
                return self._divided(node)
            case exp.Mul():
                return product(self.lower(node.this), self.lower(node.expression))
            case exp.Add() | exp.Sub():
                (left, right), denominator = aligned([self.lower(node.this), self.lower(node.expression)])
                return Lowered(Arithmetic("+" if isinstance(node, exp.Add) else "-", left, right), denominator)
        value = self.lower(node.this)
        match node:
            case exp.Neg():
                return times(value, Fraction(-1))
            case exp.Abs():
                return Lowered(Absolute(value.node), value.denominator)
            case exp.Floor():
                return Lowered(divided(value.node, value.denominator, "floor"))
            case exp.Ceil():
                below = divided(times(value, Fraction(-1)).node, value.denominator, "floor")
                return times(Lowered(below), Fraction(-1))
        raise AssertionError(f"{type(node).__name__} passed the gate without a rule")

    def _divided(self, node: exp.Expr) -> Lowered:
        dividend, divisor = self.lower(node.this), self.lower(node.expression)
        if not isinstance(divisor.node, Constant) or not isinstance(divisor.node.value, int) or not divisor.node.value:
            operation = "division" if isinstance(node, exp.Div) else "a remainder"
            raise ExpressionError(f"{operation} needs a number other than 0 as divisor", column_of(node.expression))
        if isinstance(node, exp.Div):
            return times(dividend, Fraction(divisor.denominator, divisor.node.value))
        (value, by), denominator = aligned([dividend, divisor])
        assert isinstance(by, Constant) and isinstance(by.value, int)
        return Lowered(Quotient(value, abs(by.value), "remainder"), denominator)

    def _digits(self, node: exp.Round) -> int:
        written = node.args.get("decimals")
        if written is None:
            return 0
        digits = self.lower(written)
        value = digits.node.value if isinstance(digits.node, Constant) and digits.denominator == 1 else None
        if isinstance(value, int) and abs(value) <= MOST_ROUNDED_DIGITS:
            return value
        limit = f"between -{MOST_ROUNDED_DIGITS} and {MOST_ROUNDED_DIGITS}"
        raise ExpressionError(f"round(x, n) needs a whole number n {limit}", column_of(written))

    def _condition(self, node: exp.Expr) -> Node:
        match node:
            case exp.And() | exp.Or():
                operator: Literal["and", "or"] = "and" if isinstance(node, exp.And) else "or"
                return Logic(operator, tuple(self.lower(part).node for part in node.flatten()))
            case exp.Not():
                return Not(self.lower(node.this).node)
            case exp.Is():
                return self._is_null(node)
            case exp.Escape():
                return self._like(node.this, node.expression)
            case exp.Like():
                return self._like(node, None)
        self._check_comparable(node, list(node.iter_expressions()))
        operands, _ = aligned(self._children(node))
        match node:
            case exp.In():
                return self._one_of(node, operands)
            case exp.Between():
                return Between(*operands)
        return Compare(_COMPARISONS[type(node)], *operands)

    def _check_comparable(self, node: exp.Expr, operands: Sequence[exp.Expr]) -> None:
        for operand in operands:
            if isinstance(operand.unnest(), exp.Null):
                raise ExpressionError("a comparison with NULL is never true: write IS NULL", column_of(node))
        kind = self._kinds.of(operands[0])
        if kind is None:
            raise _undecided(operands[0])
        if kind == "boolean":
            raise ExpressionError("conditions cannot be compared: use AND, OR, NOT", column_of(node))

    def _is_null(self, node: exp.Is) -> Node:
        if not isinstance(node.expression, exp.Null):
            raise ExpressionError("IS is only for IS NULL and IS NOT NULL", column_of(node))
        value = node.this.unnest()
        if self._kinds.of(value) is None and isinstance(value, exp.Column | exp.Dot):
            name = element_name(value)
            return IsNull((Element(name, "number"), Element(name, "text")))
        return IsNull((self.lower(value).node,))

    def _one_of(self, node: exp.In, operands: Sequence[Node]) -> Node:
        value, *listed = operands
        members: list[int | str] = []
        for written, member in zip(node.expressions, listed, strict=True):
            if not isinstance(member, Constant) or member.value is None:
                raise ExpressionError("IN needs a list of literals", column_of(written))
            members.append(member.value)
        return OneOf(value, tuple(members))

    def _like(self, node: exp.Like, escape: exp.Expr | None) -> Node:
        pattern = node.expression.unnest()
        if not (isinstance(pattern, exp.Literal) and pattern.is_string):
            raise ExpressionError("LIKE needs a text literal as its pattern", column_of(node.expression))
        if escape is not None and not (isinstance(escape, exp.Literal) and len(escape.name) == 1):
            raise ExpressionError("ESCAPE needs a text of one character", column_of(escape))
        try:
            pieces = parse_pattern(pattern.name, escape.name if escape is not None else None)
        except ValueError as error:
            raise ExpressionError(str(error), column_of(pattern)) from None
        found = Like(self.lower(node.this).node, pieces)
        return Not(found) if node.args.get("negate") else found


def _literal(node: exp.Literal) -> Lowered:
    units = parse_scaled(node.name, PRICE_SCALE, QUANTITY_INTEGER_DIGITS)
    if units is None:
        limit = f"{QUANTITY_INTEGER_DIGITS} digits before and {PRICE_SCALE} after the point"
        raise ExpressionError(f"{node.name} has more than {limit}", column_of(node))
    value = Fraction(units, 10**PRICE_SCALE)
    return Lowered(Constant(value.numerator, "number"), value.denominator)


def _undecided(node: exp.Expr) -> ExpressionError:
    name = element_name(node) if isinstance(node, exp.Column | exp.Dot) else "this"
    hint = "a text literal stands in single quotes ('eu'); a + 0 makes a number, coalesce(a, '') a text"
    return ExpressionError(f"nothing says whether {name} is a number or a text: {hint}", column_of(node))
