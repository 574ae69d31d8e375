"""Laws of settlement: twice is once, in steps or at once, however the work is split, whatever kills it."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError
from dataflows.ledger import manifest, writer
from dataflows.ledger.folder import LedgerFolder, existing_folder
from dataflows.ledger.published import read_table
from dataflows.ledger.writer import LedgerWriter
from dataflows.settlement import closing, reading
from dataflows.settlement.alone import settling_alone
from dataflows.verification.findings import Findings
from dataflows.verification.verifying import verify
from ops.ledger_views import open_ledger
from ops.settling import correct_invoice, settle_ledger
from schemas.invoices import LineKind
from tests.settlement.settling import SETTINGS, Ledger
from tests.settlement.world import START, rated

AS_OF = START + timedelta(days=62)
CORRECTED = "sub-1-1"
TABLES = ("invoices", "invoice_lines", "settled_periods", "notifications")
_KEYS = {
    "invoices": ["invoice_id"],
    "invoice_lines": ["invoice_line_id"],
    "settled_periods": ["subscription_id", "period", "invoice_id"],
    "notifications": ["notification_id"],
}
POINTS: dict[str, tuple[Any, str, bool]] = {
    "before rows are written": (LedgerWriter, "append", False),
    "after rows were written": (LedgerWriter, "append", True),
    "before a commit is sealed": (LedgerWriter, "seal", False),
    "after a commit was sealed": (LedgerWriter, "seal", True),
    "before files have their names": (writer, "make_public", False),
    "before the manifest is replaced": (manifest, "publish", False),
    "after the manifest was replaced": (manifest, "publish", True),
    "before anything is settled": (closing, "settle", False),
    "after a part was settled": (closing.Closer, "_settle_part", True),
}
_processes = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Ledger:
    return rated(tmp_path_factory.mktemp("world") / "one")


def copy(world: Ledger, folder: Path) -> Path:
    shutil.copytree(world.root, folder / "ledger")
    return folder / "ledger"


def settle(world: Ledger, ledger: Path, as_of: datetime = AS_OF) -> None:
    settle_ledger(ledger, SETTINGS, load_catalog(world.catalog()), as_of)


def tables(ledger: Path, *without: str) -> dict[str, pl.DataFrame]:
    found = {name: read_table(ledger, name).sort(_KEYS[name]) for name in TABLES}
    found["notifications"] = found["notifications"].filter(pl.col("kind") == "invoice_issued")
    return {name: rows.drop([each for each in without if each in rows.columns]) for name, rows in found.items()}


def same(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    for name in TABLES:
        assert one[name].to_dicts() == other[name].to_dicts(), name


def test_the_world_has_every_kind_that_settlement_makes(world, tmp_path):
    ledger = copy(world, tmp_path)
    settle(world, ledger, START + timedelta(days=20))
    settle(world, ledger)
    kinds = set(read_table(ledger, "invoice_lines")["line_kind"])
    assert kinds >= {LineKind(kind).label for kind in (1, 2, 4, 5, 6, 10)}


def test_in_steps_is_as_at_once(world, tmp_path):
    at_once, in_steps = (copy(world, tmp_path / name) for name in ("once", "steps"))
    settle(world, at_once)
    for day in range(1, 63, 3):
        settle(world, in_steps, START + timedelta(days=day))
    settle(world, in_steps)
    same(tables(at_once, "certificate"), tables(in_steps, "certificate"))


@pytest.mark.parametrize("writers", [1, 4])
def test_however_the_work_is_split(world, tmp_path, writers):
    ledger, other = copy(world, tmp_path), rated(tmp_path / "other", writers=writers, key_groups=writers)
    settle(world, ledger)
    settle(other, other.root)
    # Which notices and invoices there are does not depend on the split, what they were made from is named by it.
    same(tables(ledger, "certificate"), tables(other.root, "certificate"))


def test_however_small_the_parts_are(world, tmp_path, monkeypatch):
    """Side by side, and yet each writer's rows come in the same order."""
    at_once, in_parts = (copy(world, tmp_path / name) for name in ("once", "parts"))
    settle(world, at_once)
    monkeypatch.setattr(closing, "_PERIODS_READ_AT_ONCE", 1)
    settle(world, in_parts)
    for name in TABLES:
        assert read_table(in_parts, name).to_dicts() == read_table(at_once, name).to_dicts(), name


