"""The language of templates: which parts of jinja2's a template may use, and of which types its values are.

Owns the check of a parsed template against the variables of a kind. The rule: only what cannot hang, grow or look
outside is let through, and every name, part and filter is known with its type, so that a template which passes says
something for every notification of its kind.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from jinja2 import nodes

from dataflows.templating.filters import FILTERS
from schemas.fields import read_decimal
from schemas.notification_variables import Variable, VariableType
from schemas.problems import suggestion

Part = Literal["subject", "text", "html"]

LAYOUT = "layout.html"
FOOTER = "footer.txt"
# What no mail can hold, among it halves of characters.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
BLOCKS = ("content", "footer")

_FAMILIES = {"quantity": "number", "amount": "number", "count": "number"}
_FOR_ONE_LIST = "a loop in a loop is not possible here"
_MIXED = Variable("this value of one type or another", "record", "")
_LOOP = Variable(
    "loop",
    "record",
    "where a loop is",
    members=(
        Variable("index", "count", "from 1"),
        Variable("first", "flag", "whether it is the first"),
        Variable("last", "flag", "whether it is the last"),
    ),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a template, and in which of its lines (0: in the whole of it)."""

    message: str
    line: int = 0


@dataclass(slots=True)
class Checker:
    """Checks one template of a part; `shared` are the layout and the footer, which belong to no kind."""

    part: Part
    shared: bool = False
    faults: list[Fault] = field(default_factory=list)

    def check(self, tree: nodes.Template, variables: Sequence[Variable]) -> list[Fault]:
        """Every fault, in the order of the lines."""
        names = {one.name: one for one in variables}
        self._extending(tree)
        for node in tree.body:
            self._statement(node, names, top=True)
        return sorted(set(self.faults), key=lambda fault: (fault.line, fault.message))

    def _tell(self, message: str, node: nodes.Node) -> None:
        # The parser gives some nodes no line; those in them have one.
        line = next((one.lineno for one in (node, *node.find_all(nodes.Node)) if one.lineno), 0)
        self.faults.append(Fault(message, line))

    def _extending(self, tree: nodes.Template) -> None:
        """Beside `extends` there are only blocks: anything else would be lost, or stand before the whole document."""
        extends = next((node for node in tree.body if isinstance(node, nodes.Extends)), None)
        for node in tree.body if extends is not None else ():
            blank = isinstance(node, nodes.Output) and all(
                isinstance(part, nodes.TemplateData) and part.data.isspace() for part in node.nodes
            )
            if node is not extends and not blank and not isinstance(node, nodes.Block):
                self._tell("this stands outside of a block; beside 'extends' there are only blocks", node)

    def _statement(self, node: nodes.Node, names: Mapping[str, Variable], top: bool = False) -> None:
        match node:
            case nodes.Output():
                for part in node.nodes:
                    self._shown(part, names)
            case nodes.If():
                self._type(node.test, names)
                self._body([*node.body, *node.elif_, *node.else_], names)
            case nodes.For():
                self._loop(node, names)
            case nodes.Block() if node.name in BLOCKS and self.part == "html" and (top or self.shared):
                self._body(node.body, names)
            case nodes.Extends() if top and self._takes(node, LAYOUT, "html"):
                pass
            case nodes.Include() if self._takes(node, FOOTER, "text"):
                pass
            case _:
                self._tell(self._refusal(node), node)

    def _takes(self, node: nodes.Extends | nodes.Include, name: str, part: Part) -> bool:
        stated = node.template.value if isinstance(node.template, nodes.Const) else None
        return stated == name and self.part == part and not self.shared

    def _refusal(self, node: nodes.Node) -> str:
        match node:
            case nodes.Block():
                return f"a block is {' or '.join(BLOCKS)}, stands in HTML and in no condition, loop or other block"
            case nodes.Extends() | nodes.Include():
                return f"only HTML extends '{LAYOUT}', and only text includes '{FOOTER}'"
            case _:
                word = _WORDS.get(type(node).__name__, type(node).__name__.lower())
                return f"'{word}' is not possible here; there are if, for, block, extends and include"

    def _body(self, body: Sequence[nodes.Node], names: Mapping[str, Variable]) -> None:
        for node in body:
            self._statement(node, names)

    def _loop(self, node: nodes.For, names: Mapping[str, Variable]) -> None:
        over = self._type(node.iter, names)
        if "loop" in names:
            self._tell(_FOR_ONE_LIST, node)
        if node.recursive or node.test is not None or not isinstance(node.target, nodes.Name):
            self._tell("a loop reads: for one in lines", node)
        elif over is not None and over.type != "list":
            self._tell(f"a loop runs over a list, and '{over.name}' is none", node)
        elif over is not None:
            one = Variable(node.target.name, "record", over.meaning, members=over.members)
            self._body(node.body, {**names, one.name: one, "loop": _LOOP})
        self._body(node.else_, names)

    def _shown(self, node: nodes.Expr, names: Mapping[str, Variable]) -> None:
        if isinstance(node, nodes.TemplateData):
            return
        found = self._type(node, names)
        if found is not None and found is not _MIXED and found.type in ("record", "list"):
            example = f"; write {found.name}.{found.members[0].name}" if found.type == "record" else ""
            self._tell(f"'{found.name}' cannot be shown as a whole{example}", node)

    def _type(self, node: nodes.Node | None, names: Mapping[str, Variable]) -> Variable | None:
        """The variable that an expression is or is like; None where its fault was told."""
        match node:
            case nodes.Name():
                return self._known(node.name, names, "unknown variable '{}'", node)
            case nodes.Getattr():
                return self._part(node.node, node.attr, node, names)
            case nodes.Getitem(arg=nodes.Const(value=str(name))):
                return self._part(node.node, name, node, names)
            case nodes.Const():
                return self._constant(node)
            case nodes.Filter():
                return self._filtered(node, names)
            case nodes.Compare():
                return self._compared(node, names)
            case nodes.And() | nodes.Or():
                return self._either(node.left, node.right, names)
            case nodes.Not():
                self._type(node.node, names)
                return _like("flag")
            case nodes.CondExpr(expr2=None):
                self._tell("an if within {{ }} needs an else", node)
            case nodes.CondExpr(expr2=nodes.Expr() as other):
                self._type(node.test, names)
                return self._either(node.expr1, other, names)
            case nodes.Test(name="none", args=[]):
                self._type(node.node, names)
                return _like("flag")
            case nodes.Test():
                self._tell(f"unknown test '{node.name}'; there is only: is none", node)
            case None:
                pass
            case _:
                self._tell(f"{_EXPRESSIONS.get(type(node).__name__, 'this')} is not possible here", node)
        return None

    def _known(self, name: str, names: Mapping[str, Variable], says: str, node: nodes.Node) -> Variable | None:
        if name in names:
            return names[name]
        self._tell(says.format(name) + suggestion(name, names), node)
        return None

    def _part(self, of: nodes.Node, name: str, node: nodes.Node, names: Mapping[str, Variable]) -> Variable | None:
        whole = self._type(of, names)
        if whole is None:
            return None
        if whole.type != "record":
            self._tell(f"'{whole.name}' has no parts, so it has no '{name}'", node)
            return None
        parts = {one.name: one for one in whole.members}
        return self._known(name, parts, f"'{whole.name}' has no '{{}}'", node)

    def _constant(self, node: nodes.Const) -> Variable | None:
        match node.value:
            case None:
                self._tell("whether a value is null is asked with: is none", node)
                return None
            case bool():
                return _like("flag")
            case int():
                return _like("count")
            case str(text) if not UNPRINTABLE.search(text):
                return _like("text")
            case str():
                self._tell("this text holds a control character", node)
                return None
            case _:
                self._tell(f'{node.value} loses digits; write "{node.value}"|decimal', node)
                return None

    def _either(self, left: nodes.Node, right: nodes.Node, names: Mapping[str, Variable]) -> Variable | None:
        found, other = self._type(left, names), self._type(right, names)
        return _choice(found, other)

    def _filtered(self, node: nodes.Filter, names: Mapping[str, Variable]) -> Variable | None:
        given = self._type(node.node, names)
        known = FILTERS.get(node.name)
        if known is None:
            self._tell(f"unknown filter '{node.name}'{suggestion(node.name, FILTERS)}", node)
            return None
        if node.kwargs or node.dyn_args or node.dyn_kwargs or len(node.args) > bool(known.argument):
            self._tell(f"the filter '{node.name}' takes {'one value' if known.argument else 'nothing'} besides", node)
        elif known.needs_argument and not node.args:
            self._tell(f"the filter '{node.name}' needs a value", node)
        if node.name == "decimal" and not _is_decimal(node.node):
            self._tell("the filter 'decimal' takes a decimal as it is written, such as \"0.8\"|decimal", node)
        arguments = [self._type(argument, names) for argument in node.args]
        for argument in arguments:
            self._fits(argument, known.argument, node)
        self._fits(given, known.takes, node)
        return _like(known.gives) if known.gives is not None else _choice(given, *arguments[:1] or [None])

    def _fits(self, given: Variable | None, wanted: Sequence[str], node: nodes.Filter) -> None:
        if given is not None and wanted and given.type not in wanted:
            self._tell(f"the filter '{node.name}' takes {_words(wanted)}, and '{given.name}' is {given.type}", node)

    def _compared(self, node: nodes.Compare, names: Mapping[str, Variable]) -> Variable:
        left = self._type(node.expr, names)
        for operand in node.ops:
            right = self._type(operand.expr, names)
            if operand.op in ("in", "notin"):
                self._tell("'in' is not possible here; compare with ==", node)
            elif left is not None and right is not None and _family(left) != _family(right):
                self._tell(f"'{left.name}' is {left.type} and cannot be compared with {right.type}", node)
        return _like("flag")


