"""What may be wrong with a product, its versions and the pricing rules. Paths are relative to the product.

Payment models have their keys, meters their element, quotas a limit that the tiers can price, and every expression
compiles.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import pairwise

from rating.expand import SHORTHAND_CHARGE
from rating.expressions import ExpressionError, compile_boolean, compile_number
from rating.lint_prices import price_problems, tier_problems
from schemas.catalog import Catalog, Product, Quota, Source, version_key
from schemas.decimals import QUANTITY_SCALE, format_scaled, scaled_quantity
from schemas.prices import COUNT, Charge, IncludedPrice, Meter, Price, PricingRule, Tier
from schemas.problems import Path, Problem

# Which keys each payment model needs and which it may have (contracts 2).
_NEEDED: Mapping[str | None, tuple[str, ...]] = {
    None: (),
    "one_time": ("amount",),
    "transactional": ("rate",),
    "subscription": ("recurring_fee",),
    "subscription_overage": ("recurring_fee", "overage_rate"),
    "volume": ("tiers",),
}
_ALLOWED: Mapping[str | None, tuple[str, ...]] = {
    None: ("recurring_fee",),
    "subscription_overage": ("included",),
    "volume": ("recurring_fee", "included", "tier_mode"),
}
_SHORTHAND_KEYS = ("amount", "rate", "recurring_fee", "included", "overage_rate", "tiers", "tier_mode")
_WHOLE_METERS = ("count", "unique")


def product_problems(
    product: Product, sources: Mapping[str, Source], rules: Mapping[str, PricingRule]
) -> Iterator[Problem]:
    """The problems of one product version by itself."""
    yield from _shorthand_problems(product)
    yield from _repeated("source", product.sources, ("sources",))
    yield from _repeated("pricing rule", product.pricing_rules, ("pricing_rules",))
    yield from _spend_problems(product.minimum_spend, product.maximum_spend, ())
    yield from expression_problems(product.exempt_where, "boolean", ("exempt_where",))
    yield from _charge_problems(product)
    yield from _quota_problems(product)
    yield from _unfed(product, _feedable(product, sources))
    yield from _idle_rules(product, rules)


def rule_problems(rule: PricingRule, index: int) -> Iterator[Problem]:
    """The problems of a pricing rule."""
    path: Path = ("pricing_rules", index)
    if rule.where is None and rule.multiplier is None and rule.quantity is None:
        yield Problem("does nothing; it needs a where, a multiplier or a quantity", path)
    yield from expression_problems(rule.where, "boolean", (*path, "where"))
    yield from expression_problems(rule.multiplier, "number", (*path, "multiplier"))
    yield from expression_problems(rule.quantity, "number", (*path, "quantity"))


def version_problems(catalog: Catalog) -> Iterator[Problem]:
    """What may not differ between the versions of one product."""
    versions: dict[str, list[int]] = {}
    for index, product in enumerate(catalog.products):
        versions.setdefault(product.id, []).append(index)
    for indexes in versions.values():
        indexes.sort(key=lambda index: version_key(catalog.products[index].version))
        for earlier, later in pairwise(indexes):
            before, after = catalog.products[earlier], catalog.products[later]
            yield from version_step(before, after, ("products", later), ("products", earlier))


def version_step(before: Product, after: Product, path: Path, other: Path | None = None) -> Iterator[Problem]:
    """What may not differ from one version to the next; `path` leads to `after`, `other` to `before`."""
    if before.settlement_period != after.settlement_period:
        message = (
            f"the settlement period of a product never changes, but {before.reference} has {before.settlement_period} "
            f"and {after.reference} has {after.settlement_period}; sell it as another product"
        )
        yield Problem(message, (*path, "settlement_period"), other=other and (*other, "settlement_period"))
    same_major = version_key(before.version)[0] == version_key(after.version)[0]
    if same_major and set(before.sources) != set(after.sources) and before.version != after.version:
        message = (
            f"changed sources ask for the next major version: make this {version_key(before.version)[0] + 1}.0.0, "
            f"or keep the sources of {before.reference}"
        )
        yield Problem(message, (*path, "sources"), other=other and (*other, "sources"))


def is_expandable(product: Product) -> bool:
    """Whether the payment model has the keys that it needs."""
    return all(getattr(product, key) is not None for key in _NEEDED[product.payment_model]) and product.tiers != ()


def expression_problems(text: str | None, kind: str, path: Path) -> Iterator[Problem]:
    """The problem of an expression that does not compile. `kind` is boolean or number."""
    message = None if text is None else _expression_error(text, kind)
    if message is not None:
        yield Problem(message, path)


@cache
def _expression_error(text: str, kind: str) -> str | None:
    try:
        compile_boolean(text) if kind == "boolean" else compile_number(text)
    except ExpressionError as error:
        return str(error)
    return None


def _shorthand_problems(product: Product) -> Iterator[Problem]:
    model = product.payment_model
    for key in _NEEDED[model]:
        if getattr(product, key) is None:
            yield Problem(f"payment model {model} needs the key '{key}'", (key,))
    allowed = (*_NEEDED[model], *_ALLOWED.get(model, ()))
    for key in _SHORTHAND_KEYS:
        if getattr(product, key) is not None and key not in allowed:
            having = [str(one) for one in _NEEDED if key in (*_NEEDED[one], *_ALLOWED.get(one, ())) and one]
            says = f"payment model {model} has no key '{key}'" if model else f"'{key}' needs a payment_model"
            yield Problem(f"{says} (it belongs to {', '.join(having)})", (key,))
    if model == "volume" and product.tiers is not None:
        mode = product.tier_mode or "graduated"
        yield from tier_problems(product.tiers, mode, whole=True, at=("tiers",))
    if model is None and not product.charges and product.recurring_fee is None and product.setup_fee is None:
        yield Problem("charges nothing: it has no payment_model, charges or fees", (), severity="warning")


def _repeated(kind: str, names: Sequence[str], path: Path) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{kind} '{name}' is listed twice", (*path, index))


def _spend_problems(least: Decimal | None, greatest: Decimal | None, path: Path) -> Iterator[Problem]:
    if least is not None and greatest is not None and least > greatest:
        yield Problem(f"minimum_spend {least} is greater than maximum_spend {greatest}", (*path, "minimum_spend"))


def _charge_problems(product: Product) -> Iterator[Problem]:
    taken = (
        {SHORTHAND_CHARGE} if product.payment_model in ("transactional", "subscription_overage", "volume") else set()
    )
    for index, charge in enumerate(product.charges):
        path: Path = ("charges", index)
        if charge.id in taken:
            why = f" (payment model {product.payment_model} has one)" if charge.id == SHORTHAND_CHARGE else ""
            yield Problem(f"charge '{charge.id}' is defined twice{why}", (*path, "id"))
        taken.add(charge.id)
        yield from _meter_problems(charge.meter, (*path, "meter"))
        yield from price_problems(charge.price, whole=_is_whole(charge.meter), at=(*path, "price"))
        yield from _spend_problems(charge.minimum_spend, charge.maximum_spend, path)


def _is_whole(meter: Meter) -> bool:
    return meter.aggregation in _WHOLE_METERS


def _meter_problems(meter: Meter, path: Path) -> Iterator[Problem]:
    given = [key for key in ("element", "quantity") if getattr(meter, key) is not None]
    match meter.aggregation:
        case "count":
            for key in given:
                yield Problem(f"a count meter counts events and has no {key}", (*path, key))
        case "unique":
            if given != ["element"]:
                yield Problem("a unique meter needs an element and no quantity", path)
        case aggregation:
            if len(given) != 1:
                yield Problem(f"a meter of {aggregation} needs either an element or a quantity", path)
    yield from expression_problems(meter.quantity, "number", (*path, "quantity"))
    yield from expression_problems(meter.where, "boolean", (*path, "where"))


def _quota_problems(product: Product) -> Iterator[Problem]:
    names: set[str] = set()
    for index, quota in enumerate(product.quotas):
        path: Path = ("quotas", index)
        if quota.name in names:
            yield Problem(f"quota '{quota.name}' is defined twice", (*path, "name"))
        names.add(quota.name)
        yield from _meter_problems(quota.meter or COUNT, (*path, "meter"))
        yield from _uncuttable(quota, path)
        if quota.on_exceed == "block" and not quota.limit:
            yield Problem(
                "a quota of 0 that blocks lets nothing through; end the subscription instead", (*path, "limit")
            )
        if ":" in quota.name:
            yield Problem("a quota's name has no colon: the topic `quota.verdicts` parts it by one", (*path, "name"))
        if (quota.meter or COUNT).aggregation == "count" and scaled_quantity(quota.limit) % 10**QUANTITY_SCALE:
            yield Problem(f"limit {quota.limit} is no whole number, but the quota counts events", (*path, "limit"))
        if quota.window is None:
            for charge_path, meter, price in _priced(product):
                if meter == (quota.meter or COUNT):
                    yield from _quota_against_price(quota, path, price, charge_path)
    yield from _overage_without_room(product)


def _uncuttable(quota: Quota, path: Path) -> Iterator[Problem]:
    """What blocks must be able to let a part of an event through."""
    aggregation = (quota.meter or COUNT).aggregation
    if quota.on_exceed == "block" and aggregation not in ("count", "sum"):
        message = (
            f"a quota that blocks meters `count` or `sum`: of `{aggregation}` no part of an event can be let through;"
            " write on_exceed: overage"
        )
        yield Problem(message, (*path, "on_exceed"))


def _priced(product: Product) -> Iterator[tuple[Path, Meter, Price | tuple[Tier, ...]]]:
    """Every charge of a product as the path of its price, its meter and its price; the shorthand's are its tiers."""
    if product.payment_model == "volume" and product.tiers:
        yield (), COUNT, product.tiers
    for index, charge in enumerate(product.charges):
        yield ("charges", index, "price"), charge.meter, charge.price


