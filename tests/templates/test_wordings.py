"""Which wording is taken, what the built-in one says, and that no notification is lost to a template."""

import json
from decimal import Context, Decimal, localcontext

import pytest

from dataflows.errors import RatemillError
from dataflows.notification_templates import Sources, TemplateErrors, email_problems, read_templates
from schemas.notification_samples import SAMPLES, sample_row
from schemas.notification_variables import KINDS
from tests.templates.world import catalog_with, folder_of, sources, templates, worded

SAYS = {
    "subscription_created": [
        "Platinum Unlimited",
        "AcmeSoft",
        "Joe Doe, joe@acme.example",
        "15 November 2026, 00:00 UTC",
    ],
    "credential_discovered": ["key1-hubspot", "drug-search", "01JD3Z0V9"],
    "quota_threshold": ["50 %", "5,000.75", "10,000", "4,999.25", "overage price", "1 December 2026, 00:00 UTC"],
    "quota_reached": ["used up", "10,250.5", "refused"],
    "tier_threshold": ["80 %", "tier 1", "82", "18"],
    "trial_ending": ["21 November 2026, 10:00 UTC", "cancelled before then"],
    "trial_converted": ["20 November 2026, 10:00 UTC", "counted anew"],
    "subscription_cancelled": ["has been cancelled", "1 December 2026, 00:00 UTC"],
    "invoice_issued": [
        "2026-000042",
        "1,112.53 USD",
        "12.53 USD",
        "250.5",
        "0.05 USD",
        "IBAN DE02 1203",
        "1 Main Street",
    ],
    "test_mode_ended": ["5min_synthetic", "12"],
    "event_parked": ["drug-search", "key9-unknown", "is not in the catalog"],
}


@pytest.fixture(scope="module")
def built_in():
    return templates()


@pytest.mark.parametrize("kind", KINDS)
def test_the_built_in_wording_says_what_matters(built_in, kind):
    found = built_in.render(sample_row(kind))
    assert found.faults == ()
    assert "\n" not in found.subject
    for piece in [*SAYS[kind], "https://api.acme.example", "sub-acme-1"]:
        assert piece in found.text
        assert piece.replace("'", "&#39;") in found.html
    assert '<img src="https://api.acme.example/logo.png"' in found.html
    assert "None" not in found.subject + found.text + found.html


@pytest.mark.parametrize("kind", KINDS)
def test_a_notification_of_which_nothing_is_known_is_worded_all_the_same(built_in, kind):
    found = built_in.render({"notification_id": "n-1", "kind": kind})
    assert found.subject
    assert found.html.rstrip().endswith("</html>")
    assert "it has no 'occurred_at'" in found.faults
    assert not [fault for fault in found.faults if "wording" in fault]
    assert "None" not in found.text + found.html


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_values_stay_within_the_bounds(kind):
    long = "'\"<&" * 2_000
    organization = dict.fromkeys(("name", "billing_address", "remittance_instructions"), long)
    row = {name: long if isinstance(value, str) else value for name, value in SAMPLES[kind].items()}
    row |= {
        "kind": kind,
        "details": json.dumps({"total": "1", "lines": [{"description": long, "amount": "1"}] * 5_000}),
    }
    row |= {"organization_id": "acme", "product_id": long}
    found = templates(catalog=catalog_with(**organization)).render(row)
    assert not [fault for fault in found.faults if "wording" in fault]
    assert max(map(len, (found.text, found.html))) < 2_000_000
    assert len(found.subject) <= 250
    assert ("4,900 more lines" in found.text) == (kind == "invoice_issued")


def test_values_are_escaped_in_html_and_only_there(built_in):
    evil = "<script>alert('&')</script>"
    found = templates(catalog=catalog_with(name=evil)).render(sample_row("subscription_created", subscriber="a&b@x"))
    assert evil in found.text
    assert "<script" not in found.html
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in found.html
    assert "a&amp;b@x" in found.html