def _like(kind: VariableType) -> Variable:
    return Variable(f"this {'decimal' if kind == 'quantity' else kind}", kind, "")


def _choice(one: Variable | None, other: Variable | None) -> Variable | None:
    """What may be either of two: of their type, or when these differ, of none that a filter takes."""
    if one is None or other is None or _family(one) == _family(other):
        return one or other
    return next((whole for whole in (one, other) if whole.type in ("record", "list")), _MIXED)


def _is_decimal(node: nodes.Node | None) -> bool:
    try:
        return isinstance(node, nodes.Const) and isinstance(read_decimal(node.value), Decimal)
    except ValueError:
        return False


def _family(one: Variable) -> str:
    return _FAMILIES.get(one.type, one.type)


def _words(kinds: Sequence[str]) -> str:
    return " or ".join(kinds)


_WORDS = {
    "Assign": "set",
    "AssignBlock": "set",
    "CallBlock": "call",
    "FilterBlock": "filter",
    "FromImport": "from",
    "Scope": "autoescape",
}
_EXPRESSIONS = {
    "Call": "a call",
    "Concat": "joining with ~",
    "Getitem": "an index",
    "Slice": "a slice",
    "Tuple": "a list of values",
    "List": "a list of values",
    "Dict": "a mapping",
} | dict.fromkeys(("Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow", "Neg", "Pos"), "arithmetic")
