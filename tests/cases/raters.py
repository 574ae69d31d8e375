"""The ways a case can be rated. Each takes a case and gives, for every record in order, what became of it."""

from collections.abc import Callable
from datetime import timedelta
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from dataflows.connectors.catalog_folder import load_catalog
from rating.catalog import compile_catalog
from rating.engine import RatingSettings
from rating.expand import expand
from schemas.catalog import Catalog
from tests.cases.core import Core, RawRecord, batches, in_order
from tests.cases.notation import Case
from tests.oracle.oracle import Oracle
from tests.oracle.rated import Rated


def write_catalog(case: Case, folder: Path) -> Path:
    """Writes the case's catalog as the YAML that a person would write."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = {kind: items for kind, items in case.document.items() if items}
    (folder / "catalog.yaml").write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    return folder


def catalog_of(case: Case) -> Catalog:
    """The case's catalog, loaded and checked as `ratemill` does."""
    with TemporaryDirectory() as folder:
        return load_catalog(write_catalog(case, Path(folder)))


def rate_with_oracle(case: Case) -> list[Rated]:
    return Oracle(catalog_of(case), expand, case.lateness, case.skew).rate_all(raw_records(case))


def rate_with_core(case: Case) -> list[Rated]:
    return _with_core(case, 1000)


def rate_with_core_one_by_one(case: Case) -> list[Rated]:
    return _with_core(case, 1)


def _with_core(case: Case, size: int) -> list[Rated]:
    settings = RatingSettings(lateness=micros(case.lateness), skew=micros(case.skew))
    core = Core(compile_catalog(catalog_of(case)), settings)
    for batch in batches(raw_records(case), repeat(size)):
        core.take(batch)
    return in_order(raw_records(case), core.rated())


def raw_records(case: Case) -> list[RawRecord]:
    return [(record.partition, record.raw, record.record_time) for record in case.records]


def micros(span: timedelta | None) -> int | None:
    """A span in microseconds."""
    return None if span is None else span // timedelta(microseconds=1)


IN_MEMORY: dict[str, Callable[[Case], list[Rated]]] = {"oracle": rate_with_oracle, "core": rate_with_core}
