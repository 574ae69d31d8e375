"""The project's own Python files, parsed once, and the ratchet of allowed exceptions."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "rating", "dataflows", "ops")
CORE = ("schemas", "rating")


@dataclass(frozen=True)
class Source:
    """One parsed file; `path` is relative to the checkout."""

    path: str
    text: str
    tree: ast.Module


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Every Python file under the folders."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(parse(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files)


def parse(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, filename=path))


def functions(source: Source) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Each function with its dotted name, nested ones too."""
    yield from _functions(source.tree, "")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def length(node: ast.stmt) -> int:
    """Lines from the first to the last, decorators not counted."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def ratchet(section: str) -> dict[str, dict]:
    """The allowed exceptions of one kind, each with a reason; see ratchet.toml."""
    return tomllib.loads((ROOT / "tests/tidy/ratchet.toml").read_text())[section]
