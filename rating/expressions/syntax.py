"""From text to a syntax tree that holds nothing but what is allowed.

sqlglot parses; two gates decide. The first reads the tokens: a name before a parenthesis must be a function of the
list, a number must be one by the decimal grammar. The second walks the tree: a node, or an argument of a node, that
is not listed is refused. So a construct that this file does not know can never be evaluated.
"""

import re
from difflib import get_close_matches

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from rating.expressions.errors import ExpressionError
from schemas.decimals import DECIMAL_PATTERN

FUNCTIONS = (
    "abs", "ceil", "coalesce", "floor", "greatest", "least", "length", "lower", "mod", "round", "upper",
)  # fmt: skip
LONGEST_TEXT = 4096
DEEPEST_TREE = 100

_BEFORE_PARENTHESIS = frozenset({"and", "or", "not", "in", "between", "like", "case", "when", "then", "else", "is"})
_NUMBER = re.compile(DECIMAL_PATTERN, re.ASCII)
_TWO = frozenset({"this", "expression"})
_MANY = frozenset({"this", "expressions"})
_ONE = frozenset({"this"})

_BINARY: tuple[type[exp.Expr], ...] = (
    exp.Dot, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE,
    exp.And, exp.Or, exp.Is, exp.Escape,
)  # fmt: skip
_UNARY: tuple[type[exp.Expr], ...] = (
    exp.Boolean, exp.Paren, exp.Neg, exp.Not, exp.Abs, exp.Floor, exp.Ceil, exp.Lower, exp.Upper, exp.Length,
)  # fmt: skip
# Which arguments of which nodes may be there at all; a flag such as `negate` is listed once somebody reads it.
_ALLOWED: dict[type[exp.Expr], frozenset[str]] = {
    **dict.fromkeys(_BINARY, _TWO),
    **dict.fromkeys(_UNARY, _ONE),
    exp.Null: frozenset(),
    exp.Column: frozenset({"this", "table", "db", "catalog"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Like: _TWO | {"negate"},
    exp.In: _MANY,
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true"}),
    exp.Round: frozenset({"this", "decimals"}),
    exp.Coalesce: _MANY,
    exp.Least: _MANY | {"ignore_nulls"},
    exp.Greatest: _MANY | {"ignore_nulls"},
}

_SENTENCES: dict[type[exp.Expr], str] = {
    exp.Star: "a star is not allowed: name the element",
    exp.Subquery: "a subquery is not allowed: an expression sees only the event's own elements",
    exp.Cast: "a cast is not allowed: an element is a number or a text by its use",
    exp.Block: "only one expression is allowed, without a semicolon",
    exp.ILike: "ILIKE is not allowed: write lower(...) LIKE '...'",
    exp.DPipe: "joining texts with || is not allowed",
    exp.Bracket: "an index is not allowed: a nested element is written a.b",
    exp.JSONExtract: "a path is not allowed: a nested element is written a.b",
    exp.JSONExtractScalar: "a path is not allowed: a nested element is written a.b",
    exp.Concat: "joining texts is not allowed",
}


def parse(text: str) -> exp.Expr:
    """The checked syntax tree of one scalar expression; raises ExpressionError."""
    if len(text) > LONGEST_TEXT:
        raise ExpressionError(f"the expression is longer than {LONGEST_TEXT} characters", LONGEST_TEXT + 1)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ExpressionError("the expression is not valid Unicode", 1)
    _check_tokens(_tokens(text))
    tree = _tree(text)
    _check_nodes(tree)
    _check_depth(tree)
    return tree


def column_of(node: exp.Expr) -> int:
    """Where a node begins in the text, counted from 1: the first of its parts whose place the parser kept."""
    starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    return int(min(starts, default=0)) + 1


def element_name(node: exp.Expr) -> str:
    """The element that a column or a longer dotted name stands for: its parts joined by dots."""
    return ".".join(part.name for part in _identifiers(node))


def _identifiers(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Dot):
        return [*_identifiers(node.this), node.expression]
    if isinstance(node, exp.Column):
        return list(node.parts)
    raise ExpressionError("a name cannot follow a dot here", column_of(node))


def _tokens(text: str) -> list[Token]:
    try:
        tokens = sqlglot.tokenize(text)
    except TokenError:
        raise ExpressionError("a text or a quoted name does not end", _open_quote(text) + 1) from None
    if not tokens:
        raise ExpressionError("the expression is empty", 1)
    return tokens


def _open_quote(text: str) -> int:
    # A doubled quote closes and opens again, so it needs no case of its own.
    start = 0
    quote = ""
    for place, character in enumerate(text):
        if not quote and character in "'\"`":
            start, quote = place, character
        elif character == quote:
            quote = ""
    return start


def _check_tokens(tokens: list[Token]) -> None:
    for before, token in zip([None, *tokens], tokens, strict=False):
        column = token.start + 1
        if token.token_type == TokenType.NUMBER:
            dot = before is not None and before.token_type == TokenType.DOT
            if dot or _NUMBER.fullmatch(token.text) is None:
                written = f".{token.text}" if dot else token.text
                raise ExpressionError(f"{written} is not a decimal: write it like 0.5, 12 or 1e3", column - dot)
        if token.token_type == TokenType.SELECT:
            raise ExpressionError(_SENTENCES[exp.Subquery], column)
        if token.token_type == TokenType.L_PAREN and before is not None:
            _check_called(before)


def _check_called(token: Token) -> None:
    name = token.text.lower()
    if not name.isidentifier() or name in _BEFORE_PARENTHESIS or token.token_type == TokenType.STRING:
        return
    if name not in FUNCTIONS:
        near = get_close_matches(name, FUNCTIONS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ExpressionError(f"{token.text}() is not among {', '.join(FUNCTIONS)}{hint}", token.start + 1)


def _tree(text: str) -> exp.Expr:
    try:
        tree = sqlglot.parse_one(text, into=exp.Condition, error_level=ErrorLevel.IMMEDIATE,
                                 error_message_context=LONGEST_TEXT)  # fmt: skip
    except ParseError as error:
        raise _located(error) from None
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply", 1) from None
    return tree


def _located(error: ParseError) -> ExpressionError:
    if not error.errors:
        return ExpressionError("the expression is empty", 1)
    first = error.errors[0]
    column = len(first["start_context"]) + 1
    found = first["highlight"]
    if "missing" in first["description"]:
        return ExpressionError(f"something is missing at {found}", column)
    return ExpressionError(f"{found} is not expected here", column)


def _check_nodes(tree: exp.Expr) -> None:
    for node in tree.walk():
        allowed = _ALLOWED.get(type(node))
        if allowed is None or any(value and key not in allowed for key, value in node.args.items()):
            name = type(node).__name__.upper()
            sentence = f"{name} is not allowed" if allowed is None else f"this form of {name} is not allowed"
            raise ExpressionError(_SENTENCES.get(type(node), sentence), column_of(node))
        if isinstance(node, exp.Identifier) and not node.args.get("quoted") and not node.name.isidentifier():
            raise ExpressionError(f'{node.name} is not a name: put it in double quotes, "{node.name}"', column_of(node))
        if isinstance(node, exp.If) and not isinstance(node.parent, exp.Case):
            raise ExpressionError("IF is not allowed: write CASE WHEN ... THEN ... ELSE ... END", column_of(node))


def _check_depth(tree: exp.Expr) -> None:
    level = [tree]
    for _ in range(DEEPEST_TREE):
        level = [child for node in level for child in node.iter_expressions()]
        if not level:
            return
    raise ExpressionError("the expression is nested too deeply", column_of(level[0]))
