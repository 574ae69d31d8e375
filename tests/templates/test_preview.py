"""`ratemill notifications preview` as a process, and what `ratemill check` says of a product's wordings."""

from tests.ops.ratemill import inside, ratemill
from tests.templates.world import folder_of

CATALOG = """\
organizations: [{id: globex, name: Globex, logo: globex.png}]
subscribers: [{email: ann@globex.example}]
products:
  - id: gold
    version: 1.0.0
    currency: EUR
    settlement_period: month
    payment_model: transactional
    rate: "0.10"
    emails:
      trial_ending:
        subject: Old
  - id: gold
    version: 1.10.0
    currency: EUR
    settlement_period: month
    payment_model: transactional
    rate: "0.10"
    emails:
      trial_ending:
        subject: "{{ organization.name }}: {{ product.name }} until {{ trial_end|date }}"
      quota_reached:
        text: |
          Used up:
          WRONG
  - {id: silver, version: 1.0.0, currency: EUR, settlement_period: month, payment_model: transactional, rate: "1"}
subscriptions:
  - {id: s-1, product: gold@1.10.0, subscriber: ann@globex.example, organization: globex, start: "2026-11-01T00:00:00Z"}
"""


def catalog_in(folder, wrong):
    (folder / "catalog.yaml").write_text(CATALOG.replace("WRONG", wrong))
    return folder


def test_preview_shows_a_products_wording_and_writes_its_html(tmp_path):
    catalog = catalog_in(tmp_path, "{{ limit }}")
    preview = ["notifications", "preview", "trial_ending", "--catalog", catalog, "--product", "gold"]
    stated = {"RATEMILL_LOGO_URL": "https://static.example"}
    ran = ratemill(*preview, **stated)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Subject: Globex: gold until 21 November 2026\n\nThe free trial of gold ends")
    written = ratemill(*preview, "--out", tmp_path / "p.html", **stated)
    assert (written.code, written.out) == (0, "")
    html = (tmp_path / "p.html").read_text()
    assert '<img src="https://static.example/globex.png"' in html
    assert "Subscription s-1 to gold, Globex" in html


def test_preview_as_json_has_all_parts(tmp_path):
    catalog = catalog_in(tmp_path, "{{ limit }}")
    ran = inside("notifications", "preview", "trial_ending", "--catalog", catalog, "--product", "gold@1.0.0", "--json")
    assert ran.code == 0
    shown = ran.json()
    assert set(shown) == {"kind", "subject", "text", "html", "faults"}
    assert (shown["kind"], shown["subject"], shown["faults"]) == ("trial_ending", "Old", [])
    # Nobody has subscribed to it: the sample's parties stand in.
    assert "AcmeSoft" in shown["html"]


def test_preview_tells_every_fault_of_a_folder(tmp_path):
    folder_of(tmp_path, quota_reached__txt="{{ limt }}", trial_ending__html="{{ x_x }}\n{% if %}")
    ran = inside("notifications", "preview", "quota_reached", "--templates", tmp_path)
    assert (ran.code, ran.out) == (1, "")
    first, second = ran.err.splitlines()
    assert first == f"{tmp_path}/quota_reached.txt:1: unknown variable 'limt'; did you mean 'limit'?"
    assert second.startswith(f"{tmp_path}/trial_ending.html:2: expected ")


def test_wrong_usage_is_told_with_code_2(tmp_path):
    catalog = catalog_in(tmp_path, "{{ limit }}")
    cases = {
        ("quota_reach",): "there is no kind 'quota_reach'; did you mean 'quota_reached'?",
        ("quota_reached", "--product", "gold"): "needs a catalog",
        ("quota_reached", "--catalog", catalog, "--product", "glod"): "has no product 'glod'; did you mean 'gold'?",
    }
    for arguments, says in cases.items():
        ran = inside("notifications", "preview", *arguments)
        assert (ran.code, says in ran.err) == (2, True), ran.err


def test_check_names_file_line_and_key_of_a_products_template(tmp_path):
    ran = ratemill("check", catalog_in(tmp_path, "{{ limt }}"))
    assert ran.code == 1
    assert ran.out.splitlines()[0] == (
        f"{tmp_path}/catalog.yaml:23: products[gold@1.10.0].emails.quota_reached.text: line 2 of the template: "
        "unknown variable 'limt'; did you mean 'limit'?"
    )
    assert inside("check", catalog_in(tmp_path, "{{ limit }}")).code == 0


def test_settings_refuse_a_base_that_is_no_web_address():
    ran = ratemill("settings", RATEMILL_LOGO_URL="ftp://x")
    assert ran.code == 1
    assert "logo_url" in ran.err
