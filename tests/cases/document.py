"""The catalog lines of a case: they build the same document that a catalog's YAML holds."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from tests.cases.words import CaseError, Words

DEFAULT_SOURCE = "api"
DEFAULT_START = "2026-01-01T00:00:00Z"
KINDS = ("organizations", "subscribers", "sources", "products", "pricing_rules", "subscriptions", "credentials")


class CatalogReading:
    """A catalog being read, line by line."""

    def __init__(self) -> None:
        self.document: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        self.metered: dict[str, Any] | None = None

    def complete(self, named: Iterable[str]) -> None:
        """Fills in the subscriptions, subscribers and sources that the case only names."""
        document = self.document
        products = document["products"]
        if not document["subscriptions"] and products:
            for name in dict.fromkeys(named):
                document["subscriptions"].append({"id": name, "product": _reference(products[-1])})
        known = {subscriber["email"] for subscriber in document["subscribers"]}
        for subscription in document["subscriptions"]:
            subscription.setdefault("start", DEFAULT_START)
            email = subscription.setdefault("subscriber", f"{subscription['id']}@case.example")
            if email not in known:
                known.add(email)
                document["subscribers"].append({"email": email})
        sources = {source for product in products for source in product.get("sources", [])}
        document["sources"] += [{"id": source} for source in sorted(sources | {DEFAULT_SOURCE})]

    def _read_product(self, words: Words) -> None:
        product = {"id": words.word("the product's id"), "version": "1.0.0", "currency": "USD"}
        product |= {"settlement_period": "month"} | keys_of(words)
        self.document["products"].append(product)

    def _product(self) -> dict[str, Any]:
        if not self.document["products"]:
            standard = {"id": "standard", "version": "1.0.0", "currency": "USD", "settlement_period": "month"}
            self.document["products"].append(standard)
        return self.document["products"][-1]

    def _read_price(self, words: Words) -> None:
        product = self._product()
        charge = words.word("the charge's id")
        if words.matches(r"[A-Z]{3}"):
            product["currency"] = words.word("a currency")
        meter = {"aggregation": "sum", "element": "quantity"}
        self.metered = {"id": charge, "meter": meter, "price": _price(words)}
        product.setdefault("charges", []).append(self.metered)

    def _read_meter(self, words: Words) -> None:
        if self.metered is None:
            raise CaseError(words.place, "`meter` stands below the `price` or `quota` it belongs to")
        meter: dict[str, Any] = {"aggregation": words.word("an aggregation")}
        if words.take("of"):
            key = "quantity" if words.is_quoted() else "element"
            meter[key] = words.word("an element, or a formula in quotes")
        if words.take("where"):
            meter["where"] = words.word("a filter in quotes")
        if words.take("negative"):
            words.expect("allowed")
            meter["allow_negative"] = True
        self.metered["meter"] = meter

    def _read_quota(self, words: Words) -> None:
        quota: dict[str, Any] = {"name": words.word("the quota's name"), "limit": words.word("its limit")}
        if words.take("per"):
            count = int(words.word("how many")) if words.matches(r"[0-9]+") else 1
            quota["window"] = {"unit": words.word("the window's unit"), "count": count}
        quota["on_exceed"] = words.word("block or overage")
        if words.take("notify"):
            quota["notify_at"] = words.rest().split()
        self._product().setdefault("quotas", []).append(quota)
        self.metered = quota

    def _read_rule(self, words: Words) -> None:
        rule: dict[str, Any] = {"id": words.word("the rule's id")}
        for key in ("where", "multiplier", "quantity"):
            if words.take(key):
                rule[key] = words.word(f"the {key}, in quotes")
        self.document["pricing_rules"].append(rule)
        self._product().setdefault("pricing_rules", []).append(rule["id"])

    def _read_subscription(self, words: Words) -> None:
        subscription: dict[str, Any] = {"id": words.word("the subscription's id")}
        product = words.word("its product") if words.matches(r"[^:\s]+") else self._product()["id"]
        found = [each for each in self.document["products"] if each["id"] == product]
        if not found:
            raise CaseError(words.place, f"there is no product '{product}' above this line")
        self.document["subscriptions"].append(subscription | {"product": _reference(found[-1])} | keys_of(words))

    def _read_organization(self, words: Words) -> None:
        self.document["organizations"].append({"id": words.word("its id")} | keys_of(words))

    def _read_subscriber(self, words: Words) -> None:
        self.document["subscribers"].append({"email": words.word("the email")} | keys_of(words))

    def _read_credential(self, words: Words) -> None:
        credential = {"id": words.word("the credential's id"), "subscription": words.word("its subscription")}
        self.document["credentials"].append(credential)


def _reference(product: dict[str, Any]) -> str:
    return f"{product['id']}@{product['version']}"


def keys_of(words: Words) -> dict[str, Any]:
    """`key: value, key: value` as in the catalog; decimals stay the text that was written."""
    text = words.rest()
    try:
        loaded = yaml.load("{" + text + "}", Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        loaded = {text: ""}
    if text and "" in loaded.values():
        raise CaseError(words.place, f"`{text}` is not `key: value, key: value`")
    return {key: _plain(value) for key, value in loaded.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    words = {"true": True, "false": False, "null": None}
    return words[value] if value in words else int(value) if re.fullmatch(r"[0-9]+", value) else value


def _price(words: Words) -> dict[str, Any]:
    model = words.word("a price model")
    price: dict[str, Any] = {"model": model}
    match model:
        case "per_unit":
            price["unit_price"] = words.word("the unit price")
        case "graduated" | "volume" | "stairstep":
            price["tiers"] = _tiers(words)
            if words.take("flat_at_zero"):
                price["flat_at_zero"] = True
        case "package":
            price["package_size"] = words.word("the package's size")
            words.expect("for")
            price["package_price"] = words.word("the package's price")
        case "percentage":
            price |= {"tiers": _tiers(words)} if words.matches_next("@") else {"rate": words.word("the rate")}
            for key in ("fixed", "minimum", "maximum"):
                if words.take(key):
                    price[f"{key}_amount"] = words.word(f"the {key} amount")
        case "included":
            price["included"] = words.word("the included usage")
            words.expect("then")
            price["then"] = _price(words)
        case _:
            raise CaseError(words.place, f"'{model}' is no price model")
    return price


def _tiers(words: Words) -> list[dict[str, str]]:
    """`100 @ 0.10 | rest @ 0.05 flat 1 | rest @ 5 per 100`: bounds, unit prices, flat amounts, package sizes."""
    tiers: list[dict[str, str]] = []
    while not tiers or words.take("|"):
        bound = words.word("a tier's bound, or rest")
        tier = {} if bound == "rest" else {"up_to": bound}
        for sign, key in (("@", "unit_price"), ("per", "package_size"), ("flat", "flat_amount")):
            if words.take(sign):
                tier[key] = words.word(key.replace("_", " "))
        tiers.append(tier)
    return tiers
