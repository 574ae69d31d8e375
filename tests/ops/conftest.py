"""The ledgers that several tests of `ops` only read."""

import pytest

from tests.ops.invoiced import invoiced_world
from tests.ops.ratemill import event, rated_world

EVENTS = [
    event("e1", data={"calls": 90}),
    event("e2", data={"calls": 20}, credential="key-calls"),
    event("e2", data={"calls": 20}),
    event("e1", data={"calls": 91}, time="2026-11-20T11:00:00Z"),
    event("e3", subscription=None, credential="key-calls", data={"calls": 5, "region": "eu"}),
    event("e4", credential="key-found", data={"calls": "2.5"}),
    event("b1", "sub-bulk", data={"calls": 60}),
    event("b2", "sub-bulk", data={"calls": 60}),
    event("s1", "sub-share", source="payments", data={"amount": "100.00", "kind": "sale"}),
    event("s2", "sub-share", source="payments", data={"amount": "10.00", "kind": "sale"}),
    event("s3", "sub-share", source="payments", data={"amount": "10.00", "kind": "refund"}),
    event("t1", "sub-tried"),
    event("t2", "sub-tried", time="2026-11-25T00:00:00Z"),
    event("f1", data={"calls": 3, "status": 503}),
    event("x1", source="elsewhere"),
    event("old", time="2026-10-31T23:59:59Z"),
    event("p1", "sub-unknown", data={"calls": 7}),
    event("p2", subscription=None, credential="key-unknown"),
    event("p3", subscription=None, subscriber="joe@acme.com"),
    event("r1", data={"calls": "NaN"}),
    event("r2", time="yesterday"),
    '{"id": "r3", "source": "api", "subscr',
]


@pytest.fixture(scope="session")
def ledger(tmp_path_factory):
    return rated_world(tmp_path_factory.mktemp("world"), EVENTS)


@pytest.fixture(scope="session")
def invoiced(tmp_path_factory):
    return invoiced_world(tmp_path_factory.mktemp("invoiced"))
