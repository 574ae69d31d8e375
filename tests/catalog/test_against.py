"""`--against`: what may not change from one catalog to the next."""

from datetime import UTC, datetime

import pytest

from dataflows.connectors.catalog_folder import check, load_catalog
from rating.lint import compare
from tests.catalog.folders import SOUND, write

NOW = datetime(2026, 12, 15, tzinfo=UTC)
GOLD = "products[gold@1.0.0]"
PRODUCT = SOUND["b.yaml"].removeprefix("products:\n")
FREE = SOUND["c/d.yml"].replace("sub-1", "sub-0").replace("2026-11-01", "2027-01-01")


def compared(tmp_path, new, old=SOUND, as_of=NOW):
    new_folder, old_folder = write(tmp_path / "new", new), write(tmp_path / "old", old)
    found = check(new_folder, against=old_folder, as_of=as_of)
    return [str(one).replace(f"{tmp_path}/new/", "").replace(f"{tmp_path}/", "") for one in found]


def edited(file, written, instead, base=SOUND):
    assert written in base[file]
    return base | {file: base[file].replace(written, instead)}


def settled(key):
    why = "settled periods were rated by it; make a new version"
    return f"gold@1.0.0 has subscriptions, so its {key} may not change: {why}"


def test_nothing_changed_is_nothing_wrong(tmp_path):
    assert compared(tmp_path, SOUND) == []


PRICING = {
    "a price": ("b.yaml", '"0.000003"', '"0.000004"', 14, "charges"),
    "a tier": ("b.yaml", '"0.05"', '"0.06"', 8, "tiers"),
    "the currency": ("b.yaml", "USD", "EUR", 5, "currency"),
    "a quota's limit": ("b.yaml", "1000", "2000", 12, "quotas"),
    "the rules listed": ("b.yaml", "    pricing_rules: [eu]\n", "", 2, "pricing_rules"),
    "what is exempt": ("b.yaml", "currency", "exempt_where: null\n    currency", 5, "exempt_where"),
    "a trial": ("b.yaml", "currency", "free_trial: {days: 3}\n    currency", 5, "free_trial"),
    "a fee": ("b.yaml", "currency", 'recurring_fee: "5"\n    currency', 5, "recurring_fee"),
    "when it ends": ("b.yaml", "currency", "immediate_cancellation: true\n    currency", 5, "immediate_cancellation"),
}


@pytest.mark.parametrize("name", PRICING)
def test_pricing_with_subscriptions_may_not_change(tmp_path, name):
    file, written, instead, line, key = PRICING[name]
    assert compared(tmp_path, edited(file, written, instead)) == [f"b.yaml:{line}: {GOLD}.{key}: {settled(key)}"]


def test_a_pricing_rule_may_not_change_under_its_name(tmp_path):
    found = compared(tmp_path, edited("a.yaml", '"1.2"', '"1.3"'))
    assert found == [f"b.yaml:18: {GOLD}.pricing_rules: {settled('pricing_rules')}"]


@pytest.mark.parametrize(
    ("file", "written", "instead"),
    [
        ("b.yaml", "currency", "name: Gold\n    tags: [new]\n    notification_threshold: '0.5'\n    currency"),
        ("b.yaml", '"0.10"', '"0.1"'),
        ("b.yaml", "on_exceed: overage", 'on_exceed: overage, notify_at: ["0.5"]'),
        ("a.yaml", "{id: eu,", "{id: eu, name: Europe,"),
        ("a.yaml", "name: AcmeSoft", "name: AcmeSoft Ltd"),
        ("c/d.yml", "organization: acme", 'organization: acme, end: "2027-01-01T00:00:00Z"'),
        ("c/d.yml", "organization: acme", 'organization: acme, cancelled_at: "2026-12-15T00:00:00Z"'),
    ],
)
def test_what_no_settled_amount_depends_on_may_change(tmp_path, file, written, instead):
    assert compared(tmp_path, edited(file, written, instead)) == []


def test_pricing_without_subscriptions_may_change(tmp_path):
    unsold = {name: text for name, text in SOUND.items() if name != "c/d.yml"}
    assert compared(tmp_path, edited("b.yaml", '"0.05"', '"0.06"', unsold), unsold) == []


