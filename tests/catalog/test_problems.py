"""Every kind of problem: what a person wrote, and what they read, with file, line, key and the nearest right word."""

from pathlib import Path

import pytest

from rating.expressions import ExpressionError, compile_boolean, compile_number
from tests.catalog.folders import SOUND, changed, problems, write

GOLD = "products[gold@1.0.0]"
TABLE = Path(__file__).with_name("problems.txt").read_text(encoding="utf-8")


def entries():
    """Name, file, text, replacement and problems of each entry of the table."""
    for entry in TABLE.split("\n= ")[1:]:
        title, *lines = entry.splitlines()
        name, _, file = title.rstrip(")").rpartition(" (")
        marked = {mark: [line[2:] for line in lines if line[:1] == mark] for mark in "-+!"}
        instead = "\n".join(marked["+"]) if marked["+"] else None
        yield pytest.param(file, "\n".join(marked["-"]), instead, marked["!"], id=name)


@pytest.mark.parametrize(("file", "written", "instead", "says"), entries())
def test_a_problem_is_told_with_its_place(tmp_path, file, written, instead, says):
    assert problems(write(tmp_path, changed(file, written, instead))) == says


METER = f"b.yaml:16: {GOLD}.charges[tokens].meter"
EXPRESSIONS = [
    # compiled as, written, key that it stands for, expression, place
    (compile_number, "element: tokens", "quantity", "celi(tokens)", f"{METER}.quantity"),
    (compile_boolean, "element: tokens", "element: tokens, where", "tokens > now()", f"{METER}.where"),
    (compile_boolean, "element: tokens", "element: tokens, where", "tokens + 1", f"{METER}.where"),
    (
        compile_boolean,
        "version: 1.0.0",
        "version: 1.0.0\n    exempt_where",
        "status >=",
        f"b.yaml:4: {GOLD}.exempt_where",
    ),
    (compile_number, 'multiplier: "1.2"', "multiplier", "upper(region)", "a.yaml:9: pricing_rules[eu].multiplier"),
    (compile_boolean, 'multiplier: "1.2"', "where", "region + 1", "a.yaml:9: pricing_rules[eu].where"),
]


@pytest.mark.parametrize(("compiles", "written", "key", "expression", "place"), EXPRESSIONS)
def test_an_expression_is_refused_with_its_place(tmp_path, compiles, written, key, expression, place):
    with pytest.raises(ExpressionError) as refused:
        compiles(expression)
    files = changed(place.partition(":")[0], written, f'{key}: "{expression}"')
    if key == "where":
        files["a.yaml"] = files["a.yaml"].replace("""where: "region = 'eu'", """, "")
    assert problems(write(tmp_path, files)) == [f"{place}: {refused.value}"]


def test_a_number_of_5000_digits_is_refused_shortly(tmp_path):
    (found,) = problems(write(tmp_path, changed("b.yaml", 'limit: "1000"', "limit: " + "9" * 5000)))
    assert found.startswith(f"b.yaml:13: {GOLD}.quotas[calls].limit: '99999999999999999999...' is not a decimal")


def test_the_sound_catalog_has_no_problem(tmp_path):
    assert problems(write(tmp_path, SOUND)) == []


def test_a_credential_of_a_stranger_is_warned_of(tmp_path):
    files = changed("a.yaml", "- {email: joe", "- {email: eve@other.com}\n  - {email: joe")
    files["c/d.yml"] = files["c/d.yml"].replace("sub-1, subscriber: joe@acme.com}", "sub-1, subscriber: eve@other.com}")
    assert problems(write(tmp_path, files)) == [
        "c/d.yml:5: warning: credentials[key-1].subscriber: subscriber 'eve@other.com' neither owns subscription "
        "'sub-1' nor belongs to its organization"
    ]


def test_a_quota_beyond_what_the_tiers_price_is_an_error_besides_the_gap(tmp_path):
    files = changed("b.yaml", '{unit_price: "0.01"}', '{up_to: "500", unit_price: "0.01"}')
    assert problems(write(tmp_path, files)) == [
        f"b.yaml:11: {GOLD}.tiers[2].up_to: a gap: usage above 500 has no price; the last tier must be open (no up_to)",
        f"b.yaml:13: {GOLD}.quotas[calls].limit: limit 1000 is beyond 500, the most that the tiers can price",
    ]


def test_a_quota_that_contradicts_the_included_usage_is_warned_of(tmp_path):
    files = changed("b.yaml", "payment_model: volume", "payment_model: subscription_overage\n    recurring_fee: 5")
    start, end = files["b.yaml"].index("    tiers:"), files["b.yaml"].index("    quotas:")
    files["b.yaml"] = files["b.yaml"][:start] + '    overage_rate: "0.02"\n' + files["b.yaml"][end:]
    (found,) = problems(write(tmp_path, files))
    assert found == (
        f"b.yaml:11: warning: {GOLD}.quotas[calls].limit: the overage rate applies above 0 included transactions, not "
        'above this limit of 1000; write included: "1000" to make them agree'
    )


def test_a_source_with_more_elements_than_an_event_may_have(tmp_path):
    mapping = ", ".join(f"e{number}: x.e{number}" for number in range(59))
    files = changed("a.yaml", "{id: maps,", f"{{id: maps, format: kong, mapping: {{{mapping}}},")
    assert problems(write(tmp_path, files)) == [
        "a.yaml:7: sources[maps].mapping: gives 65 elements; an event has at most 64"
    ]
    assert problems(write(tmp_path, {"a.yaml": files["a.yaml"].replace(", e58: x.e58", "")})) == []
