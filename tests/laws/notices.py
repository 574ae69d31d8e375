"""Which thresholds were told of, where that depends on nothing but what was used."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from schemas.catalog import Catalog
from tests.oracle.rated import Rated

_MAY_FALL = ("latest", "average")


def crossed(catalog: Catalog, rated: Sequence[Rated]) -> Counter[tuple[Any, ...]]:
    """How often each threshold was told of in each window, of usage that never falls."""
    products = {product.reference: product for product in catalog.products}
    falling = {
        (subscription.id, name)
        for subscription in catalog.subscriptions
        for name, meter in _meters(products[subscription.product])
        if meter is not None and (meter.aggregation in _MAY_FALL or meter.allow_negative)
    }
    return Counter(
        (one.subscription, notice.kind, notice.of, notice.tier, notice.share, notice.window)
        for one in rated
        for notice in one.notices
        if (one.subscription, notice.of) not in falling
    )


def _meters(product: Any) -> list[tuple[str, Any]]:
    return [(one.id, one.meter) for one in product.charges] + [(one.name, one.meter) for one in product.quotas]
