"""Finds what has no place in `rating/` and `schemas/`: floats, clocks, randomness, I/O, the ambient decimal context.

Syntax alone cannot see an operator on two Decimals; `test_ambient_context.py` runs the core under a hostile context
for that.
"""

import ast
from collections.abc import Iterator

from tests.tidy.source import Source

MODULES = set(
    "os sys time random secrets uuid logging warnings pathlib shutil tempfile glob socket ssl http urllib subprocess "
    "threading multiprocessing asyncio concurrent signal pickle bytewax duckdb".split()
)
SUBMODULES = {"pyarrow.parquet", "pyarrow.fs", "pyarrow.dataset", "pyarrow.csv", "pyarrow.json", "numpy.random"}
CLOCKS = {"now", "utcnow", "today", "perf_counter", "monotonic", "time_ns"}
FLOATS = {
    "Float32",
    "Float64",
    "float16",
    "float32",
    "float64",
    "longdouble",
    "truediv",
    "true_divide",
    "divide",
    "mean",
}
CONTEXTS = {"getcontext", "setcontext", "localcontext", "DefaultContext", "BasicContext", "ExtendedContext"}
NEEDS_CONTEXT = set(
    "quantize scaleb normalize fma to_integral to_integral_value to_integral_exact remainder_near sqrt".split()
)
BUILTINS = {
    "open": "I/O", "print": "I/O", "input": "I/O", "eval": "eval", "exec": "eval", "__import__": "eval",
    "hash": "a hash that differs per process", "round": "round() uses the ambient decimal context or a float",
}  # fmt: skip


def impurities(source: Source) -> list[str]:
    """Each as `path:line: what`."""
    asks = {id(name) for node in ast.walk(source.tree) for name in _types_asked_for(node)}
    return [
        f"{source.path}:{node.lineno}: {what}"
        for node in ast.walk(source.tree)
        if hasattr(node, "lineno")
        for what in _of_node(node, id(node) in asks)
    ]


def _of_node(node: ast.AST, only_asks: bool) -> Iterator[str]:
    match node:
        case ast.Constant(value=float() | complex()):
            yield f"float literal {node.value}"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield "true division"
        case ast.Name(id="float") if not only_asks:
            yield "float"
        case ast.Name(id=name) if name in CONTEXTS:
            yield f"ambient decimal context: {name}"
        case ast.Attribute(attr=name) if name in FLOATS | CONTEXTS:
            yield f"float or ambient context: .{name}"
        case ast.Import() | ast.ImportFrom():
            yield from _of_import(node)
        case ast.Call():
            yield from _of_call(node)


def _of_import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    for name in names:
        if name.split(".")[0] in MODULES or name in SUBMODULES:
            yield f"import of {name}"
        if name.startswith("io.") and name not in ("io.BytesIO", "io.StringIO"):
            yield f"import of {name}"


def _of_call(node: ast.Call) -> Iterator[str]:
    match node.func:
        case ast.Name(id=name) if name in BUILTINS:
            yield f"{name}(): {BUILTINS[name]}"
        case ast.Attribute(attr=name) if name in CLOCKS:
            yield f"clock: .{name}()"
        case ast.Attribute(value=ast.Name(id="pl" | "pa" | "np"), attr=name) if _reads_files(name):
            yield f"I/O: .{name}()"
        case ast.Attribute(value=receiver, attr=name) if name in NEEDS_CONTEXT:
            given = any(keyword.arg == "context" for keyword in node.keywords)
            if not given and not ast.unparse(receiver).lower().endswith("context"):
                yield f".{name}() without an explicit context"


def _reads_files(name: str) -> bool:
    # read_ipc also reads bytes in memory, which is how a snapshot is loaded.
    return name.startswith(("scan_", "sink_", "fromfile", "load", "save", "memmap")) or (
        name.startswith("read_") and name != "read_ipc"
    )


def _types_asked_for(node: ast.AST) -> Iterator[ast.AST]:
    """Names that only ask whether a value is a float, in order to refuse it."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
            yield from ast.walk(kinds)
        case ast.Compare(ops=[ast.Is() | ast.IsNot()], comparators=[kind]):
            yield kind
        case ast.MatchClass(cls=kind):
            yield kind
