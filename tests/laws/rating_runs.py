"""One world through the oracle and through the core, and how the two differ."""

from collections.abc import Sequence
from itertools import repeat
from random import Random

from rating.batch import key_group_of
from rating.catalog import compile_catalog
from rating.engine import RatingSettings
from rating.expand import expand
from tests.cases.checking import show, show_notice, show_standing
from tests.cases.core import Core, batches, in_order
from tests.cases.raters import micros
from tests.laws.worlds import World
from tests.oracle.oracle import Oracle
from tests.oracle.rated import Rated


def with_oracle(world: World, key_groups: int = 16) -> list[Rated]:
    """Duplicates are looked for among the events of one key group, as the core does."""
    scope = lambda subscription: key_group_of(subscription, key_groups)  # noqa: E731
    return Oracle(world.catalog, expand, world.lateness, world.skew, scope).rate_all(world.records)


def with_core(
    world: World, size: int = 50, key_groups: int = 16, through_bytes: bool = False, seed: int | None = None
) -> list[Rated]:
    """In batches of `size` records, or of random sizes if there is a seed."""
    settings = RatingSettings(key_groups=key_groups, lateness=micros(world.lateness), skew=micros(world.skew))
    core = Core(compile_catalog(world.catalog), settings, through_bytes)
    random = Random(seed)
    sizes = repeat(size) if seed is None else iter(lambda: random.choice((1, 2, 7, 50)), 0)
    for batch in batches(world.records, sizes):
        core.take(batch)
    return in_order(world.records, core.rated())


def unlike(expected: Sequence[Rated], found: Sequence[Rated]) -> list[str]:
    """Each record whose verdict, subscription or lines differ; the subscription counts only where lines may follow."""
    assert len(expected) == len(found)
    return [
        f"record {number}: expected {_said(one)}, was {_said(other)}"
        for number, (one, other) in enumerate(zip(expected, found, strict=True))
        if _said(one) != _said(other)
    ]


def _said(rated: Rated) -> str:
    subscription = rated.subscription if rated.verdict not in ("rejected", "parked", "late") else ""
    lines, notices = "; ".join(map(show, rated.lines)), "; ".join(map(show_notice, rated.notices))
    standings = "; ".join(map(show_standing, rated.standings))
    return f"{rated.verdict} {rated.reason} {subscription} [{lines}] [{notices}] [{standings}]"
