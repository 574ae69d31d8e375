"""`ratemill explain`: where every number of an event, a line item or a line of an invoice comes from."""

from pathlib import Path
from typing import Annotated

import typer

from dataflows.connectors.catalog_folder import load_catalog
from ops.arguments import JsonOption, LedgerOption, needed, settings_with
from ops.explanation import Explained, Explainer
from ops.ledger_views import open_ledger
from ops.output import bullet_list, print_json, say

EXAMPLES = """
Examples:

    ratemill explain drug-search/01JD3Z0V9 --ledger demo-ledger

    ratemill explain 0-17-0 --ledger demo-ledger

    ratemill explain 0-17 --ledger demo-ledger --json

    ratemill explain 82f067bcee44ca389472f75a9d03a65b-1 --ledger demo-ledger
"""


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A line id (0-17-0), a record (0-17), an event (source/id, or id), an invoice, or a line of one.",
        ),
    ],
    ledger: LedgerOption = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Explain with this catalog instead of the one the ledger was rated with.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain an event, a line item, an invoice or a line of one: each number derived in plain sentences."""
    given = load_catalog(catalog) if catalog is not None else None
    place = needed(settings_with(ledger=ledger).ledger, "ledger")
    with open_ledger(place) as connection:
        explained = Explainer(connection, place, given).explain(name)
    if json:
        print_json([{"kind": one.kind, "row": one.row, "sentences": one.sentences} for one in explained])
        return
    for one in explained:
        _show(one)


def _show(one: Explained) -> None:
    row = one.row
    match one.kind:
        case "line":
            say(f"Line {row['line_id']}")
        case "invoice":
            say(f"Invoice {row['invoice_id']}")
        case "invoice_line":
            say(f"Invoice line {row['invoice_line_id']}")
        case _:
            say(f"Event {row['source']}/{row['event_id']}")
    bullet_list(one.sentences)
    say()