def test_no_value_adds_a_header_to_a_subject():
    catalog = catalog_with(name="Acme\r\nBcc: eve@evil.example\x00\x1b")
    said = worded("quota_reached", "subject", "{{ organization.name }}: {{ quota }}", catalog, quota="a\u2028b\x85c")
    assert said == "Acme Bcc: eve@evil.example: a b c"


def test_only_web_addresses_become_links():
    catalog = catalog_with(storefront_url="javascript:alert(1)", logo="javascript:alert(1)")
    assert (
        "javascript"
        not in templates(catalog=catalog, logo_url="https://x.example").render(sample_row("trial_ending")).html
    )


@pytest.mark.parametrize(
    ("logo", "base", "address"),
    [
        ("acme.png", "https://x.example/logos/", "https://x.example/logos/acme.png"),
        ("a b.png", "https://x.example", "https://x.example/a%20b.png"),
        ("https://y.example/a.png", "https://x.example", "https://y.example/a.png"),
        ("acme.png", None, ""),
        ("http://y.example/a.png", "https://x.example", ""),
    ],
)
def test_a_logo_is_an_address_or_joined_to_one(logo, base, address):
    deployed = sources(trial_ending__txt="{{ organization.logo_url }}")
    assert templates(deployed, catalog_with(logo=logo), base).render(sample_row("trial_ending")).text == address


NINES = "9" * 32


@pytest.mark.parametrize(
    ("source", "value", "says"),
    [
        ("{{ limit|quantity }}", f"{NINES}.999999", f"{int(NINES):,}.999999"),
        ("{{ limit }}", "0.000001", "0.000001"),
        ("{{ limit }}", "1E+3", "1,000"),
        ("{{ limit }}", "-1234.50", "-1,234.5"),
        ("{{ remaining }}", f"{NINES}.999999", f"{int(NINES) - 10_250:,}.499999"),
        ("{{ remaining }}", "5", "0"),
        ("{{ limit|percent }}", "0.123456", "12.3456 %"),
        (f"{{% if limit > '{NINES}.999998'|decimal %}}more{{% endif %}}", f"{NINES}.999999", "more"),
    ],
)  # fmt: skip
def test_decimals_are_exact_in_any_context(source, value, says):
    with localcontext(Context(prec=3)):
        assert worded(source=source, limit=Decimal(value)) == says


@pytest.mark.parametrize(
    ("total", "currency", "says"),
    [
        ("12.5", "USD", "12.50 USD"),
        ("1234567", "JPY", "1,234,567 JPY"),
        ("0.000000000000000001", "USD", "0.000000000000000001 USD"),
        ("-3", "KWD", "-3.000 KWD"),
        ("0", "USD", "0.00 USD"),
    ],
)
def test_amounts_have_their_minor_units_and_every_further_digit(total, currency, says):
    details = json.dumps({**SAMPLES["invoice_issued"]["details"], "total": total, "currency": currency})
    assert worded("invoice_issued", source="{{ total|amount(currency) }}", details=details) == says


OWN = {"quota_reached": {"subject": "product: {{ quota }}"}, "trial_ending": {"text": "product"}}


def test_a_product_goes_before_the_deployment_and_that_before_what_is_built_in():
    deployed = sources(quota_reached__subject__txt="deployed", quota_reached__txt="deployed {{ quota }}")
    loaded = templates(deployed, catalog_with(OWN))
    found = loaded.render(sample_row("quota_reached"))
    assert (found.subject, found.text) == ("product: requests", "deployed requests")
    assert found.html == templates().render(sample_row("quota_reached")).html
    assert loaded.render(sample_row("quota_reached", product_version="2.0.0")).subject == "deployed"
    assert loaded.with_catalog(catalog_with()).render(sample_row("quota_reached")).subject == "deployed"
    assert templates().with_catalog(catalog_with(OWN)).render(sample_row("trial_ending")).text == "product"


