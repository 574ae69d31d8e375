"""How long the laws are tried: `RATEMILL_HYPOTHESIS=long` for a night, otherwise for a minute."""

import os

from hypothesis import HealthCheck, settings

IS_LONG = os.environ.get("RATEMILL_HYPOTHESIS") == "long"
WORLDS = 20_000 if IS_LONG else 125


def law(examples: int) -> settings:
    """How often a law is tried by default; the long profile tries it fifty times as often."""
    return settings(
        max_examples=examples * (50 if IS_LONG else 1), deadline=None, suppress_health_check=list(HealthCheck)
    )
