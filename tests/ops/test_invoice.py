"""`ratemill invoice`: what it shows on a terminal, as JSON and as a page, and that an invoice is paid."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dataflows.errors import UnmendableError
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.invoice_states import state_paid
from tests.ops.ratemill import ROOT, here, inside, query
from tests.ops.settled import revised, settled_world

CALLS = "acme-calls-1"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    return settled_world(tmp_path_factory.mktemp("settled"))


@pytest.fixture
def own_ledger(ledger, tmp_path):
    """A ledger for a test that writes to it."""
    return Path(shutil.copytree(ledger, tmp_path / "ledger"))


def shown(ledger: Path, name: str) -> dict:
    return json.loads(here("invoice", name, "--ledger", ledger, "--json"))


def refused(*arguments) -> str:
    ran = inside("invoice", *arguments)
    assert ran.code == 1, ran.out
    return ran.err.strip()


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


def test_the_terminal_shows_head_lines_credentials_and_certificate(ledger):
    out = here("invoice", CALLS, "--ledger", ledger)
    facts = dict(line.strip().split(maxsplit=1) for line in out.splitlines()[1:8] if "billed" not in line)
    assert out.splitlines()[0] == "Invoice acme-calls-1"
    assert facts["state"] == "issued"
    assert facts["address"] == "1 Main Street 3rd floor Amsterdam"
    assert facts["period"] == "1: 2026-09-30T22:00:00Z to 2026-10-31T23:00:00Z"
    assert "  billed to     Acme <Tools> & Co\n" in out
    assert "  rated up to   2026-10-06T10:00:00Z\n" in out
    assert "  verdicts      rated 3\n" in out
    assert cells(out) == [
        ["1", "Recurring fee", "1", "", "", "1,250.00"],
        ["2", "calls, tier 1", "1", "1,000", "0.10", "100.00"],
        ["3", "calls, tier 2", "1", "1,000.5", "0.0123", "12.31"],
        ["", "Total", "", "", "", "1,362.31"],
        ["key-1", "90.05"],
        ["-", "22.25615"],
    ]


def test_a_currency_without_minor_units_and_a_subscriber_without_organization(ledger):
    out = here("invoice", "solo-yen-1", "--ledger", ledger)
    assert "billed to     solo@solo.example" in out
    assert cells(out)[:2] == [["1", "calls", "1", "1,001", "1.5", "1,502"], ["", "Total", "", "", "", "1,502"]]


def test_json_has_everything_with_decimals_as_text(ledger):
    said = shown(ledger, CALLS)
    assert (said["state"], said["total"], said["currency"]) == ("issued", "1362.31", "USD")
    assert [(line["quantity"], line["unit_price"], line["exact_amount"], line["amount"]) for line in said["lines"]] == [
        (None, None, "1250", "1250"),
        ("1000", "0.1", "100", "100"),
        ("1000.5", "0.0123", "12.30615", "12.31"),
    ]
    assert said["credentials"] == [
        {"credential_id": "key-1", "amount": "90.05"},
        {"credential_id": None, "amount": "22.25615"},
    ]
    assert said["recipient"]["organization"]["metadata"] == {"tax_id": "NL001B01"}
    assert said["certificate"]["ledger_digest"] in here("invoice", CALLS, "--ledger", ledger)


def test_an_id_or_its_beginning_names_an_invoice(ledger):
    known = shown(ledger, CALLS)["invoice_id"]
    for name in (known, known[:6], known[:6].upper()):
        assert shown(ledger, name)["number"] == CALLS


def test_what_no_invoice_is_called(ledger):
    assert refused("acme-cals-1", "--ledger", ledger).endswith(
        "has the id or number acme-cals-1; did you mean acme-calls-1?"
    )
    assert refused("acme-calls", "--ledger", ledger).endswith("did you mean acme-calls-1?")
    assert refused("abcde", "--ledger", ledger).endswith("(of an id, at least 6 digits are needed).")
    assert refused("%", "--ledger", ledger).endswith("has the id or number %.")


def test_what_may_be_one_of_several(own_ledger):
    first = shown(own_ledger, CALLS)
    near = first["invoice_id"][:8] + "0" * 24
    revised(own_ledger, first["invoice_id"], invoice_id=near, number="other-1", voids=None)
    said = refused(first["invoice_id"][:8], "--ledger", own_ledger)
    assert f"{first['invoice_id']} ({CALLS})" in said
    assert f"{near} (other-1)" in said
    assert shown(own_ledger, near)["number"] == "other-1"


def test_paid_is_stated_once_and_the_invoice_stays_as_it_was(own_ledger):
    before = query(own_ledger, "FROM invoices ORDER BY number")
    assert query(own_ledger, "FROM invoice_states") == []
    first = inside("invoice", CALLS, "--ledger", own_ledger, "--paid", "--note", "Wire «7»\n2026")
    again = inside("invoice", CALLS, "--ledger", own_ledger, "--paid", "--note", "another")
    assert (first.code, first.err) == (0, "Invoice acme-calls-1 is paid.\n")
    assert again.code == 0
    assert again.err.endswith("already; nothing was changed.\n")
    [stated] = query(own_ledger, "FROM invoice_states")
    assert (stated["state"], stated["note"]) == ("paid", "Wire «7»\n2026")
    said = shown(own_ledger, CALLS)
    assert (said["state"], said["stated_at"], said["note"]) == ("paid", stated["stated_at"], stated["note"])
    assert shown(own_ledger, "solo-yen-1")["state"] == "issued"
    assert query(own_ledger, "FROM invoices ORDER BY number") == before


def test_a_note_needs_paid(ledger):
    assert inside("invoice", CALLS, "--ledger", ledger, "--note", "x").code == 2


def test_an_invoice_that_a_revision_replaces_is_voided_and_cannot_be_paid(own_ledger):
    first = shown(own_ledger, CALLS)["invoice_id"]
    revised(own_ledger, first, invoice_id="f" * 32, number="acme-calls-1-1", voids=first, revision=1)
    said = shown(own_ledger, CALLS)
    assert (said["state"], said["replaced_by"]) == ("voided", "acme-calls-1-1")
    assert shown(own_ledger, "ffffff")["replaces"] == CALLS
    assert refused(CALLS, "--ledger", own_ledger, "--paid") == (
        "Invoice acme-calls-1 is voided and cannot be paid: acme-calls-1-1 takes its place."
    )
    assert query(own_ledger, "FROM invoice_states") == []
    assert "This invoice is void." in page(own_ledger, CALLS)


def test_many_who_state_at_once_lose_nothing(own_ledger):
    command = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from dataflows.ledger.folder import existing_folder; from dataflows.ledger.invoice_states import state_paid\n"
        "for number in range(20):\n"
        "    state_paid(existing_folder(Path(sys.argv[1])), f'00{sys.argv[2]}{number:029}', datetime.now(UTC))\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", command, str(own_ledger), str(one)], cwd=ROOT, env=os.environ.copy())
        for one in range(3)
    ]
    assert [one.wait(60) for one in started] == [0, 0, 0]
    assert query(own_ledger, "SELECT count(*) AS n FROM invoice_states") == [{"n": 60}]


def test_a_file_left_aside_by_a_crash_is_not_read_and_a_damaged_one_is_told(own_ledger):
    folder = existing_folder(own_ledger)
    moment = datetime(2026, 11, 3, tzinfo=UTC)
    (folder.invoice_states / ".ce.ndjson.1.aside").write_bytes(b'{"invoice_id": "ce')
    assert state_paid(folder, "ce17", moment)[0]
    assert query(own_ledger, "SELECT invoice_id, stated_at FROM invoice_states") == [
        {"invoice_id": "ce17", "stated_at": "2026-11-03T00:00:00Z"}
    ]
    (folder.invoice_states / "ab.ndjson").write_bytes(b'{"invoice_id": "ab')
    with pytest.raises(UnmendableError, match=r"ab\.ndjson is damaged"):
        state_paid(folder, "ab17", moment)


def page(ledger: Path, name: str, *options: str) -> str:
    file = ledger.parent / f"{name}.html"
    here("invoice", name, "--ledger", ledger, "--html", file, *options)
    return file.read_text(encoding="utf-8")


def test_the_page_is_whole_escaped_and_without_scripts(ledger, monkeypatch):
    monkeypatch.setenv("RATEMILL_LOGO_URL", "https://static.example/logos")
    monkeypatch.setenv("RATEMILL_SELLER", "Cloudline B.V.\n1 Cloud Street\nVAT NL009")
    text = page(ledger, CALLS)
    for part in (
        '<img class="logo" src="https://static.example/logos/acme.png" alt="Acme &lt;Tools&gt; &amp; Co">',
        '<strong>Cloudline B.V.</strong><span class="lines">1 Cloud Street\nVAT NL009</span>',
        '<span class="lines">1 Main Street\n3rd floor\nAmsterdam</span>',
        '<dt>Tax ID</dt><dd dir="auto">NL001B01</dd>',
        '<span class="whole">1 October 2026 –</span> <span class="whole">31 October 2026</span>',
        "<dt>Issued</dt><dd>1 November 2026</dd>",
        'Tier 2<span class="detail">above 1,000</span>',
        "<strong>1,362.31 USD</strong>",
        "IBAN NL00 BANK 0000\nWithin 30 days",
        'Web shop<span class="detail">key-1</span>',
        '<td role="cell" class="number amount">22.25615</td>',
        shown(ledger, CALLS)["certificate"]["ledger_digest"],
    ):
        assert part in text, part
    assert "<script" not in text
    assert "Acme <" not in text
    assert text.count("https://") == 1


def test_a_paid_page_asks_for_nothing_and_an_unnamed_logo_is_left_out(own_ledger):
    here("invoice", CALLS, "--ledger", own_ledger, "--paid", "--note", "<b>7</b>")
    text = page(own_ledger, CALLS)
    assert '<p class="stamp">paid</p>' in text
    assert "&lt;b&gt;7&lt;/b&gt;" in text
    assert "How to pay" not in text
    assert "<img" not in text


def test_the_page_without_the_catalog_has_ids_for_names(own_ledger):
    for file in (own_ledger / "catalogs").glob("*.json"):
        file.unlink()
    text = page(own_ledger, CALLS)
    assert 'dir="auto">Calls</th>' in text
    assert "<strong>1,362.31 USD</strong>" in text


def test_states_are_lines_of_json(own_ledger):
    here("invoice", CALLS, "--ledger", own_ledger, "--paid")
    [file] = [path for path in (own_ledger / "invoice_states").glob("*.ndjson") if path.stat().st_size]
    [line] = file.read_bytes().splitlines()
    said = msgspec.json.decode(line)
    assert file.name == f"{said['invoice_id'][:2]}.ndjson"
    assert set(said) == {"invoice_id", "state", "stated_at", "note"}
