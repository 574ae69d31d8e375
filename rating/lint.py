"""The catalog's rules (semantics 9) as problems: duplicates, references, prices that leave gaps, versions.

Owns what a valid model may not say together with the rest of the catalog. The rule: an error is what could not be
rated, or not as meant by anyone; a warning is what can be rated but is hardly meant. `compare` (rating.compare) judges
the step from one catalog to the next.

>>> from schemas.catalog import Catalog
>>> catalog = Catalog.model_validate({"sources": [{"id": "search"}, {"id": "search"}]})
>>> [problem.message for problem in lint(catalog)]
["source 'search' is defined twice"]
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rating.compare import compare
from rating.foreign import foreign_sources
from rating.lint_products import product_problems, rule_problems, version_problems
from schemas.catalog import Catalog, Product, Source, Subscription
from schemas.events import ELEMENTS_LIMIT, OWNER_ATTRIBUTES
from schemas.problems import Path, Problem, suggestion

__all__ = ["compare", "lint"]

# Comparing a misspelt id with all known ones takes some 20 us for each of them.
_MOST_COMPARISONS = 60_000
_KINDS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("organizations", "organization", lambda item: str(item.id)),
    ("subscribers", "subscriber", lambda item: str(item.email)),
    ("sources", "source", lambda item: str(item.id)),
    ("products", "product", lambda item: str(item.reference)),
    ("pricing_rules", "pricing rule", lambda item: str(item.id)),
    ("subscriptions", "subscription", lambda item: str(item.id)),
    ("credentials", "credential", lambda item: str(item.id)),
    ("refunds", "refund", lambda item: str(item.id)),
)
_ID_KEYS = {"subscribers": "email"}


def lint(catalog: Catalog, unusable: Collection[tuple[str, str]] = frozenset()) -> tuple[Problem, ...]:
    """Every problem of a catalog, in the order of its sections.

    `unusable` holds (section, id) of items that exist but did not become models: references to them are sound. The id
    "*" stands for an item whose very id is broken: any reference into its section may mean it.
    """
    names = _Names(catalog, unusable)
    return (
        *_duplicates(catalog),
        *_subscriber_problems(catalog, names),
        *(problem for i, source in enumerate(catalog.sources) for problem in _source_problems(source, i)),
        *_products(catalog, names),
        *(problem for i, rule in enumerate(catalog.pricing_rules) for problem in rule_problems(rule, i)),
        *_subscription_problems(catalog, names),
        *_credential_problems(catalog, names),
    )


def _duplicates(catalog: Catalog) -> Iterator[Problem]:
    for section, kind, identity in _KINDS:
        first: dict[str, int] = {}
        for index, item in enumerate(getattr(catalog, section)):
            name = identity(item)
            earlier = first.setdefault(name, index)
            if earlier != index:
                key = _ID_KEYS.get(section, "id")
                message = f"{kind} '{name}' is defined twice"
                yield Problem(message, (section, index, key), other=(section, earlier, key))


@dataclass(slots=True)
class _Names:
    """The ids that references may use, and how many more comparisons suggestions are worth."""

    catalog: Catalog
    unusable: Collection[tuple[str, str]]
    known: dict[str, set[str]] = field(default_factory=dict)
    comparisons_left: int = _MOST_COMPARISONS

    def __post_init__(self) -> None:
        for section, _, identity in _KINDS:
            self.known[section] = {identity(item) for item in getattr(self.catalog, section)}
        for section, name in self.unusable:
            self.known[section].add(name)

    def unknown(self, section: str, kind: str, name: str | None, path: Path) -> Iterator[Problem]:
        """A problem when the name is not one of the section's."""
        if name is None or name in self.known[section] or "*" in self.known[section]:
            return
        near = ""
        if len(self.known[section]) <= self.comparisons_left:
            self.comparisons_left -= len(self.known[section])
            near = suggestion(name, self.known[section])
        yield Problem(f"unknown {kind} '{name}'{near}", path)


def _subscriber_problems(catalog: Catalog, names: _Names) -> Iterator[Problem]:
    for index, subscriber in enumerate(catalog.subscribers):
        for place, organization in enumerate(subscriber.organizations):
            path: Path = ("subscribers", index, "organizations", place)
            yield from names.unknown("organizations", "organization", organization, path)