def _quota_against_price(
    quota: Quota, path: Path, price: Price | tuple[Tier, ...], price_path: Path
) -> Iterator[Problem]:
    """A limit beyond what the tiers can price, and tiers beyond a limit that blocks."""
    included = Decimal(0)
    if isinstance(price, IncludedPrice):
        included, price, price_path = price.included, price.then, (*price_path, "then")
    tiers = price if isinstance(price, tuple) else getattr(price, "tiers", None) or ()
    limit = scaled_quantity(quota.limit) - scaled_quantity(included)
    last = tiers[-1].up_to if tiers else None
    if last is not None and limit > scaled_quantity(last):
        yield Problem(f"limit {quota.limit} is beyond {last}, the most that the tiers can price", (*path, "limit"))
    for index, tier in enumerate(tiers[:-1], start=1):
        if quota.on_exceed == "block" and tier.up_to is not None and scaled_quantity(tier.up_to) >= limit:
            reach = format_scaled(max(limit, 0), QUANTITY_SCALE)
            message = f"dead tier: quota '{quota.name}' blocks usage before it, at {reach}"
            yield Problem(message, (*price_path, "tiers", index), severity="warning")


def _overage_without_room(product: Product) -> Iterator[Problem]:
    """With overage, a quota on transactions says from where the overage rate applies; `included` should agree."""
    if product.payment_model != "subscription_overage":
        return
    for index, quota in enumerate(product.quotas):
        counts_transactions = quota.window is None and (quota.meter or COUNT) == COUNT
        if counts_transactions and quota.on_exceed == "overage" and quota.limit != (product.included or 0):
            message = (
                f"the overage rate applies above {product.included or 0} included transactions, not above this limit "
                f'of {quota.limit}; write included: "{quota.limit}" to make them agree'
            )
            yield Problem(message, ("quotas", index, "limit"), severity="warning")


