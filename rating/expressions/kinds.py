"""Which parts of an expression are numbers, which texts, which conditions.

An element has no declared type: it is a number or a text by its use. Every part of the tree gets a slot; parts that
must be alike (both sides of a comparison, the results of a CASE) share one. Only `x IS NULL` says nothing about x.
"""

from typing import Literal

from sqlglot import exp

from rating.expressions.errors import ExpressionError
from rating.expressions.syntax import column_of, element_name

Kind = Literal["number", "text", "boolean"]

# Per node: what its children must be (None: all alike), and what it is itself (None: like its children).
_Signature = tuple[Kind | None, Kind | None]
_ARITHMETIC: tuple[type[exp.Expr], ...] = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Abs, exp.Floor, exp.Ceil, exp.Round, exp.Least,
    exp.Greatest,
)  # fmt: skip
_COMPARISONS: tuple[type[exp.Expr], ...] = (
    exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between, exp.Is,
)  # fmt: skip
_NUMBERS: _Signature = ("number", "number")
_ALIKE: _Signature = (None, "boolean")
_SIGNATURES: dict[type[exp.Expr], _Signature] = {
    **dict.fromkeys(_ARITHMETIC, _NUMBERS),
    **dict.fromkeys(_COMPARISONS, _ALIKE),
    exp.And: ("boolean", "boolean"),
    exp.Or: ("boolean", "boolean"),
    exp.Not: ("boolean", "boolean"),
    exp.Lower: ("text", "text"),
    exp.Upper: ("text", "text"),
    exp.Length: ("text", "number"),
    exp.Like: ("text", "boolean"),
    exp.Paren: (None, None),
    exp.Coalesce: (None, None),
}


class _Slot:
    """One unknown kind; slots that must be alike are linked to one root."""

    def __init__(self, kind: Kind | None = None) -> None:
        self.kind = kind
        self.link: _Slot | None = None

    def root(self) -> "_Slot":
        slot = self
        while slot.link is not None:
            slot = slot.link
        return slot


class Kinds:
    """The kind of every node of one tree; raises ExpressionError where two uses contradict each other."""

    def __init__(self, tree: exp.Expr, wanted: Kind) -> None:
        self._slots: dict[int, _Slot] = {}
        self._elements: dict[str, _Slot] = {}
        self._require(tree, wanted)

    def of(self, node: exp.Expr) -> Kind | None:
        """The kind of a node, None where nothing decides it."""
        return self._slots[id(node)].root().kind

    def _require(self, node: exp.Expr, kind: Kind) -> None:
        self._unite(self._infer(node), _Slot(kind), node)

    def _infer(self, node: exp.Expr) -> _Slot:
        slot = self._slot(node)
        self._slots[id(node)] = slot
        return slot

    def _slot(self, node: exp.Expr) -> _Slot:
        match node:
            case exp.Column() | exp.Dot():
                return self._elements.setdefault(element_name(node), _Slot())
            case exp.Literal():
                return _Slot("text" if node.is_string else "number")
            case exp.Boolean():
                return _Slot("boolean")
            case exp.Null():
                return _Slot()
            case exp.Case():
                return self._case(node)
            case exp.Escape():
                self._require(node.expression, "text")
                return self._infer(node.this)
            case _:
                return self._call(node)

    def _call(self, node: exp.Expr) -> _Slot:
        children, result = _SIGNATURES[type(node)]
        shared = _Slot(children)
        for child in node.iter_expressions():
            self._unite(self._infer(child), shared, child)
        return shared if result is None else _Slot(result)

    def _case(self, node: exp.Case) -> _Slot:
        condition, result = _Slot(None if node.this else "boolean"), _Slot()
        if node.this:
            self._unite(self._infer(node.this), condition, node.this)
        for branch in node.args["ifs"]:
            self._unite(self._infer(branch.this), condition, branch.this)
            self._unite(self._infer(branch.args["true"]), result, branch.args["true"])
        otherwise = node.args.get("default")
        if otherwise is not None:
            self._unite(self._infer(otherwise), result, otherwise)
        return result

    def _unite(self, found: _Slot, needed: _Slot, node: exp.Expr) -> None:
        one, other = found.root(), needed.root()
        if one is other:
            return
        if one.kind is not None and other.kind is not None and one.kind != other.kind:
            raise ExpressionError(_contradiction(node, one.kind, other.kind), column_of(node))
        other.kind = other.kind or one.kind
        one.link = other


def _contradiction(node: exp.Expr, found: Kind, needed: Kind) -> str:
    words = {"number": "a number", "text": "a text", "boolean": "a condition"}
    beside = node.parent.iter_expressions() if isinstance(node.parent, _COMPARISONS) else iter(())
    elements = (part for part in (node, *beside) if isinstance(part, exp.Column | exp.Dot))
    element = next(elements, None)
    if element is None:
        return f"{words[needed]} is needed here, this is {words[found]}"
    return f"{element_name(element)} is used as {words[needed]} and as {words[found]}"
