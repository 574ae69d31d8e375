"""Compiled functions hold integers only, and call none of another file (docs/decisions/0014)."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.tidy.compiled import PACKAGES, compiled_functions, faults, foreign_calls
from tests.tidy.source import ROOT, Source, parse, sources

FILES = sources(*PACKAGES)


@pytest.mark.slow
def test_no_compiled_function_holds_a_float(tmp_path):
    """All of them are compiled anew, by the work they are for."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "POLARS_MAX_THREADS": "1"}
    asked = [sys.executable, "-m", "tests.tidy.compiled"]
    run = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []
    assert list(tmp_path.rglob("*.nbi")) != []


@pytest.mark.parametrize("source", FILES, ids=lambda source: source.path)
def test_compiled_functions_call_their_own_file_only(source):
    assert foreign_calls(source) == []


def test_only_one_file_knows_the_compiler():
    """So no function is compiled in another way, and none that is escapes the look at its types."""
    assert [source.path for source in sources(*PACKAGES, "ops") if imports_numba(source)] == ["rating/compiled.py"]
    assert sum(len(compiled_functions(source)) for source in FILES) > 30
    for source in FILES:
        at_top = {id(node) for node in source.tree.body}
        assert all(id(node) in at_top for node in compiled_functions(source).values())


def imports_numba(source: Source) -> bool:
    nodes = [node for node in ast.walk(source.tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return any("numba" in ast.unparse(node).replace(".", " ").split() for node in nodes)


PLANTED = """\
import numpy as np
from rating.compiled import compiled


@compiled
def good(values, other):
    total = 0
    for place in range(len(values)):
        total += values[place] // 2
    return total + np.int64((other >> np.uint64(3)) + np.uint64(1)) + (other == np.uint64(7))


@compiled
def joined(values, other):
    for place in range(len(values)):
        other += values[place]
    return int(other)


@compiled
def divided(values):
    return int(values[0] / 2)


@compiled
def array(size):
    return len(np.zeros(size))


@compiled
def inner(pair):
    return pair[0]


@compiled
def outer(number):
    return inner((number, number * 0.5))


@compiled
def compared(values, other):
    return values[0] < other


@compiled
def mixed(values, other):
    return int(values[0] & other)


@compiled
def unused(number):
    return number
"""
BAD = {"joined", "divided", "array", "inner", "outer", "compared", "mixed", "unused was never compiled"}


def test_a_float_is_seen(tmp_path):
    module = planted(tmp_path)
    values, other = np.ones(3, np.int64), np.uint64(1)
    for function in (module.good, module.joined, module.compared, module.mixed):
        function(values, other)
    module.divided(values), module.array(3), module.outer(1)
    found = list(faults(module))
    assert {fault.split(":")[0].removeprefix("planted.") for fault in found} == BAD
    assert [fault for fault in found if "planted.divided: " in fault and "float64" in fault] != []


def planted(folder: Path) -> ModuleType:
    path = folder / "planted.py"
    path.write_text(PLANTED)
    spec = importlib.util.spec_from_file_location("planted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


START = "import numpy as np\nimport other\nfrom dataflows.steps.lines import count_lines, max\n"
FOREIGN = [
    "count_lines(x)",
    "max(x)",
    "other.f(x)",
    "other.a.f(x)",
    "plain(x)",
    "np.f(count_lines(x))",
    "f()(x)",
    "g(x)",
]
OWN = ["own(x)", "len(x)", "np.uint64(x)", "np.random.f(x)", "x.copy()", "f(f(x))", "count_lines"]


@pytest.mark.parametrize("call", FOREIGN)
def test_a_foreign_call_is_seen(call):
    assert len(foreign_calls(in_compiled(call))) == 1


@pytest.mark.parametrize("call", OWN)
def test_a_call_of_its_own_file_is_left_alone(call):
    assert foreign_calls(in_compiled(call)) == []


def in_compiled(call: str) -> Source:
    own = "@compiled\ndef own(x):\n    return x\n\ndef plain(x):\n    return count_lines(x)\n"
    return parse("a.py", f"{START}{own}@compiled\ndef f(x):\n    return {call}\n")