def test_a_folder_whose_name_looks_like_the_value_of_a_column(world, tmp_path):
    plain, named = (copy(world, tmp_path / name) for name in ("plain", "currency=XTS"))
    for ledger in (plain, named):
        settle(world, ledger)
        findings = Findings()
        verify(existing_folder(ledger), None, findings)
        assert findings.hold, findings.differences[:5]
    same(tables(plain), tables(named))
    with open_ledger(named) as connection:
        assert connection.execute("SELECT DISTINCT currency FROM line_items").fetchall() == [("USD",)]


def test_a_part_that_fails(world, tmp_path, monkeypatch):
    """Nothing is published, and the next settlement is as if nothing had happened."""
    undisturbed, failed = (copy(world, tmp_path / name) for name in ("undisturbed", "failed"))
    settle(world, undisturbed)
    calls = iter(range(1_000_000))

    def failing(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise RatemillError("the third part fails")
        return plain(*arguments)

    plain = closing.settle
    with monkeypatch.context() as patch:
        patch.setattr(closing, "_PERIODS_READ_AT_ONCE", 1)
        patch.setattr(closing, "settle", failing)
        with pytest.raises(RatemillError, match="the third part fails"):
            settle(world, failed)
    assert next(calls) < 20, "the parts behind it were settled all the same"
    assert read_table(failed, "invoices").is_empty()
    settle(world, failed)
    same(tables(undisturbed), tables(failed))


def die_at(point: str) -> None:
    owner, name, after = POINTS[point]
    original: Callable[..., object] = getattr(owner, name)

    def dying(*arguments: object, **named: object) -> None:
        if after:
            original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)
    # Or there would be one part only.
    vars(closing)["_PERIODS_READ_AT_ONCE"] = 1


def settle_and_die(root: str, catalog: str, point: str) -> None:
    die_at(point)
    settle_ledger(Path(root), SETTINGS, load_catalog(Path(catalog)), AS_OF)


def correct_and_die(root: str, catalog: str, point: str) -> None:
    die_at(point)
    correct_invoice(Path(root), SETTINGS, CORRECTED, load_catalog(Path(catalog)), AS_OF)


def killed_in(work: Callable[[str, str, str], None], world: Ledger, ledger: Path, point: str) -> None:
    process = _processes.Process(target=work, args=(str(ledger), str(world.catalog()), point))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
def test_killed(world, tmp_path, point):
    undisturbed, killed = (copy(world, tmp_path / name) for name in ("undisturbed", "killed"))
    settle(world, undisturbed)
    killed_in(settle_and_die, world, killed, point)
    settle(world, killed)
    same(tables(undisturbed), tables(killed))
    assert list((killed / "pending").glob("*.parquet")) == []


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_an_invoice_is_made_anew(world, tmp_path, point):
    """It was made anew or it was not; asked again, it is as if nothing had happened."""
    undisturbed, killed = (copy(world, tmp_path / name) for name in ("undisturbed", "killed"))
    for ledger in (undisturbed, killed):
        settle(world, ledger)
    correct_invoice(undisturbed, SETTINGS, CORRECTED, load_catalog(world.catalog()), AS_OF)
    killed_in(correct_and_die, world, killed, point)
    if CORRECTED + ".1" not in set(read_table(killed, "invoices")["number"]):
        correct_invoice(killed, SETTINGS, CORRECTED, load_catalog(world.catalog()), AS_OF)
    same(tables(undisturbed), tables(killed))


