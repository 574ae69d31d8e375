"""The step from one catalog to the next (semantics 9): what may not change once somebody has bought it.

The rule: nothing that a settled period was rated by may change. A product version with subscriptions keeps its
pricing, a subscription keeps its start and product, and only what lies in open or future periods moves.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rating.expand import ExpandedProduct, expand
from rating.lint_products import is_expandable, version_step
from schemas.catalog import Catalog, Product, SettlementPeriod, Subscription, moment_text, version_key
from schemas.problems import Path, Problem

# What a product may say anew at any time: it names, describes or announces, and no amount depends on it.
_FREE_KEYS = frozenset(
    "name code description terms tags emails notification_threshold provider_notification_addresses "
    "send_invoices".split()
)
_EXPANDED_KEYS = (
    "payment_model amount rate recurring_fee included overage_rate tiers tier_mode setup_fee charges pricing_rules "
    "exempt_where minimum_spend maximum_spend"
).split()
_LONGEST_DAYS = {"minute": 1, "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


@dataclass(frozen=True, slots=True)
class _Step:
    """Both catalogs, and the moment before which periods may be settled (None: any moment may lie before it)."""

    new: Catalog
    old: Catalog
    as_of: datetime | None
    unusable: Collection[tuple[str, str]]

    def may_be_invalid(self, section: str, name: str) -> bool:
        """Whether the new catalog may hold this item as one that is told to be invalid."""
        return (section, name) in self.unusable or (section, "*") in self.unusable


def compare(
    new: Catalog, old: Catalog, as_of: datetime | None = None, unusable: Collection[tuple[str, str]] = frozenset()
) -> tuple[Problem, ...]:
    """The problems of replacing `old` by `new` at the moment `as_of`.

    Without a moment every subscription counts as running. `unusable` is as in `lint`: items of the new catalog that
    are there but not valid. A problem whose `in_old` is true has its path in the old catalog.
    """
    step = _Step(new, old, as_of, unusable)
    return (
        *_removed_products(step),
        *_changed_products(step),
        *_new_versions(step),
        *_subscription_changes(step),
        *_moved_credentials(step),
        *_changed_zones(step),
        *_changed_refunds(step),
    )


def _removed_products(step: _Step) -> Iterator[Problem]:
    kept = {product.reference for product in step.new.products}
    products = {product.reference: product for product in step.old.products}
    for index, product in enumerate(step.old.products):
        if product.reference in kept or step.may_be_invalid("products", product.reference):
            continue
        pinned = (one for one in step.old.subscriptions if one.product == product.reference)
        active = [one.id for one in pinned if _is_active(one, products, step.as_of)]
        if active:
            message = (
                f"{product.reference} is deleted, but {_some(active)} active on it; "
                "a product version stays as long as a subscription pins it"
            )
            yield Problem(message, ("products", index), in_old=True)


def _some(names: list[str]) -> str:
    rest = len(names) - 1
    more = f" and {rest} more subscription{'s' if rest > 1 else ''} are" if rest else " is"
    return f"subscription '{names[0]}'{more}"


def _is_active(one: Subscription, products: dict[str, Product], as_of: datetime | None) -> bool:
    """Whether a subscription is, or will be, in use at a moment; a cancelled one is until its period must be over."""
    if as_of is None:
        return True
    if one.end is not None and one.end <= as_of:
        return False
    product = products.get(one.product)
    if one.cancelled_at is None or product is None:
        return True
    rest = timedelta(0) if product.immediate_cancellation else _longest(product.settlement_period)
    return rest is None or one.cancelled_at > as_of - rest


def _longest(period: SettlementPeriod) -> timedelta | None:
    """The longest that one settlement period can be, or None for one without end."""
    if period.unit == "none":
        return None
    return timedelta(days=_LONGEST_DAYS[period.unit] * period.count)


def _changed_products(step: _Step) -> Iterator[Problem]:
    """Product versions that stay: with subscriptions, nothing that an amount depends on may change."""
    olds = {product.reference: product for product in step.old.products}
    used = {one.product for one in step.old.subscriptions}
    for index, product in enumerate(step.new.products):
        if product.reference not in olds:
            continue
        old = olds[product.reference]
        path: Path = ("products", index)
        yield from _changed_sources(product, old, path)
        if product.settlement_period != old.settlement_period:
            message = _period_message(product, old)
            yield Problem(message, (*path, "settlement_period"))
        if product.reference in used:
            for key in _changed_keys(product, old, step):
                message = (
                    f"{product.reference} has subscriptions, so its {key} may not change: settled periods were rated "
                    "by it; make a new version"
                )
                yield Problem(message, (*path, key))


def _period_message(product: Product, old: Product) -> str:
    return (
        f"the settlement period of a product never changes: it was {old.settlement_period} and would be "
        f"{product.settlement_period}"
    )


def _changed_sources(product: Product, old: Product, path: Path) -> Iterator[Problem]:
    if set(product.sources) != set(old.sources):
        major = version_key(old.version)[0] + 1
        message = f"changed sources ask for the next major version: add {product.id}@{major}.0.0 beside {old.reference}"
        yield Problem(message, (*path, "sources"))


def _changed_keys(product: Product, old: Product, step: _Step) -> list[str]:
    """The keys through which amounts or verdicts would change; a shorthand may become the charges it stands for."""
    keys = [
        key for key in Product.model_fields if key not in _FREE_KEYS and key not in ("settlement_period", "sources")
    ]
    changed = [key for key in keys if _judged(getattr(product, key), key) != _judged(getattr(old, key), key)]
    expanded, expanded_before = _expansion(product, step.new), _expansion(old, step.old)
    if expanded is None or expanded_before is None:
        return changed
    if expanded == expanded_before:
        return [key for key in changed if key not in _EXPANDED_KEYS]
    # A pricing rule may change under its name; then no key of the product itself differs.
    return changed if set(changed) & set(_EXPANDED_KEYS) else [*changed, "pricing_rules"]


def _judged(value: Any, key: str) -> Any:
    """A key's value without what only decides who is told, and when."""
    if key == "quotas":
        return tuple(quota.model_copy(update={"notify_at": ()}) for quota in value)
    if key == "free_trial" and value is not None:
        return value.days
    return value


