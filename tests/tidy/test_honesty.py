"""No stub, no note to do it later, no test that is quietly skipped, a docstring on every public thing."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import pytest

from tests.tidy.source import PACKAGES, Source, functions, parse, ratchet, sources

LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK|TBD)\b")
SKIPS = {"skip", "skipif", "xfail", "importorskip", "SkipTest"}


def stubs(source: Source) -> list[str]:
    found = [
        f"{source.path}:{token.start[0]}: {token.string.strip()}"
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline)
        if token.type == tokenize.COMMENT and LATER.search(token.string)
    ]
    found += [
        f"{source.path}:{node.lineno}: NotImplementedError"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc)
    ]
    return found + [f"{source.path}:{node.lineno}: {name} does nothing" for name, node in _empty_functions(source)]


def _empty_functions(source: Source) -> Iterator[tuple[str, ast.stmt]]:
    protocols = {
        id(method)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
        for method in node.body
    }
    for name, node in functions(source):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        only_pass = all(isinstance(statement, ast.Pass) or _is_ellipsis(statement) for statement in body)
        overload = any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
        if only_pass and not overload and id(node) not in protocols and not (body == [] and ast.get_docstring(node)):
            yield name, node


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def undocumented(source: Source) -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""
    found = [] if ast.get_docstring(source.tree) else [f"{source.path}: module"]
    for node in source.tree.body:
        found += [
            f"{source.path}:{thing.lineno}: {name}" for name, thing in _public(node) if not ast.get_docstring(thing)
        ]
    return found


def _public(node: ast.stmt) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
        yield node.name, node
        # Methods of a subclass are described where the base declares them.
        if isinstance(node, ast.ClassDef) and not _overrides(node):
            for child in node.body:
                yield from ((f"{node.name}.{name}", thing) for name, thing in _public(child))


def _overrides(node: ast.ClassDef) -> bool:
    bases = [ast.unparse(base) for base in node.bases]
    return any(re.search(r"(Source|Sink|Partition|Logic)\b", base) for base in bases)


def skipped(source: Source) -> list[str]:
    return [
        f"{source.path}:{node.lineno}"
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and node.attr in SKIPS) or (isinstance(node, ast.Name) and node.id in SKIPS)
    ]


@pytest.mark.parametrize("source", sources(*PACKAGES, "tests"), ids=lambda source: source.path)
def test_nothing_is_left_for_later(source):
    assert stubs(source) == []


@pytest.mark.parametrize("source", sources(*PACKAGES), ids=lambda source: source.path)
def test_public_things_have_a_docstring(source):
    assert undocumented(source) == []


def test_no_test_is_skipped_unlisted():
    found = {place.rsplit(":", 1)[0] for source in sources("tests") for place in skipped(source)}
    assert found == set(ratchet("skips"))
    assert all(entry.get("reason") for entry in ratchet("skips").values())


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # TO" + "DO later",
        "def f():\n    raise NotImplementedError('later')",
        "def f():\n    pass",
        "class A:\n    def f(self): ...",
    ],
)
def test_a_stub_is_seen(text):
    assert len(stubs(parse("a.py", text))) == 1


def test_a_protocol_is_no_stub():
    assert stubs(parse("a.py", "class A(Protocol):\n    def f(self): ...\n")) == []


def test_a_missing_docstring_is_seen():
    text = (
        '"""M."""\nclass A:\n    """A."""\n    def f(self): return 1\n    def _g(self): return 1\ndef h(): return 1\n'
    )
    assert undocumented(parse("a.py", text)) == ["a.py:4: A.f", "a.py:6: h"]


@pytest.mark.parametrize(
    "text", ["@pytest.mark.skip\ndef test(): x()", "pytest.xfail('so')", "from pytest import skip\nskip()"]
)
def test_a_skipped_test_is_seen(text):
    assert len(skipped(parse("a.py", text))) == 1
