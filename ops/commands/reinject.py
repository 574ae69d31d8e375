"""`ratemill reinject`: parked events, charged now that the catalog knows whom."""

from collections import Counter
from pathlib import Path

import typer

from dataflows.connectors.kafka_client import topic_name
from ops.arguments import CatalogOption, JsonOption, LedgerOption, needed, settings_with
from ops.commands.again import ApplyOption, give_again, show_left
from ops.kafka_reinjection import (
    EVENTS_TOPIC,
    SENT,
    catalog_in_effect,
    choose_parked,
    is_fed_by_topic,
    reinject_parked,
)
from ops.ledger_views import check_is_ledger
from ops.output import print_json, say

EXAMPLES = """
Examples:

    ratemill reinject --catalog catalog --ledger ledger

    ratemill reinject --catalog catalog --ledger ledger --apply
"""


def run(
    catalog: CatalogOption = None,
    ledger: LedgerOption = None,
    apply: ApplyOption = False,
    json: JsonOption = False,
) -> None:
    """Charge parked events that the catalog, or a credential seen in the ledger, now leads to a subscription.

    A dry run unless `--apply` is given. Events of a ledger that Kafka feeds are sent to its topic again; they are rated
    by the published catalog when they arrive, so `--catalog` is not needed there.
    """
    place = needed(settings_with(ledger=ledger).ledger, "ledger")
    if not is_fed_by_topic(place):
        give_again("parked", catalog, ledger, apply, json)
    elif catalog is not None:
        raise typer.BadParameter("is the published one for a ledger that Kafka feeds", param_hint="'--catalog'")
    else:
        _send_again(place, apply, json)


def _send_again(ledger: Path, apply: bool, json: bool) -> None:
    check_is_ledger(ledger)
    settings = settings_with(ledger=ledger)
    known = catalog_in_effect(ledger)
    if apply:
        outcome = reinject_parked(settings, ledger, known)
    else:
        choice = choose_parked(ledger, known)
        outcome = Counter({**choice.left, SENT: len(choice.records)})
    sent = outcome.pop(SENT, 0)
    left = dict(sorted(outcome.items()))
    if json:
        # The verdicts are given by the flow, later.
        print_json({"applied": apply, "events": sent, "verdicts": {}, "left": left, "amounts": []})
        return
    topic = topic_name(settings, EVENTS_TOPIC)
    if sent:
        were = "were" if apply else "would be"
        say(f"{sent:,} parked events {were} sent to {topic} again, where the running flow rates them.")
    else:
        say("Nothing to do: no parked event can be charged that was not sent again before.")
    show_left(left)
    if sent and not apply:
        say("This was a dry run and changed nothing; --apply does it.")