def test_a_shorthand_may_become_the_charges_it_stands_for(tmp_path):
    start, end = PRODUCT.index("    payment_model"), PRODUCT.index("    quotas")
    tiers = (
        PRODUCT[PRODUCT.index("    tiers:") : end].replace("    ", "          ", 1).replace("      -", "            -")
    )
    charge = f"""      - id: usage
        meter: {{aggregation: count}}
        price:
          model: graduated
{tiers}"""
    body = PRODUCT[:start] + PRODUCT[end:].replace("    charges:\n", f"    charges:\n{charge}")
    assert compared(tmp_path, SOUND | {"b.yaml": "products:\n" + body}) == []


def test_a_product_that_cannot_be_expanded_is_told_of_once(tmp_path):
    broken = edited("b.yaml", "pricing_rules: [eu]", "pricing_rules: [ue]")
    (found,) = compared(tmp_path, broken, broken)
    assert found == f"b.yaml:18: {GOLD}.pricing_rules[0]: unknown pricing rule 'ue'"


def test_the_settlement_period_never_changes(tmp_path):
    found = compared(
        tmp_path, edited("b.yaml", "settlement_period: month", "settlement_period: {unit: month, count: 3}")
    )
    assert found == [
        f"b.yaml:6: {GOLD}.settlement_period: the settlement period of a product never changes: it was month and "
        "would be 3 months"
    ]


def test_the_settlement_period_never_changes_with_a_version_either(tmp_path):
    next_version = PRODUCT.replace("1.0.0", "2.0.0").replace("period: month", "period: week")
    found = compared(tmp_path, edited("b.yaml", PRODUCT, PRODUCT + next_version))
    assert found == [
        "b.yaml:23: products[gold@2.0.0].settlement_period: the settlement period of a product never changes, but "
        "gold@1.0.0 has month and gold@2.0.0 has week; sell it as another product (b.yaml:6)"
    ]


def test_a_version_that_replaces_an_unsold_one_keeps_its_period_and_sources(tmp_path):
    unsold = {name: text for name, text in SOUND.items() if name != "c/d.yml"}
    step = unsold["b.yaml"].replace("1.0.0", "1.1.0").replace("month", "week").replace("[search]", "[search, maps]")
    found = compared(tmp_path, unsold | {"b.yaml": step}, unsold)
    assert [line.partition(": ")[0] for line in found] == ["b.yaml:4", "b.yaml:6"]


def test_changed_sources_ask_for_the_next_major_version(tmp_path):
    found = compared(tmp_path, edited("b.yaml", "sources: [search]", "sources: [search, maps]"))
    assert found == [
        f"b.yaml:4: {GOLD}.sources: changed sources ask for the next major version: add gold@2.0.0 beside gold@1.0.0"
    ]


@pytest.mark.parametrize(("version", "count"), [("1.0.1", 1), ("1.2.0", 1), ("2.0.0", 0)])
def test_a_new_version_with_other_sources_is_a_major_one(tmp_path, version, count):
    added = PRODUCT.replace("1.0.0", version).replace("[search]", "[search, maps]")
    found = compared(tmp_path, edited("b.yaml", PRODUCT, PRODUCT + added))
    assert len(found) == count
    assert all("changed sources ask for the next major version: make this 2.0.0" in line for line in found)


def test_the_order_of_sources_means_nothing(tmp_path):
    both = edited("b.yaml", "[search]", "[search, maps]")
    assert compared(tmp_path, edited("b.yaml", "[search]", "[maps, search]"), both) == []


def test_a_product_with_active_subscriptions_is_never_deleted(tmp_path):
    new = SOUND | {"b.yaml": "products:\n" + PRODUCT.replace("1.0.0", "2.0.0")}
    assert compared(tmp_path, new) == [
        "c/d.yml:2: subscriptions[sub-1].product: product 'gold' has no version 1.0.0, only 2.0.0",
        "old/b.yaml:2: products[gold@1.0.0]: gold@1.0.0 is deleted, but subscription 'sub-1' is active on it; "
        "a product version stays as long as a subscription pins it",
    ]


def test_deleting_the_subscriptions_too_does_not_help(tmp_path):
    found = compared(tmp_path, {"a.yaml": SOUND["a.yaml"]})
    assert [line.partition(": ")[0] for line in found] == ["old/b.yaml:2", "old/c/d.yml:2"]
    assert "subscription 'sub-1' is deleted while it is active" in found[1]


