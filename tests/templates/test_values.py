"""The way of a notification into its words: a message back to a row, exact details, what is not as it must be."""

import json
from decimal import Decimal

import polars as pl
import pytest

from dataflows.errors import RatemillError
from dataflows.notification_templates import from_message
from dataflows.steps.messages import json_texts
from schemas.ledger import NOTIFICATIONS, polars_schema
from schemas.notification_samples import SAMPLES, sample_row
from schemas.notification_variables import COMMON, KINDS, VARIABLES, detail_names
from tests.templates.world import templates


def message_of(row):
    """A row as the relay writes it."""
    held = {**row, "details": None if row["details"] is None else json.dumps(row["details"])}
    return json.loads(json_texts(pl.DataFrame([held], schema=polars_schema(NOTIFICATIONS)))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_becomes_its_row_again_and_says_the_same(kind):
    row = from_message(message_of(sample_row(kind)))
    details = row.pop("details")
    expected = sample_row(kind)
    assert (None if details is None else json.loads(details)) == expected.pop("details")
    assert row == expected
    loaded = templates()
    assert loaded.render({**row, "details": details}) == loaded.render(sample_row(kind))


WRONG = [
    ({"limit": 10000}, "'limit' is a decimal as text, not a number"),
    ({"limit": "1_000"}, "'limit' is a decimal as text, not '1_000'"),
    ({"limit": "0.0000001"}, "'limit' is a decimal as text, not '0.0000001'"),
    ({"occurred_at": "2026-11-20T10:00:00"}, "'occurred_at' is a time in UTC as text, not '2026-11-20T10:00:00'"),
    ({"occurred_at": "2026-13-20T10:00:00Z"}, "'occurred_at' is a time in UTC as text"),
    ({"occurred_at": None}, "'occurred_at' is missing"),
    ({"tier": True}, "'tier' is a whole number, not true or false"),
    ({"synthetic": "no"}, "'synthetic' is true or false, not 'no'"),
    ({"recipients": "joe@acme.example"}, "'recipients' is a list of texts, not 'joe@acme.example'"),
    ({"quota": 5}, "'quota' is text, not a number"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_what_is_no_such_message_is_refused(changes, says):
    with pytest.raises(RatemillError) as refused:
        from_message(message_of(sample_row("quota_reached")) | changes)
    assert str(refused.value).startswith(f"notification 'sample-quota_reached' cannot be read: {says}")


def test_unknown_columns_and_kinds_are_refused():
    message = message_of(sample_row("quota_reached"))
    with pytest.raises(RatemillError, match="has an unknown column 'limits'; did you mean 'limit'"):
        from_message(message | {"limits": "1"})
    with pytest.raises(RatemillError, match="is of the unknown kind 'quota_reach'; did you mean 'quota_reached'"):
        from_message(message | {"kind": "quota_reach"})


DETAILS = [
    ("no JSON", "its details are no JSON object: "),
    ("[1]", "its details are no JSON object: "),
    ('{"total": "12,5"}', "its 'details.total' cannot be used: '12,5' is not a decimal"),
    (
        '{"period_start": "2026-11-01"}',
        "its 'details.period_start' cannot be used: '2026-11-01' is not a time with a zone",
    ),
    ('{"number": 5}', "its 'details.number' cannot be used: expected text, not a number"),
    ('{"lines": [{"amount": "x"}]}', "its 'details.lines[0].amount' cannot be used: 'x' is not a decimal"),
    ('{"lines": "x"}', "its 'details.lines' is no list of parts"),
    ('{"lines": [1]}', "its 'details.lines' is no list of parts"),
]


@pytest.mark.parametrize(("details", "says"), DETAILS)
def test_details_that_cannot_be_used_are_named_and_the_rest_is_said(details, says):
    found = templates().render(sample_row("invoice_issued", details=details))
    assert [fault for fault in found.faults if fault.startswith(says)]
    assert "Platinum Unlimited" in found.subject


def test_a_json_number_keeps_its_digits():
    details = '{"total": 12345678901234567890.123456, "currency": "USD"}'
    found = templates().render(sample_row("invoice_issued", details=details))
    assert "12,345,678,901,234,567,890.123456 USD" in found.subject


def test_details_may_be_a_mapping_with_values_of_their_types():
    stated = {**SAMPLES["invoice_issued"]["details"], "total": Decimal("7.5"), "due_at": None}
    found = templates().render(sample_row("invoice_issued", details=stated))
    assert found.faults == ()
    assert "7.50 USD" in found.subject
    float_total = templates().render(sample_row("invoice_issued", details={**stated, "total": 7.5}))
    assert float_total.faults == ("its 'details.total' cannot be used: a float loses digits; quote it: \"7.5\"",)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_of_a_kind_has_all_of_its_variables_and_the_table_fits_the_ledger(kind):
    columns = {one.name for one in VARIABLES[kind] if one.origin == "column"}
    assert columns <= set(NOTIFICATIONS.names)
    row = sample_row(kind)
    assert set(row["details"] or {}) == set(detail_names(kind))
    own = columns - {one.name for one in COMMON}
    used = {name for name in own if row[name] is not None}
    assert used == own
    names = [one.name for one in VARIABLES[kind]]
    assert len(names) == len(set(names))
    # A part that is called like something of a dict's own would never be found.
    assert {part.name for one in VARIABLES[kind] for part in one.members}.isdisjoint(dir(dict))
