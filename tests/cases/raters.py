"""The ways a case can be rated. Each takes a case and gives, for every record in order, what became of it."""

from rating.expand import expand
from schemas.catalog import Catalog
from tests.cases.notation import Case
from tests.oracle.oracle import Oracle, Rated


def catalog_of(case: Case) -> Catalog:
    """The case's catalog as the models of `schemas.catalog`."""
    return Catalog.model_validate(case.document)


def rate_with_oracle(case: Case) -> list[Rated]:
    oracle = Oracle(catalog_of(case), expand, case.lateness, case.skew)
    return oracle.rate_all([(record.partition, record.raw, record.record_time) for record in case.records])