def _feedable(product: Product, sources: Mapping[str, Source]) -> set[str] | None:
    """The elements that the product's sources carry, or None when one of them may carry anything."""
    listed = [sources[one] for one in product.sources if one in sources] if product.sources else list(sources.values())
    if not listed or any(source.elements is None for source in listed):
        return None
    return {element for source in listed for element in source.elements or ()}


def _unfed(product: Product, fed: set[str] | None) -> Iterator[Problem]:
    if fed is None:
        return
    for index, charge in enumerate(product.charges):
        for key, needed in _needed_elements(charge):
            if needed and fed.isdisjoint(needed):
                message = f"no source of the product carries {' or '.join(sorted(needed))}; the charge is never fed"
                yield Problem(message, ("charges", index, "meter", key), severity="warning")


def _needed_elements(charge: Charge) -> Iterator[tuple[str, set[str]]]:
    meter = charge.meter
    if meter.element is not None:
        yield "element", {meter.element}
    for key, text, kind in (("quantity", meter.quantity, "number"), ("where", meter.where, "boolean")):
        if text is not None and _expression_error(text, kind) is None:
            expression = compile_boolean(text) if kind == "boolean" else compile_number(text)
            yield key, {name for name, _ in expression.elements}


def _idle_rules(product: Product, rules: Mapping[str, PricingRule]) -> Iterator[Problem]:
    measured = any(not _is_whole(charge.meter) for charge in product.charges)
    for index, name in enumerate(product.pricing_rules):
        rule = rules.get(name)
        if rule is not None and rule.quantity is not None and not measured:
            message = f"pricing rule '{name}' changes a quantity, but no charge of the product meters one"
            yield Problem(message, ("pricing_rules", index), severity="warning")
