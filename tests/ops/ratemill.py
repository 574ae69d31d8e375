"""Runs the real command as a process, and the small world that the tests of `ops` share."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.cli import run

ROOT = Path(__file__).resolve().parents[2]

CATALOG = """
organizations:
  - {id: acme, name: Acme, timezone: UTC}
subscribers:
  - {email: joe@acme.com, organizations: [acme]}
sources:
  - {id: api}
  - {id: payments}
products:
  - id: calls
    version: 1.0.0
    currency: USD
    sources: [api]
    settlement_period: month
    charges:
      - id: calls
        meter: {aggregation: sum, element: calls}
        price: {model: graduated, tiers: [{up_to: "100", unit_price: "0.10"}, {unit_price: "0.05", flat_amount: "1"}]}
    pricing_rules: [eu]
  - id: bulk
    version: 1.0.0
    currency: EUR
    sources: [api]
    settlement_period: month
    charges:
      - id: calls
        meter: {aggregation: sum, element: calls}
        price:
          model: included
          included: 5
          then: {model: volume, tiers: [{up_to: "100", unit_price: "0.10"}, {unit_price: "0.05"}]}
  - id: share
    version: 1.0.0
    currency: USD
    sources: [payments]
    settlement_period: none
    charges:
      - id: share
        meter: {aggregation: sum, element: amount, where: "kind = 'sale'"}
        price: {model: percentage, rate: "0.01", fixed_amount: "0.30", minimum_amount: "0.50"}
  - id: tried
    version: 1.0.0
    currency: USD
    settlement_period: month
    free_trial: {days: 14}
    charges:
      - id: packages
        meter: {aggregation: count}
        price: {model: package, package_size: 100, package_price: 5}
pricing_rules:
  - {id: eu, where: "region = 'eu'", multiplier: "1.2"}
subscriptions:
  - {id: sub-calls, product: calls@1.0.0, subscriber: joe@acme.com, organization: acme, start: "2026-11-01T00:00:00Z"}
  - {id: sub-bulk, product: bulk@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: sub-share, product: share@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: sub-tried, product: tried@1.0.0, subscriber: joe@acme.com, start: "2026-11-10T00:00:00Z"}
credentials:
  - {id: key-calls, subscription: sub-calls}
"""


@dataclass(frozen=True)
class Ran:
    """What a finished process left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def ratemill(*arguments: str | Path, cwd: Path | None = None, stdin: str = "", **stated: str) -> Ran:
    """One run of the command, with what is stated in its environment; its output is a pipe."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RATEMILL_")}
    environment |= {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", **stated}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        input=stdin,
        timeout=240,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def succeed(*arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> Ran:
    """One run that must succeed."""
    ran = ratemill(*arguments, cwd=cwd, stdin=stdin)
    assert ran.code == 0, f"{arguments} left {ran.code}\n{ran.out}\n{ran.err}"
    return ran


def inside(*arguments: str | Path) -> Ran:
    """One run of the command within this process: for what needs no process of its own, because that takes a second."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def here(*arguments: str | Path) -> str:
    """What a run within this process prints; it must succeed."""
    ran = inside(*arguments)
    assert ran.code == 0, ran.err
    return ran.out


def query(ledger: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of a query through the command's own code."""
    return json.loads(here("sql", sql, "--ledger", ledger, "--json"))


def event(name: str, subscription: str = "sub-calls", **changes: Any) -> dict[str, Any]:
    """An event of the small world; an attribute set to None is left out."""
    stated = {
        "specversion": "1.0",
        "id": name,
        "source": "api",
        "type": "call",
        "time": "2026-11-20T10:00:00Z",
        "subscription": subscription,
        "data": {"calls": 1},
    }
    return {key: value for key, value in {**stated, **changes}.items() if value is not None}


def write_world(folder: Path, events: list[Any], catalog: str = CATALOG) -> tuple[Path, Path, Path]:
    """A catalog and a file of events (dictionaries, or raw text) in a folder; returns catalog, events, ledger."""
    (folder / "catalog").mkdir(parents=True, exist_ok=True)
    (folder / "catalog/catalog.yaml").write_text(catalog)
    lines = [item if isinstance(item, str) else json.dumps(item) for item in events]
    (folder / "events.ndjson").write_text("".join(line + "\n" for line in lines))
    return folder / "catalog", folder / "events.ndjson", folder / "ledger"


def rated_world(folder: Path, events: list[Any], *options: str, catalog: str = CATALOG) -> Path:
    """The ledger of a small world, rated."""
    at, file, ledger = write_world(folder, events, catalog)
    succeed("rate", "--catalog", at, "--events", file, "--ledger", ledger, *options)
    return ledger
