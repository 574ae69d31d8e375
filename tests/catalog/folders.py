"""Catalog folders written for a test, and their problems as short texts."""

from pathlib import Path

from dataflows.connectors.catalog_folder import check

SOUND = {
    "a.yaml": """\
organizations:
  - {id: acme, name: AcmeSoft, timezone: Europe/Berlin}
subscribers:
  - {email: joe@acme.com, organizations: [acme]}
sources:
  - {id: search, elements: [status, region, tokens, amount]}
  - {id: maps, elements: [status, tiles]}
pricing_rules:
  - {id: eu, where: "region = 'eu'", multiplier: "1.2"}
""",
    "b.yaml": """\
products:
  - id: gold
    version: 1.0.0
    sources: [search]
    currency: USD
    settlement_period: month
    payment_model: volume
    tiers:
      - {up_to: "100", unit_price: "0.10"}
      - {up_to: "200", unit_price: "0.05"}
      - {unit_price: "0.01"}
    quotas:
      - {name: calls, limit: "1000", on_exceed: overage}
    charges:
      - id: tokens
        meter: {aggregation: sum, element: tokens}
        price: {model: per_unit, unit_price: "0.000003"}
    pricing_rules: [eu]
""",
    "c/d.yml": """\
subscriptions:
  - {id: sub-1, product: gold@1.0.0, subscriber: joe@acme.com, organization: acme,
     start: "2026-11-01T00:00:00Z"}
credentials:
  - {id: key-1, subscription: sub-1, subscriber: joe@acme.com}
""",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def changed(file: str, written: str, instead: str | None) -> dict[str, str]:
    """The sound catalog with one text replaced, which must be there; without a replacement its whole line is gone."""
    text = SOUND[file]
    assert text.count(written) >= 1, written
    if instead is None:
        lines = [line for line in text.splitlines() if written not in line]
        return SOUND | {file: "\n".join(lines) + "\n"}
    return SOUND | {file: text.replace(written, instead)}


def problems(folder: Path) -> list[str]:
    """Every problem as `file:line: key: message`, the file relative to the folder."""
    return [str(problem).replace(f"{folder}/", "") for problem in check(folder)]
