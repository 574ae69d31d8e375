"""What holds for every test: one thread per process for Polars, and laws without a stopwatch."""

import os

# Before Polars is imported anywhere: pytest-xdist and the flow's processes are the parallelism.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ratemill",
    deadline=None,  # shared machines stall; pytest-timeout catches what hangs
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("ratemill")
