"""The documents are run: every session typed, every query asked, every key and reason accounted for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from ops.ledger_views import open_ledger, view_names
from ops.query import ask
from schemas import catalog, prices
from schemas.verdicts import Reason, Verdict
from tests.ops.ratemill import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
LEDGER = (ROOT / "docs/ledger.md").read_text()
QUOTAS = (ROOT / "docs/quotas.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def session(path, folder):
    """Types all of a document's session into one shell; every command must succeed."""
    (folder / "bin").mkdir()
    command = folder / "bin/ratemill"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ops.cli "$@"\n')
    command.chmod(0o755)
    script = "set -euo pipefail\n" + "\n".join(blocks(path.read_text(), "bash"))
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_session_of_the_readme(tmp_path):
    out = session(ROOT / "README.md", tmp_path)
    assert re.search(r"3 +│ +2 +│ +1 +│ +0\.05 +│ +0\.05", out), out
    assert "duplicate" in out
    assert "parked" in out


def test_the_session_of_getting_started(tmp_path):
    out = session(ROOT / "docs/getting-started.md", tmp_path)
    assert re.search(r"acme +│ +10\.5\b", out), out
    assert re.search(r"globex +│ +0\.7\b", out), out


def test_the_session_of_quotas(tmp_path):
    out = session(ROOT / "docs/quotas.md", tmp_path)
    assert re.search(r"2 +│ usage +│ +10 +│ +100 +│ +1\b", out), out
    assert re.search(r"3 +│ blocked +│ quota 'tokens' is used up until 2026-12-01 00:00 UTC", out), out
    assert re.search(r"quota_threshold +│ tokens +│ +0\.8 +│ +80 +│ +90", out), out
    assert re.search(r"rate +│ allowed +│ window_end", out), out


def test_the_session_of_test_modes(tmp_path):
    out = session(ROOT / "docs/test-modes.md", tmp_path)
    known = re.search(r"acme +│ tryout@1.0.0 +│ +\d+ +│ (\S+) USD", out)
    assert known, out
    assert re.search(rf"│ +12 +│ +{re.escape(known[1].rstrip('0').rstrip('.'))} +│", out), out
    assert re.search(r"invoice_issued +│ +12\b", out), out
    assert re.search(r"test_mode_ended +│ +1\b", out), out
    assert re.search(r"tier_threshold +│ +12\b", out), out


@pytest.mark.parametrize("sql", [*blocks(LEDGER, "sql"), *blocks(QUOTAS, "sql")])
def test_every_query_of_the_ledger_and_quota_pages_runs(ledger, sql):
    with open_ledger(ledger) as connection:
        assert ask(connection, sql).columns


def documented_columns():
    sections = re.split(r"^### ", LEDGER, flags=re.M)[1:]
    return {
        section.split("\n", 1)[0].strip(): re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.M)
        for section in sections
    }


def test_the_ledger_page_describes_every_view_column_by_column(ledger):
    with open_ledger(ledger) as connection:
        real = {
            view: [(name, kind) for name, kind, *_ in connection.execute(f"DESCRIBE {view}").fetchall()]
            for view in view_names()
        }
    assert documented_columns() == real
    assert len(blocks(LEDGER, "sql")) == len(real)


CATALOG_PAGE = (ROOT / "docs/catalog.md").read_text()
DESCRIBED: dict[str, type[BaseModel]] = {
    "organizations": catalog.Organization,
    "subscribers": catalog.Subscriber,
    "sources": catalog.Source,
    "products": catalog.Product,
    "charges": prices.Charge,
    "meter": prices.Meter,
    "quota": catalog.Quota,
    "pricing_rules": prices.PricingRule,
    "subscriptions": catalog.Subscription,
    "credentials": catalog.Credential,
    "refunds": catalog.Refund,
}


@pytest.mark.parametrize("section", DESCRIBED)
def test_the_catalog_page_lists_every_key(section):
    text = re.split(rf"^##+ {section}$", CATALOG_PAGE, flags=re.M)[1]
    table = text.partition("| key | value |")[2].split("\n\n")[0]
    keys = re.findall(r"^\| `(\w+)` \| (required)?", table, re.M)
    fields = DESCRIBED[section].model_fields
    assert {key for key, _ in keys} == set(fields)
    assert {key for key, required in keys if required} == {name for name, at in fields.items() if at.is_required()}


def test_the_catalog_page_names_every_section_price_and_tier_key():
    assert set(catalog.Catalog.model_fields) <= set(re.findall(r"^## (\w+)$", CATALOG_PAGE, re.M))
    text = CATALOG_PAGE.partition("### price")[2]
    models = [prices.PerUnitPrice, prices.GraduatedPrice, prices.VolumePrice, prices.StairstepPrice]
    models += [prices.PackagePrice, prices.PercentagePrice, prices.IncludedPrice]
    for model in models:
        row = re.search(rf"^\| `{model.model_fields['model'].default}` \|.*$", text, re.M)
        assert row is not None
        assert set(model.model_fields) - {"model"} <= set(re.findall(r"`(\w+)`", row[0]))
    assert set(prices.Tier.model_fields) <= set(re.findall(r"^\| `(\w+)` \|", text, re.M))


def test_the_verdicts_page_names_every_verdict_and_reason():
    text = (ROOT / "docs/verdicts.md").read_text()
    rows = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*) \|", text, re.M))))
    assert rows == {verdict.label for verdict in Verdict} | {reason.value for reason in Reason}


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_readme_is_short():
    text = Path(ROOT / "README.md").read_text()
    typed = sum(len(block.splitlines()) for block in blocks(text, "bash"))
    assert len(text.splitlines()) < 80
    assert typed * 3 > len(text.splitlines())
