"""The long form of the fault tests, `make soak`: the same tests with more kills and more seeds, and a summary."""

import pytest

from tests.kafka.faults.steady import Steady
from tests.kafka.faults.summary import SUMMARY


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="the long form of the fault tests")
    parser.addoption("--seed", type=int, default=1, help="the first seed of the fault tests")


def pytest_configure(config):
    config.addinivalue_line("markers", "long_form: a variant that only the long form of the fault tests runs")


def pytest_collection_modifyitems(config, items):
    """The short form leaves out variants; pytest's closing line counts them as deselected."""
    if not config.getoption("--soak", False):
        left_out = [item for item in items if item.get_closest_marker("long_form")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_generate_tests(metafunc):
    """A test that takes a seed runs once, and in the long form once for each seed of its module's SOAK_ROUNDS."""
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--seed", 1)
        rounds = getattr(metafunc.module, "SOAK_ROUNDS", 3) if metafunc.config.getoption("--soak", False) else 1
        metafunc.parametrize("seed", range(first, first + rounds), ids=lambda seed: f"seed={seed}")


def pytest_terminal_summary(terminalreporter):
    for line in SUMMARY.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def soak(request):
    """Whether this is the long form."""
    return request.config.getoption("--soak", False)


@pytest.fixture(scope="session")
def steady(broker, tmp_path_factory):
    """Traffic whose ledger is known: from the oracle, and from a run that nothing disturbed."""
    return Steady.make(broker, tmp_path_factory.mktemp("steady"))
