"""What holds for every test: one thread per process for Polars, and laws without a stopwatch."""

import os
from collections import Counter

# Before Polars is imported anywhere: pytest-xdist and the flow's processes are the parallelism.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# What the modules that tests share assert is told with its values, too.
pytest.register_assert_rewrite("tests.flow", "tests.kafka", "tests.ledger", "tests.ops", "tests.steps")

settings.register_profile(
    "ratemill",
    deadline=None,  # shared machines stall; pytest-timeout catches what hangs
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("ratemill")

# How the reason of a skipped test begins that needs the Kafka broker (tests/kafka/conftest.py).
NO_BROKER = "no Kafka broker: "


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """End by naming the tests that this machine could not run for want of a broker, and what makes them run."""
    yield
    reasons = {
        report.nodeid: report.longrepr[2].partition(NO_BROKER)[2]
        for report in terminalreporter.getreports("skipped")
        if NO_BROKER in report.longrepr[2]
    }
    if reasons:
        terminalreporter.section("not run: no Kafka broker")
        for path, count in sorted(Counter(nodeid.partition("::")[0] for nodeid in reasons).items()):
            terminalreporter.line(f"{path}: {count} test{'s' if count > 1 else ''}")
        for reason in sorted(set(reasons.values())):
            terminalreporter.line(f"Why: {reason}.")
