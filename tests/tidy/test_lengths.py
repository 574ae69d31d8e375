"""Functions of at most fifty lines, files of at most three hundred, and most functions far shorter."""

from statistics import median

from tests.tidy.source import PACKAGES, Source, functions, length, parse, ratchet, sources

FUNCTION_LINES = 50
FILE_LINES = 300
MEDIAN_LINES = 12


def longer_functions(files: tuple[Source, ...], limit: int) -> dict[str, int]:
    sizes = {f"{file.path}::{name}": length(node) for file in files for name, node in functions(file)}
    return {name: lines for name, lines in sizes.items() if lines > limit}


def longer_files(files: tuple[Source, ...], limit: int) -> dict[str, int]:
    sizes = {file.path: len(file.text.splitlines()) for file in files}
    return {name: lines for name, lines in sizes.items() if lines > limit}


def complaints(measured: dict[str, int], allowed: dict[str, dict]) -> list[str]:
    """What is new or grew, and what the ratchet allows without need."""
    found = [
        f"{name} has {lines} lines" + (f", {allowed[name]['lines']} allowed" if name in allowed else "")
        for name, lines in measured.items()
        if lines > allowed.get(name, {"lines": 0})["lines"]
    ]
    found += [
        f"the ratchet allows {name} {entry['lines']} lines, it has {measured.get(name, 'too few to need it')}"
        for name, entry in allowed.items()
        if measured.get(name, 0) < entry["lines"]
    ]
    found += [f"the ratchet gives no reason for {name}" for name, entry in allowed.items() if not entry.get("reason")]
    return found


def test_functions_are_short():
    assert complaints(longer_functions(sources(*PACKAGES, "tests"), FUNCTION_LINES), ratchet("functions")) == []


def test_files_are_short():
    assert complaints(longer_files(sources(*PACKAGES, "tests"), FILE_LINES), ratchet("files")) == []


def test_the_median_function_is_short():
    lines = [length(node) for file in sources(*PACKAGES) for _, node in functions(file)]
    assert median(lines) <= MEDIAN_LINES


def test_a_long_function_is_seen():
    body = "\n".join(["    x = 1"] * 50)
    file = parse("a.py", f"class A:\n  def f(self):\n{body}\n")
    assert longer_functions((file,), 50) == {"a.py::A.f": 51}
    assert longer_files((file,), 51) == {"a.py": 52}


def test_the_ratchet_only_turns_one_way():
    allowed = {"a.py::f": {"lines": 60, "reason": "a table"}}
    assert complaints({"a.py::f": 60}, allowed) == []
    assert complaints({"a.py::f": 61}, allowed) == ["a.py::f has 61 lines, 60 allowed"]
    assert complaints({"a.py::f": 59}, allowed) == ["the ratchet allows a.py::f 60 lines, it has 59"]
    assert complaints({"b.py::g": 51}, {}) == ["b.py::g has 51 lines"]
    assert "no reason" in complaints({"a.py::f": 60}, {"a.py::f": {"lines": 60, "reason": ""}})[0]