def _source_problems(source: Source, index: int) -> Iterator[Problem]:
    path: Path = ("sources", index)
    if source.format == "cloudevents" and source.mapping:
        yield Problem("CloudEvents have no mapping; it belongs to another format, such as kong", (*path, "mapping"))
    for foreign in foreign_sources([source]):
        if foreign.attributes.keys().isdisjoint(OWNER_ATTRIBUTES):
            message = (
                f"{source.format} records name nobody to charge; its mapping needs one of subscription, credential, "
                "subscriber, organization"
            )
            yield Problem(message, (*path, "format"))
        if len(foreign.elements) > ELEMENTS_LIMIT:
            message = f"gives {len(foreign.elements)} elements; an event has at most {ELEMENTS_LIMIT}"
            yield Problem(message, (*path, "mapping"))


def _products(catalog: Catalog, names: _Names) -> Iterator[Problem]:
    sources = {source.id: source for source in reversed(catalog.sources)}
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    for index, product in enumerate(catalog.products):
        path: Path = ("products", index)
        for place, source in enumerate(product.sources):
            yield from names.unknown("sources", "source", source, (*path, "sources", place))
        for place, rule in enumerate(product.pricing_rules):
            yield from names.unknown("pricing_rules", "pricing rule", rule, (*path, "pricing_rules", place))
        for problem in product_problems(product, sources, rules):
            yield replace(problem, path=(*path, *problem.path))
    yield from version_problems(catalog)


def _subscription_problems(catalog: Catalog, names: _Names) -> Iterator[Problem]:
    belongs = {subscriber.email: subscriber.organizations for subscriber in catalog.subscribers}
    versions = _versions(catalog.products)
    for index, one in enumerate(catalog.subscriptions):
        path: Path = ("subscriptions", index)
        yield from _pinned_product(one, names, versions, path)
        yield from names.unknown("subscribers", "subscriber", one.subscriber, (*path, "subscriber"))
        yield from names.unknown("organizations", "organization", one.organization, (*path, "organization"))
        if one.organization and one.organization not in belongs.get(one.subscriber, (one.organization,)):
            message = f"subscriber '{one.subscriber}' does not belong to organization '{one.organization}'"
            yield Problem(message, (*path, "organization"), severity="warning")
        if one.end is not None and one.end <= one.start:
            yield Problem("end does not lie after start", (*path, "end"))
        if one.cancelled_at is not None and one.cancelled_at < one.start:
            yield Problem("cancelled_at lies before start", (*path, "cancelled_at"))


def _versions(products: Iterable[Product]) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for product in products:
        versions.setdefault(product.id, []).append(product.version)
    return versions


def _pinned_product(one: Subscription, names: _Names, versions: dict[str, list[str]], path: Path) -> Iterator[Problem]:
    if not names.known["products"].isdisjoint((one.product, "*")):
        return
    there = versions.get(one.product_id)
    if there:
        message = f"product '{one.product_id}' has no version {one.product_version}, only {', '.join(there)}"
        yield Problem(message, (*path, "product"))
    else:
        yield from names.unknown("products", "product", one.product, (*path, "product"))


def _credential_problems(catalog: Catalog, names: _Names) -> Iterator[Problem]:
    subscriptions = {one.id: one for one in catalog.subscriptions}
    belongs = {subscriber.email: subscriber.organizations for subscriber in catalog.subscribers}
    for index, credential in enumerate(catalog.credentials):
        path: Path = ("credentials", index)
        yield from names.unknown("subscriptions", "subscription", credential.subscription, (*path, "subscription"))
        yield from names.unknown("subscribers", "subscriber", credential.subscriber, (*path, "subscriber"))
        subscription = subscriptions.get(credential.subscription)
        if subscription is None or credential.subscriber not in belongs:
            continue
        if credential.subscriber == subscription.subscriber:
            continue
        if subscription.organization not in belongs[credential.subscriber]:
            message = (
                f"subscriber '{credential.subscriber}' neither owns subscription '{subscription.id}' "
                "nor belongs to its organization"
            )
            yield Problem(message, (*path, "subscriber"), severity="warning")