def test_a_layout_of_the_deployment_holds_every_html():
    layout = "<b>{{ organization.name }}</b>{% block content %}{% endblock %}<i>{% block footer %}{% endblock %}</i>"
    own = {"trial_ending": {"html": "{% extends 'layout.html' %}{% block footer %}product{% endblock %}"}}
    loaded = templates(sources(layout__html=layout, footer__txt="-- own"), catalog_with(own))
    assert loaded.render(sample_row("trial_ending")).html == "<b>AcmeSoft</b><i>product</i>"
    found = loaded.render(sample_row("event_parked"))
    assert found.html.startswith("<b>AcmeSoft</b>")
    assert "An event waits" in found.html
    assert found.text.endswith("-- own")


DEPLOYED = [
    ({"quota_reached__txt": "a\n{{ limt }}"}, "quota_reached.txt:2: unknown variable 'limt'; did you mean 'limit'?"),
    ({"quota_reached__text": ""}, "quota_reached.text: is no template's name; did you mean 'quota_reached.txt'?"),
    ({"quota_reachd__html": ""}, "quota_reachd.html: is no template's name; did you mean 'quota_reached.html'?"),
    ({"layout__html": "{% block content %}{% endblock %}"}, "layout.html: it has no block 'footer'"),
    ({"layout__html": "a\n{{ limit }}"}, "layout.html:2: unknown variable 'limit'"),
    ({"footer__txt": "{% include 'footer.txt' %}"}, "footer.txt:1: only HTML extends"),
    ({"event_parked__subject__txt": "a\nb"}, "event_parked.subject.txt: a subject is one line, and it gives several"),
]


@pytest.mark.parametrize(("files", "says"), DEPLOYED, ids=lambda value: str(value)[:40])
def test_a_folder_that_cannot_be_used_is_refused_with_file_and_line(tmp_path, files, says):
    with pytest.raises(TemplateErrors) as refused:
        templates(folder_of(tmp_path / "own", **files))
    assert str(refused.value).startswith(f"the templates cannot be used: {tmp_path}/own/{says}")


def test_what_is_not_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "footer.txt").write_bytes(b"a\xff")
    (tmp_path / ".hidden").write_text("{{")
    with pytest.raises(TemplateErrors, match=r"footer.txt: is not UTF-8 \(byte 0xff\)$"):
        folder_of(tmp_path)
    with pytest.raises(TemplateErrors, match="nowhere: there is no such folder of templates"):
        read_templates(tmp_path / "nowhere")


def test_a_products_broken_wording_gives_way_and_is_shown():
    broken = catalog_with({"trial_ending": {"text": "x\n{{ trial_start }}", "subject": "fine"}})
    (problem,) = email_problems(broken)
    says = "line 2 of the template: unknown variable 'trial_start'; did you mean 'trial_end'?"
    assert (problem.message, problem.path) == (says, ("products", 0, "emails", "trial_ending", "text"))
    found = templates(sources(trial_ending__txt="deployed"), broken).render(sample_row("trial_ending"))
    assert (found.subject, found.text) == ("fine", "deployed")
    assert found.faults == (
        f"products[platinum@1.0.0].emails.trial_ending.text: {says}; another wording stands instead",
    )


def test_a_template_that_fails_while_it_is_rendered_gives_way_and_is_shown():
    # Its notifications always have a share; this one has not.
    loaded = templates(Sources({"quota_reached.txt": "{% if share >= 1 %}all{% endif %}"}, "own"))
    assert loaded.render(sample_row("quota_reached")).text == "all"
    found = loaded.render(sample_row("quota_reached", share=None))
    assert found.text == templates().render(sample_row("quota_reached", share=None)).text
    assert found.faults[0] == "it has no 'share'"
    assert found.faults[1].startswith("quota_reached.txt: it fails: '>=' not supported")


def test_an_unknown_kind_is_an_error_that_names_it(built_in):
    with pytest.raises(
        RatemillError, match="notification 'n-1' is of the unknown kind 'trial_end'; did you mean 'trial_ending'"
    ):
        built_in.render({"notification_id": "n-1", "kind": "trial_end"})
