"""A small world for flows: a catalog with state of every kind, and files of events that show any loss or repeat.

Each file has subscriptions of its own, so the rows of a run do not depend on which file is read faster: two runs over
the same files must give the same ledger, row for row.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.ledger.published import read_table
from rating.catalog import CompiledCatalog, compile_catalog

SUBSCRIPTIONS_PER_FILE = 40
FILES = 3
_MONTH = "2026-11"
_BEFORE = """\
subscribers:
  - {email: joe@acme.example, name: Joe}
sources:
  - {id: api, name: API}
products:
"""
_PRODUCT = """\
  - id: plan
    name: Plan
    version: 1.0.0
    sources: [api]
    currency: USD
    settlement_period: day
    payment_model: transactional
    rate: "0.01"
    charges:
      - id: tokens
        meter: {aggregation: sum, element: tokens, where: "region = 'eu'"}
        price:
          model: graduated
          tiers: [{up_to: "1000", unit_price: "0.003"}, {unit_price: "0.0015", flat_amount: "1"}]
      - id: volume
        meter: {aggregation: sum, element: tokens}
        price: {model: volume, tiers: [{up_to: "5000", unit_price: "0.2"}, {unit_price: "0.1"}]}
      - id: users
        meter: {aggregation: unique, element: user}
        price: {model: per_unit, unit_price: "2"}
    notification_threshold: "0.5"
    provider_notification_addresses: [provider@acme.example]
    quotas:
      - {name: requests, limit: "60", window: week, on_exceed: overage, notify_at: ["0.5", "0.8"]}
      - {name: users, meter: {aggregation: unique, element: user}, limit: "20", on_exceed: overage}
"""
# Which events this blocks depends on their order.
_CAP = """\
      - {name: tokens, meter: {aggregation: sum, element: tokens}, limit: "1500.5", window: day, on_exceed: block}
"""


@dataclass(frozen=True)
class World:
    """Where the world lies: the catalog's folder, and one file of events per lane."""

    catalog: Path
    events: tuple[Path, ...]

    def compiled(self) -> CompiledCatalog:
        return compile_catalog(load_catalog(self.catalog))


def make_world(
    folder: Path,
    events_per_file: int,
    files: int = FILES,
    seed: int = 5,
    month: str = _MONTH,
    *,
    caps: bool = True,
    daily: bool = True,
) -> World:
    """`month` is when all subscriptions begin and the events take place; `caps`: a quota blocks some of them.

    That quota begins anew every day or, not `daily`, never: then no ledger depends on whether a day ended meanwhile.
    """
    catalog = folder / "catalog"
    catalog.mkdir(parents=True)
    (catalog / "plan.yaml").write_text(_BEFORE + _products(daily) + _subscriptions(files, month, caps))
    paths = []
    for number in range(files):
        path = folder / f"events-{number}.ndjson"
        path.write_bytes(b"".join(events(number, events_per_file, seed, month=month)))
        paths.append(path)
    return World(catalog, tuple(paths))


def _products(daily: bool) -> str:
    cap = _CAP if daily else _CAP.replace("window: day, ", "")
    return _PRODUCT + _PRODUCT.replace("id: plan", "id: capped") + cap


def _subscriptions(files: int, month: str, caps: bool) -> str:
    start = f'"{month}-01T00:00:00Z"'
    products = [f"{'capped' if caps and number % 4 == 0 else 'plan'}@1.0.0" for number in range(SUBSCRIPTIONS_PER_FILE)]
    rows = [
        f"  - {{id: sub-{file}-{number}, product: {product}, subscriber: joe@acme.example, start: {start}}}"
        for file in range(files)
        for number, product in enumerate(products)
    ]
    return "subscriptions:\n" + "\n".join(rows) + "\n"


def events(file: int, count: int, seed: int, first: int = 0, month: str = _MONTH) -> list[bytes]:
    """Lines of a file: most are good; some repeat, break, name nobody, or name only a credential met before."""
    rng = random.Random(f"{seed}-{file}")
    lines: list[bytes] = []
    for number in range(first, first + count):
        kind = rng.random()
        if kind < 0.03 and lines:
            lines.append(rng.choice(lines[-500:]))
        elif kind < 0.04:
            lines.append(b'{"id": "broken-%d", "source": \n' % number)
        else:
            lines.append(json.dumps(_event(rng, file, number, kind, month)).encode() + b"\n")
    return lines


def _event(rng: random.Random, file: int, number: int, kind: float, month: str) -> dict:
    owner = rng.randrange(SUBSCRIPTIONS_PER_FILE)
    event = {"id": f"e-{file}-{number}", "source": "api", "time": f"{month}-{2 + number // 20_000:02d}T10:00:00Z"}
    if kind < 0.05:
        event["subscription"] = f"nobody-{number}"
    elif kind < 0.10:
        event |= {"subscription": f"sub-{file}-{owner}", "credential": f"key-{file}-{owner}"}
    elif kind < 0.15:
        event["credential"] = f"key-{file}-{owner}"
    else:
        event["subscription"] = f"sub-{file}-{owner}"
    event["data"] = {
        "tokens": str(rng.randrange(1, 400) / 4),
        "region": rng.choice(["eu", "us"]),
        "user": f"u{rng.randrange(300)}",
        "status": 500 if rng.random() < 0.02 else 200,
    }
    return event


def ledger_rows(ledger: Path) -> dict[str, pl.DataFrame]:
    """The whole ledger in an order of its own, without what may differ between runs: where commits end."""
    return {
        "events": read_table(ledger, "events").sort("partition", "offset"),
        "line_items": read_table(ledger, "line_items").sort("partition", "offset", "line_id"),
        "quota_verdicts": read_table(ledger, "quota_verdicts").sort(
            "subscription_id", "quota", "window_start", "occurred_at", "usage", "cause"
        ),
        "notifications": read_table(ledger, "notifications").sort("partition", "offset", "notification_id"),
    }


def assert_same_ledger(ledger: Path, undisturbed: Path) -> None:
    """Row for row the same, no position twice, and conservation at every commit."""
    rows, wanted = ledger_rows(ledger), ledger_rows(undisturbed)
    for table, expected in wanted.items():
        assert rows[table].height == expected.height, table
        assert rows[table].equals(expected), table
    assert not rows["events"].select(pl.struct("partition", "offset").is_duplicated().any()).item()
    assert not rows["line_items"]["line_id"].is_duplicated().any()
    assert not rows["notifications"].select("notification_id", "partition").is_duplicated().any()
    commits = read_table(ledger, "commits")
    for table in rows:
        assert commits[table].sum() == rows[table].height, table
    assert_conserved(ledger, rows["events"].height, rows["line_items"].height)


def assert_conserved(ledger: Path, events_stored: int, lines_stored: int) -> None:
    """received = the sum of the verdicts = rows, at every commit and over all; sequences without a gap."""
    commits = read_table(ledger, "commits").sort("writer", "sequence")
    verdicts = pl.sum_horizontal("rated", "exempt", "trial", "blocked", "duplicate", "parked", "late", "rejected")
    assert commits.select(
        (pl.col("received") == verdicts).all() & (pl.col("received") == pl.col("events")).all()
    ).item()
    assert (commits["events"].sum(), commits["line_items"].sum()) == (events_stored, lines_stored)
    for own in commits.partition_by("writer"):
        assert own["sequence"].to_list() == list(range(own.height))