def _expansion(product: Product, catalog: Catalog) -> ExpandedProduct | None:
    """What is rated, or None for a product that cannot be expanded: the lint tells why."""
    rules = {rule.id: rule.model_copy(update={"name": None}) for rule in catalog.pricing_rules}
    if any(rule not in rules for rule in product.pricing_rules) or not is_expandable(product):
        return None
    expanded = expand(product, rules)
    return replace(expanded, charges=tuple(sorted(expanded.charges, key=lambda charge: charge.id)))


def _new_versions(step: _Step) -> Iterator[Problem]:
    """Versions that are new: judged against the nearest older version, which may be in the old catalog alone."""
    olds = {product.reference: product for product in step.old.products}
    there = {product.reference for product in step.new.products}
    for index, product in enumerate(step.new.products):
        if product.reference in olds:
            continue
        before = [
            old
            for old in olds.values()
            if old.id == product.id and version_key(old.version) < version_key(product.version)
        ]
        if before:
            old = max(before, key=lambda one: version_key(one.version))
            if old.reference not in there:
                yield from version_step(old, product, ("products", index))


def _subscription_changes(step: _Step) -> Iterator[Problem]:
    news = {one.id: (index, one) for index, one in enumerate(step.new.subscriptions)}
    products = {product.reference: product for product in step.old.products}
    for old_index, old in enumerate(step.old.subscriptions):
        if step.may_be_invalid("subscriptions", old.id) or not _has_begun(old, step):
            continue
        if old.id not in news:
            if _is_active(old, products, step.as_of):
                message = (
                    f"subscription '{old.id}' is deleted while it is active; give it an end or cancelled_at instead"
                )
                yield Problem(message, ("subscriptions", old_index), in_old=True)
            continue
        index, new = news[old.id]
        path: Path = ("subscriptions", index)
        for key in ("start", "product"):
            if getattr(new, key) != getattr(old, key):
                message = (
                    f"{key} of a subscription that has begun may not change ({_shown(getattr(old, key))} before): "
                    "settled periods were rated by it; end this one and begin another"
                )
                yield Problem(message, (*path, key))
        yield from _changed_end(new, old, products.get(old.product), step, path)


def _has_begun(one: Subscription, step: _Step) -> bool:
    return step.as_of is None or one.start <= step.as_of


def _shown(value: Any) -> str:
    return moment_text(value) if isinstance(value, datetime) else str(value)


def _changed_end(
    new: Subscription, old: Subscription, product: Product | None, step: _Step, path: Path
) -> Iterator[Problem]:
    """An end may move only within periods that cannot be settled yet."""
    longest = _longest(product.settlement_period) if product else None
    if step.as_of is None or longest is None:
        return
    for key in ("end", "cancelled_at"):
        before, after = getattr(old, key), getattr(new, key)
        moments = [moment for moment in (before, after) if moment is not None]
        if before != after and min(moments) < step.as_of - longest:
            message = f"{key} reaches into settled periods: {moment_text(min(moments))} is longer ago than a period"
            yield Problem(message, (*path, key))


def _moved_credentials(step: _Step) -> Iterator[Problem]:
    olds = {credential.id: credential for credential in step.old.credentials}
    for index, credential in enumerate(step.new.credentials):
        old = olds.get(credential.id)
        if old is not None and old.subscription != credential.subscription:
            message = (
                f"credential '{credential.id}' moves from subscription '{old.subscription}' to "
                f"'{credential.subscription}', and its past usage with it; issue a new credential"
            )
            yield Problem(message, ("credentials", index, "subscription"))


def _changed_zones(step: _Step) -> Iterator[Problem]:
    olds = {organization.id: organization for organization in step.old.organizations}
    buying = {one.organization for one in step.old.subscriptions if _has_begun(one, step)}
    for index, organization in enumerate(step.new.organizations):
        old = olds.get(organization.id)
        if old is not None and old.timezone != organization.timezone and organization.id in buying:
            message = (
                f"the time zone bounds settlement periods, so it may not change from {old.timezone} "
                "while subscriptions have begun"
            )
            yield Problem(message, ("organizations", index, "timezone"))


def _changed_refunds(step: _Step) -> Iterator[Problem]:
    """A refund that was issued may stand on an invoice, which counts it by its id and by nothing else."""
    news = {refund.id: (index, refund) for index, refund in enumerate(step.new.refunds)}
    for old_index, old in enumerate(step.old.refunds):
        if step.may_be_invalid("refunds", old.id) or (step.as_of is not None and old.issued_at > step.as_of):
            continue
        if old.id not in news:
            message = (
                f"refund '{old.id}' is deleted, but it was issued: what it gave back would no longer count against its"
                " invoice"
            )
            yield Problem(message, ("refunds", old_index), in_old=True)
            continue
        index, new = news[old.id]
        for key in ("invoice", "amount"):
            if getattr(new, key) != getattr(old, key):
                message = (
                    f"{key} of a refund that was issued may not change ({getattr(old, key)} before): add another refund"
                )
                yield Problem(message, ("refunds", index, key))