def test_two_settlements_at_a_time(world, tmp_path):
    ledger = copy(world, tmp_path)
    folder = LedgerFolder(ledger.resolve(), None)
    with settling_alone(folder), pytest.raises(RatemillError, match="in use by another process"):
        settle(world, ledger)


def rewrite(ledger: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change the rows of the largest file of a table, as somebody with an editor would."""
    path = max((ledger / table).glob(f"{table}-*.parquet"), key=lambda one: one.stat().st_size)
    schema = pq.read_schema(path)
    rows = change(pl.DataFrame(pl.from_arrow(pq.read_table(path, partitioning=None))))
    pq.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema), path)


def waiting(ledger: Path) -> set[str]:
    rows = read_table(ledger, "settled_periods").filter(pl.col("outcome") == "waiting")
    return set(rows["reason"])


def test_an_amount_that_was_changed(world, tmp_path):
    ledger = copy(world, tmp_path)
    rewrite(ledger, "line_items", lambda rows: rows.with_columns(amount=pl.col("amount") * 2))
    settle(world, ledger)
    assert waiting(ledger) == {"usage_differs"}


def test_a_kind_of_line_that_there_is_not(world, tmp_path):
    ledger = copy(world, tmp_path)
    named = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("gift")).otherwise("line_kind")
    rewrite(ledger, "line_items", lambda rows: rows.with_columns(line_kind=named))
    settle(world, ledger)
    assert waiting(ledger) == {"usage_differs"}
    assert read_table(ledger, "invoices").height > 10


@pytest.mark.parametrize("hashes_at_once", [8_000_000, 100])
def test_an_event_that_was_rated_twice(world, tmp_path, monkeypatch, hashes_at_once):
    monkeypatch.setattr(reading, "_HASHES_AT_ONCE", hashes_at_once)
    ledger = copy(world, tmp_path)

    def as_the_one_before(rows: pl.DataFrame) -> pl.DataFrame:
        first = rows.row(0, named=True)
        again = (pl.col("offset") == rows["offset"][1]) & (pl.col("partition") == rows["partition"][1])
        return rows.with_columns(event_id=pl.when(again).then(pl.lit(first["event_id"])).otherwise("event_id"))

    rewrite(ledger, "events", as_the_one_before)
    settle(world, ledger)
    assert waiting(ledger) == {"rated_twice"}
    assert read_table(ledger, "invoices").height > 10


def test_conservation_that_does_not_hold(world, tmp_path):
    ledger = copy(world, tmp_path)
    rewrite(ledger, "commits", lambda rows: rows.with_columns(received=pl.col("received") + 1))
    with pytest.raises(RatemillError, match="conservation"):
        settle(world, ledger)
    assert read_table(ledger, "invoices").is_empty()


def test_views_show_what_was_settled(world, tmp_path):
    ledger = copy(world, tmp_path)
    settle(world, ledger)
    with open_ledger(ledger) as connection:
        wrong = connection.execute(
            "SELECT i.number FROM invoices i JOIN (SELECT invoice_id, sum(amount) AS s FROM invoice_lines GROUP BY 1) l"
            " USING (invoice_id) WHERE i.total <> l.s"
        ).fetchall()
    assert wrong == []


def test_a_clock_that_was_set_back_since_settles_nothing_twice(tmp_path):
    """What was published an hour ahead is seen by the next settlement, and by everybody after it."""
    world = rated(tmp_path / "one")
    world.settle(AS_OF)
    invoices = read_table(world.root, "invoices").height
    for path in (world.root / "manifest").glob("settlement-*.json"):
        ahead = [
            msgspec.structs.replace(file, visible_from=file.visible_from + 3_600_000_000)
            for file in manifest.load(path).files
        ]
        path.write_bytes(msgspec.json.encode(ahead))
    world.settle(AS_OF)
    assert read_table(world.root, "invoices").height == invoices
