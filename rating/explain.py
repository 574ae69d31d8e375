"""Why a number is what it is: an event or a line item of the ledger, derived again in plain sentences.

Owns: the sentences. Does not own: reading the ledger (its rows come as mappings by column name) or rating. The rule:
every number of a line stands in a sentence that says where it comes from, with all its digits.

>>> moment_text(datetime(2026, 11, 20, 10, tzinfo=UTC))
'2026-11-20T10:00:00Z'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rating.expand import ExpandedCharge, expand
from rating.explain_price import price_sentences
from rating.remedies import meaning_of
from schemas.catalog import Catalog, Product, Subscription
from schemas.prices import Meter

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sold:
    """The subscription of a line, the product version it pins, and the charge that the line belongs to."""

    subscription: Subscription
    product: Product
    charge: ExpandedCharge
    timezone: str


def explain_event(event: Row, lines: Sequence[Row], first_sight: Row | None, catalog: Catalog) -> list[str]:
    """What became of an event and why; `first_sight` is the event that a duplicate repeats."""
    sentences = [_event_sentence(event)]
    because, remedy = meaning_of(event["verdict"], event["reason"])
    sentences.append(because)
    if event["reason_detail"] is not None:
        sentences.append(f"In this record, {event['reason_detail']}.")
    if first_sight is not None:
        sentences.append(_repeat_sentence(event, first_sight))
    if event["verdict"] in ("rated", "exempt", "trial", "blocked"):
        sentences += _subscription_sentences(event, catalog)
    if remedy is not None:
        sentences.append(remedy)
    if lines:
        sentences.append(_total_sentence(lines))
    return sentences


def explain_line(line: Row, event: Row | None, catalog: Catalog) -> list[str]:
    """Every number of a line item; `event` is the one it rates, for the values of its elements."""
    sold = _sold(line, catalog)
    sentences = [
        f"Line {line['line_id']} charges subscription {line['subscription_id']} for"
        f" {_identity(line)} (record {line['offset']} of input {line['partition']})."
    ]
    sentences += _subscription_sentences(line, catalog)
    if sold is None:
        missing = f"{line['product_id']}@{line['product_version']}, charge {line['charge_id']}"
        return [*sentences, f"The given catalog does not have {missing}, so its prices cannot be explained."]
    sentences.append(_period_sentence(line, sold))
    sentences += _meter_sentences(sold, event)
    sentences += price_sentences(line, sold.charge)
    return sentences


def moment_text(moment: datetime) -> str:
    """A moment in UTC, with microseconds where it has any."""
    moment = moment.astimezone(UTC)
    text = moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def _identity(row: Row) -> str:
    return f"event {row['event_id']} of source {row['source']}"


def _event_sentence(event: Row) -> str:
    time = f", time {moment_text(event['event_time'])}" if event["event_time"] else ""
    return f"Record {event['offset']} of input {event['partition']} is {_identity(event)}{time}."


def _repeat_sentence(event: Row, first: Row) -> str:
    same = event["content_digest"] == first["content_digest"]
    content = "with the same data" if same else "but with other data: a conflict, see the view `conflicts`"
    return (
        f"The first one is record {first['offset']} of input {first['partition']},"
        f" time {moment_text(first['event_time'])}, verdict {first['verdict']}, {content}."
    )


def _total_sentence(lines: Sequence[Row]) -> str:
    count = f"{len(lines)} line items" if len(lines) > 1 else "One line item"
    return f"{count}: {', '.join(str(line['line_id']) for line in lines)}."


def _subscription_sentences(row: Row, catalog: Catalog) -> list[str]:
    """How the subscription was found, as far as the catalog and the row tell."""
    found = [item for item in catalog.subscriptions if item.id == row["subscription_id"]]
    if not found:
        return [f"The given catalog does not have subscription {row['subscription_id']}."]
    subscription = found[0]
    until = f" until {moment_text(subscription.end)}" if subscription.end else ""
    sentences = [
        f"Subscription {subscription.id} of {subscription.subscriber} pins product {subscription.product},"
        f" from {moment_text(subscription.start)}{until}."
    ]
    if row["credential_id"] is not None:
        sentences.append(_credential_sentence(row["credential_id"], subscription, catalog))
    elif row["subscriber"] is not None or row["organization_id"] is not None:
        sentences.append("It names no credential: the subscription was stated, or is the only active one that fits.")
    else:
        sentences.append("The event names the subscription itself.")
    return sentences


def _credential_sentence(name: str, subscription: Subscription, catalog: Catalog) -> str:
    owners = [item.subscription for item in catalog.credentials if item.id == name]
    if not owners:
        return (
            f"Credential {name} is not in the catalog: an event named it beside subscription {subscription.id},"
            " and so it came to belong to that subscription."
        )
    if owners[0] == subscription.id:
        return f"Credential {name} belongs to that subscription, so its usage is charged there."
    return (
        f"Credential {name} belongs to subscription {owners[0]}, but the event states {subscription.id}:"
        " the stated subscription is charged, the credential is only recorded."
    )


def _sold(line: Row, catalog: Catalog) -> Sold | None:
    subscriptions = [item for item in catalog.subscriptions if item.id == line["subscription_id"]]
    products = [
        item for item in catalog.products if (item.id, item.version) == (line["product_id"], line["product_version"])
    ]
    if not subscriptions or not products:
        return None
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    charges = [charge for charge in expand(products[0], rules).charges if charge.id == line["charge_id"]]
    if not charges:
        return None
    zones = {item.id: item.timezone for item in catalog.organizations}
    zone = zones.get(subscriptions[0].organization or "", "UTC")
    return Sold(subscriptions[0], products[0], charges[0], zone)


def _period_sentence(line: Row, sold: Sold) -> str:
    if line["line_kind"] == "trial":
        days = sold.product.free_trial.days if sold.product.free_trial else 0
        return (
            f"Its time {moment_text(line['event_time'])} lies within the first {days} days of the subscription,"
            " the free trial."
        )
    if line["period_end"] is None:
        return f"The product has no settlement period: usage runs on from {moment_text(line['period_start'])}."
    length = sold.product.settlement_period
    return (
        f"Its time {moment_text(line['event_time'])} lies in the settlement period from"
        f" {moment_text(line['period_start'])} to {moment_text(line['period_end'])}, end excluded"
        f" (settlement period {length}, counted from the subscription's start in zone {sold.timezone})."
    )


def _meter_sentences(sold: Sold, event: Row | None) -> list[str]:
    sentences = [f"Charge {sold.charge.id} {meter_text(sold.charge.meter)}."]
    filters = [f"`{sold.charge.meter.where}`"] if sold.charge.meter.where else []
    filters += [f"`{rule.where}` (rule {rule.id})" for rule in sold.charge.rules if _only_filters(rule)]
    if filters:
        sentences.append(f"It meters only events for which {' and '.join(filters)} is true, as for this one.")
    if event is not None and event["data"] is not None:
        sentences.append(f"The event's data is {event['data']}.")
    return sentences


def _only_filters(rule: Any) -> bool:
    return rule.where is not None and rule.multiplier is None and rule.quantity is None


def meter_text(meter: Meter) -> str:
    """What a meter makes of events, after the charge's name."""
    what = f"the formula `{meter.quantity}`" if meter.quantity else f"the element `{meter.element}`"
    match meter.aggregation:
        case "count":
            return "counts events"
        case "sum":
            return f"sums {what} of the period's events"
        case "max":
            return f"takes the greatest {what} of the period's events"
        case "latest":
            return f"takes {what} of the period's latest event by its time"
        case "unique":
            return f"counts the distinct values of {what} among the period's events"
        case "average":
            return f"takes the average of {what} over the period's events, to 6 digits"
