"""Looks at compiled functions: what types their variables have, and whom they call.

`python -m tests.tidy.compiled` rates some events and prints a JSON list of all faults. It needs an empty folder in
NUMBA_CACHE_DIR: the types of what comes out of a cache are not known.
"""

import ast
import builtins
import json
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
from numba.core import ir, types
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher

from dataflows.connectors.records import open_records
from dataflows.ledger.dictionaries import encoded
from rating.dedupe import DuplicateIndex, Sightings
from tests.laws.rating_runs import with_core
from tests.laws.worlds import Limits, world
from tests.steps.comparing import ELEMENTS, decoded, decoded_chunk
from tests.steps.records import any_record
from tests.tidy.source import Source, sources

PACKAGES = ("schemas", "rating", "dataflows")


def main() -> None:
    """Every compiled function of the project, after all of them have been called."""
    work()
    modules = [import_module(module_name(source)) for source in sources(*PACKAGES) if compiled_functions(source)]
    loaded = [module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES]
    print(json.dumps([fault for module in dict.fromkeys([*modules, *loaded]) for fault in faults(module)]))


def module_name(source: Source) -> str:
    return source.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def work() -> None:
    """What a run does: read, decode, admit, rate and write, with snapshots in between."""
    lines = [any_record(Random(seed)) for seed in range(100)]
    for elements in ELEMENTS:
        decoded(lines, elements)
        decoded_chunk(b"\n".join([*lines, b""]), elements)
    for seed in range(4):
        with_core(world(Random(seed), Limits(records=60)), through_bytes=seed % 2 == 0)
    index = DuplicateIndex(None)
    for number in range(12):
        identity = np.arange(2, dtype=np.uint64).reshape(1, 2) + np.uint64(number << 40)
        seen = Sightings(identity, np.array([number]), np.array([0]))
        index.remember(seen)
        index.look(seen)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        path.write_bytes(b"\n".join(lines))
        source = open_records(path, 0)
        while len(source.read(7, 1_000)):
            pass
        source.close()
    encoded(pa.chunked_array([pa.array(["few", "few"], pa.string_view())]))


def faults(module: ModuleType) -> Iterator[str]:
    """Compiled functions of a module that were never called, or in which a float can come up."""
    for name, function in vars(module).items():
        if isinstance(function, Dispatcher) and function.py_func.__module__ == module.__name__:
            if not function.overloads:
                yield f"{module.__name__}.{name} was never compiled"
            for compilation in function.overloads.values():
                yield from (f"{module.__name__}.{name}: {fault}" for fault in _faults_of(compilation))


def _faults_of(compilation: CompileResult) -> Iterator[str]:
    """Variables that hold floats, operations that take some, and those of a signed and an unsigned 64-bit integer.

    Two such integers are compared as floats; what their sum is depends on the compiler's version, and is no uint64.
    """
    kinds = compilation.type_annotation.typemap
    for variable, kind in (*kinds.items(), ("what it returns", compilation.signature.return_type)):
        if holds_float(kind):
            yield f"{variable} is {kind}"
    for expression, signature in compilation.type_annotation.calltypes.items():
        if signature is not None and any(holds_float(kind) for kind in (*signature.args, signature.return_type)):
            yield f"line {expression.loc.line}: an operation takes {signature}"
        if isinstance(expression, ir.Expr) and expression.op in ("binop", "inplace_binop"):
            operands = [kinds[operand.name] for operand in (expression.lhs, expression.rhs)]
            if types.uint64 in operands and any(isinstance(kind, types.Integer) and kind.signed for kind in operands):
                yield f"line {expression.loc.line}: {expression} mixes {operands}"


def holds_float(kind: Any) -> bool:
    """Whether values of a type are floats, or arrays or tuples of them."""
    match kind:
        case types.Float() | types.Complex():
            return True
        case types.Array():
            return holds_float(kind.dtype)
        case types.BaseTuple():
            return any(holds_float(part) for part in kind.types)
        case types.Optional():
            return holds_float(kind.type)
        case _:
            return False


def compiled_functions(source: Source) -> dict[str, ast.FunctionDef]:
    """The functions of a file that `@compiled` stands before."""
    return {
        node.name: node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef) and any(_is_compiled(decorator) for decorator in node.decorator_list)
    }


def _is_compiled(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).split("(")[0].split(".")[-1] == "compiled"


def foreign_calls(source: Source) -> list[str]:
    """Calls in compiled functions of anything but compiled functions of the same file, NumPy and builtins."""
    own = compiled_functions(source)
    numpy, others = _imports(source.tree.body)
    return [
        f"{source.path}:{call.lineno}: {name} calls {ast.unparse(call.func)}"
        for name, function in own.items()
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and not _is_allowed(call.func, own.keys(), numpy, others)
    ]


def _imports(body: Iterable[ast.stmt]) -> tuple[set[str], set[str]]:
    """The names under which NumPy is imported, and all other imported names."""
    numpy, others = set(), set()
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                is_numpy = isinstance(node, ast.Import) and alias.name == "numpy"
                (numpy if is_numpy else others).add((alias.asname or alias.name).split(".")[0])
    return numpy, others


def _is_allowed(called: ast.expr, own: Iterable[str], numpy: set[str], others: set[str]) -> bool:
    if isinstance(called, ast.Name):
        return called.id in own or (called.id in vars(builtins) and called.id not in others)
    while isinstance(called, ast.Attribute):
        called = called.value
    # A method of a value, or a function of NumPy; what a call gives is called by nobody.
    return isinstance(called, ast.Name) and (called.id in numpy or called.id not in others)


if __name__ == "__main__":
    main()
