"""Gateways' logs through the command: rated, explained, parked and re-injected; and the examples of the page."""

import json
import re

import pytest
import yaml

from dataflows.steps.formats import translated
from rating.foreign import foreign_sources
from schemas.catalog import Catalog
from tests.ops.ratemill import ROOT, event, here, query, rated_world, ratemill, succeed

CATALOG = """
organizations: [{id: acme}]
subscribers: [{email: joe@acme.com, organizations: [acme]}]
sources:
  - {id: api}
  - {id: orders, format: kong, mapping: {tokens: ai.tokens}}
  - {id: edge, format: envoy, mapping: {credential: 'headers["x-api-key"]'}}
  - {id: llm, format: revenium}
products:
  - id: calls
    version: 1.0.0
    currency: USD
    settlement_period: month
    charges:
      - {id: calls, meter: {aggregation: count}, price: {model: per_unit, unit_price: "0.10"}}
      - {id: tokens, meter: {aggregation: sum, element: tokens}, price: {model: per_unit, unit_price: "0.01"}}
subscriptions:
  - {id: sub-1, product: calls@1.0.0, subscriber: joe@acme.com, organization: acme, start: "2026-11-01T00:00:00Z"}
credentials:
  - {id: key-1, subscription: sub-1}
"""


def kong(name, **changes):
    stated = {
        "request": {"id": name, "size": 139, "method": "GET"},
        "response": {"status": 200, "size": 10},
        "service": {"name": "orders"},
        "consumer": {"custom_id": "key-1"},
        "started_at": 1795176000123,
        "ai": {"tokens": "1.250000"},
        "source": "upstream",
    }
    return stated | changes


ENVOY = {
    "request_id": "v1",
    "start_time": "2026-11-20T12:00:00Z",
    "upstream_cluster": "edge",
    "headers": {"x-api-key": "key-1"},
    "response_code": 200,
}
REVENIUM = {
    "transactionId": "r1",
    "sourceId": "llm",
    "payload": {"tokens": 12},
    "usage_metadata": {"subscriber_identity": "joe@acme.com"},
    "time": "2026-11-20T12:00:00Z",
}
RECORDS = [
    event("c1", "sub-1", data={"tokens": 1}),
    kong("k1"),
    kong("k1"),
    kong("k2", response={"status": 503}),
    kong("k3", consumer={"custom_id": "key-2"}),
    kong("k4", started_at="noon"),
    kong("k5", service={"name": "billing"}),
    ENVOY,
    REVENIUM,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    rated_world(folder, RECORDS, catalog=CATALOG)
    return folder


def test_each_record_has_one_verdict(folder):
    found = query(folder / "ledger", 'SELECT source, event_id, verdict, reason FROM events ORDER BY "offset"')
    assert [tuple(row.values()) for row in found] == [
        ("api", "c1", "rated", None),
        ("orders", "k1", "rated", None),
        ("orders", "k1", "duplicate", None),
        ("orders", "k2", "exempt", "exempt_by_filter"),
        ("orders", "k3", "parked", "unknown_credential"),
        ("orders", "k4", "rejected", "bad_time"),
        ("upstream", None, "rejected", "missing_id"),
        ("edge", "v1", "rated", None),
        ("llm", "r1", "rated", None),
    ]


def test_lines_have_the_digits_of_the_records(folder):
    lines = query(
        folder / "ledger",
        "SELECT event_id, charge_id, quantity, amount FROM line_items WHERE source != 'api' ORDER BY ALL",
    )
    assert [tuple(row.values()) for row in lines] == [
        ("k1", "calls", "1", "0.1"),
        ("k1", "tokens", "1.25", "0.0125"),
        ("r1", "calls", "1", "0.1"),
        ("r1", "tokens", "12", "0.12"),
        ("v1", "calls", "1", "0.1"),
    ]


def test_a_refused_record_is_kept_and_explained(folder):
    [row] = query(folder / "ledger", "SELECT data FROM events WHERE event_id = 'k4'")
    assert json.loads(json.loads(row["data"])["record"])["started_at"] == "noon"
    said = here("explain", "orders/k4", "--ledger", folder / "ledger", "--catalog", folder / "catalog")
    assert "source 'orders' (format kong) has time at `started_at`" in " ".join(said.split())


def test_a_parked_record_is_reinjected_with_its_data(folder, tmp_path):
    ledger = rated_world(tmp_path, RECORDS, catalog=CATALOG)
    (tmp_path / "catalog/catalog.yaml").write_text(CATALOG + "  - {id: key-2, subscription: sub-1}\n")
    succeed("reinject", "--catalog", tmp_path / "catalog", "--ledger", ledger, "--apply")
    assert query(ledger, "SELECT quantity FROM line_items WHERE event_id = 'k3' AND charge_id = 'tokens'") == [
        {"quantity": "1.25"}
    ]


def test_a_wrong_mapping_is_told_with_its_place(tmp_path):
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace("ai.tokens", "'ai[0].tokens'"))
    ran = ratemill("check", tmp_path)
    assert ran.code == 1
    assert "catalog.yaml:6: sources[orders].mapping.tokens: 'ai[0].tokens' is no path" in ran.out


PAGE = (ROOT / "docs/catalog.md").read_text().partition("### Sources and formats")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize(("record", "said"), list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True)))
def test_the_examples_of_the_page_are_so(record, said):
    [written] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    found = translated(record.encode(), foreign_sources(Catalog.model_validate(yaml.safe_load(written)).sources))
    assert found is not None
    assert list(json.loads(found.record).items()) == list(json.loads(said).items())


def test_the_page_has_every_path_of_each_format():
    header, *rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    table = {row[0].strip(" `"): [re.findall(r"`([^`]+)`", cell) for cell in row[1:]] for row in rows}
    for place, title in enumerate(header[1:]):
        kind = title.strip(" `")
        owner = {"mapping": {"credential": "x"}} if kind == "envoy" else {}
        [one] = foreign_sources(Catalog.model_validate({"sources": [{"id": "s", "format": kind, **owner}]}).sources)
        for name, paths in (one.attributes | one.elements).items():
            if not (kind == "envoy" and name == "credential"):
                plain = [".".join(path) for path in paths if path[:2] != ("payload", "usage_metadata")]
                assert [text for text in table[name][place] if " " not in text] == plain, (kind, name)