@pytest.mark.parametrize(
    ("life", "active"),
    [
        ('end: "2026-12-15T00:00:00Z"', False),
        ('end: "2026-12-15T00:00:01Z"', True),
        ('cancelled_at: "2026-11-02T00:00:00Z"', False),
        ('cancelled_at: "2026-12-01T00:00:00Z"', True),
    ],
)
def test_a_subscription_is_active_until_its_end_or_its_last_period(tmp_path, life, active):
    old = edited("c/d.yml", "organization: acme", f"organization: acme, {life}")
    assert bool(compared(tmp_path, {"a.yaml": SOUND["a.yaml"]}, old)) is active


@pytest.mark.parametrize(
    ("written", "instead", "key"),
    [
        ("2026-11-01", "2026-10-31", "start"),
        ("gold@1.0.0", "gold@1.0.1", "product"),
        ("organization: acme", 'organization: acme, end: "2026-11-02T00:00:00Z"', "end"),
        ("organization: acme", 'organization: acme, cancelled_at: "2026-11-02T00:00:00Z"', "cancelled_at"),
    ],
)
def test_a_subscriptions_settled_past_may_not_change(tmp_path, written, instead, key):
    new = edited("c/d.yml", written, instead)
    new["b.yaml"] += PRODUCT.replace("1.0.0", "1.0.1")
    (found,) = compared(tmp_path, new)
    assert f"subscriptions[sub-1].{key}: " in found
    assert "settled periods" in found


def test_a_subscription_that_has_not_begun_may_change(tmp_path):
    old = SOUND | {"c/d.yml": FREE}
    new = old | {"c/d.yml": FREE.replace("2027-01-01", "2027-02-01")}
    assert compared(tmp_path, new, old) == []


def test_a_credential_does_not_take_its_past_elsewhere(tmp_path):
    second = '  - {id: sub-2, product: gold@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}\n'
    old = edited("c/d.yml", "credentials:", second + "credentials:")
    new = edited("c/d.yml", "subscription: sub-1", "subscription: sub-2", old)
    assert compared(tmp_path, new, old) == [
        "c/d.yml:6: credentials[key-1].subscription: credential 'key-1' moves from subscription 'sub-1' to 'sub-2', "
        "and its past usage with it; issue a new credential"
    ]


def test_a_time_zone_bounds_periods(tmp_path):
    (found,) = compared(tmp_path, edited("a.yaml", "Europe/Berlin", "Asia/Tokyo"))
    assert found.startswith("a.yaml:2: organizations[acme].timezone: the time zone bounds settlement periods")


def test_an_older_catalog_that_cannot_be_read_is_named(tmp_path):
    found = check(write(tmp_path / "new", SOUND), against=tmp_path / "nowhere", as_of=NOW)
    assert [str(one) for one in found] == [f"{tmp_path}/nowhere: there is no such catalog folder"]


def test_a_subscription_that_has_not_begun_may_be_deleted(tmp_path):
    old = SOUND | {"c/d.yml": FREE}
    new = {name: text for name, text in old.items() if name != "c/d.yml"}
    assert compared(tmp_path, new, old) == []


def test_without_a_moment_every_subscription_counts_as_running(tmp_path):
    old = SOUND | {"c/d.yml": FREE}
    new = {name: text for name, text in old.items() if name != "c/d.yml"}
    catalogs = [load_catalog(write(tmp_path / name, files)) for name, files in (("new", new), ("old", old))]
    (found,) = compare(*catalogs)
    assert (found.path, found.in_old) == (("subscriptions", 0), True)


def test_a_refund_that_was_issued_stays_as_it_is(tmp_path):
    """One that is dated later may still change."""
    head = "refunds:\n"
    one = '  - {id: r1, invoice: i1, amount: "3", issued_at: "2026-12-05T00:00:00Z"}\n'
    later = '  - {id: r2, invoice: i1, amount: "3", issued_at: "2027-01-05T00:00:00Z"}\n'
    old = SOUND | {"e.yaml": head + one + later}
    assert compared(tmp_path / "same", SOUND | {"e.yaml": head + one}, old) == []
    (gone,) = compared(tmp_path / "gone", SOUND, old)
    assert "refunds[r1]: refund 'r1' is deleted, but it was issued" in gone
    (more,) = compared(tmp_path / "more", SOUND | {"e.yaml": head + one.replace('"3"', '"8"')}, old)
    assert more.startswith("e.yaml:2: refunds[r1].amount: amount of a refund that was issued may not change (3 before)")
