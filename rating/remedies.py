"""What each verdict and reason means, and what a person can do about it, in one sentence each.

>>> meaning_of("parked", "unknown_credential")[1]
'Add the credential to the catalog and run `ratemill reinject`.'
"""

from schemas.verdicts import Reason, Verdict

VERDICT_MEANINGS: dict[Verdict, str] = {
    Verdict.RATED: "at least one charge of the product metered it, and its line items say what it costs",
    Verdict.EXEMPT: "it was received and costs nothing, because no charge meters it",
    Verdict.TRIAL: "it falls into the subscription's free trial: its usage is counted apart and costs nothing",
    Verdict.BLOCKED: "it was not allowed to be charged: it is recorded and costs nothing",
    Verdict.DUPLICATE: "an event of the same source and id was received before, and only the first one counts",
    Verdict.PARKED: "nobody to charge is known yet: it is kept, and costs nothing until it is re-injected",
    Verdict.LATE: "it came later than the lateness allows: it is kept, and costs nothing until it is backfilled",
    Verdict.REJECTED: "it cannot be read as an event or as usage: what was readable is kept, and it costs nothing",
}

_SEND_AGAIN = "Send a corrected event; a rejected one does not make it a duplicate."
_REINJECT = "Add {} to the catalog and run `ratemill reinject`."

_REASONS: dict[Reason, tuple[str, str]] = {
    Reason.MALFORMED_JSON: ("the record is not one JSON object in UTF-8", _SEND_AGAIN),
    Reason.TOO_LARGE: ("the record has more than 65536 bytes", "Send smaller events: leave out what no charge meters."),
    Reason.MISSING_ID: ("the record has no `id`", _SEND_AGAIN),
    Reason.MISSING_SOURCE: ("the record has no `source`", _SEND_AGAIN),
    Reason.MISSING_SUBJECT: (
        "the record names no subscription, credential, subscriber or organization",
        "Send the event again with one of them; a rejected one does not make it a duplicate.",
    ),
    Reason.BAD_ATTRIBUTE: (
        "an attribute has the wrong type, is empty, has more than 256 characters or contains a null character",
        _SEND_AGAIN,
    ),
    Reason.BAD_TIME: ("its `time` is not an RFC 3339 time between 1970 and 2199", _SEND_AGAIN),
    Reason.BAD_DATA: ("its `data` is not an object, or has more than 64 elements", _SEND_AGAIN),
    Reason.SKEW: (
        "its time lies further ahead of its record's timestamp than the allowed skew",
        "Set the clock of the source right and send the event again.",
    ),
    Reason.BAD_QUANTITY: (
        "an element that a charge meters is no decimal of at most 20 integer and 6 fractional digits, is negative where"
        " the meter does not allow that, or a formula's result has more than 6 fractional digits",
        _SEND_AGAIN,
    ),
    Reason.OVERFLOW: (
        "its amount would not fit into the 38 digits of the ledger",
        "Look for a wrong quantity or a wrong price, correct it and send the event again.",
    ),
    Reason.LATENESS: (
        "its time lies more than the lateness before its record's timestamp",
        "Run `ratemill backfill` to charge it to its own period.",
    ),
    Reason.UNKNOWN_SUBSCRIPTION: ("the catalog has no such subscription", _REINJECT.format("the subscription")),
    Reason.UNKNOWN_CREDENTIAL: ("the catalog has no such credential", _REINJECT.format("the credential")),
    Reason.UNKNOWN_SUBSCRIBER: (
        "the subscriber has no active subscription to a product with this source",
        _REINJECT.format("a subscription of the subscriber"),
    ),
    Reason.UNKNOWN_ORGANIZATION: (
        "the organization has no active subscription to a product with this source",
        _REINJECT.format("a subscription of the organization"),
    ),
    Reason.AMBIGUOUS_SUBSCRIBER: (
        "the subscriber has more than one active subscription with this source",
        "Let the events name the subscription or a credential; or end all but one of them and run `ratemill reinject`.",
    ),
    Reason.AMBIGUOUS_ORGANIZATION: (
        "the organization has more than one active subscription with this source",
        "Let the events name the subscription or a credential; or end all but one of them and run `ratemill reinject`.",
    ),
    Reason.NOT_ACTIVE: (
        "the subscription was not active at the event's time: before its start, after its end or its cancellation",
        "Nothing, if the access should have been cut off; otherwise correct the subscription in the catalog.",
    ),
    Reason.QUOTA: (
        "a quota of the product was used up in the window that its time lies in",
        "Nothing, if the access should have been cut off; otherwise raise it in the next version of the product.",
    ),
    Reason.SOURCE_NOT_IN_PRODUCT: (
        "the subscription's product does not list the event's source",
        "Nothing, if the source is free; otherwise add it to the next version of the product.",
    ),
    Reason.EXEMPT_BY_FILTER: (
        "the product exempts such events (failed calls, status 500 and above, unless the product says otherwise)",
        "Nothing; `exempt_where` of the product decides this.",
    ),
    Reason.NO_CHARGE: (
        "no charge of the product meters it: filters left it out, or it lacks the elements they meter",
        "Nothing, if that is meant; otherwise look at the `where` and `element` of the product's meters.",
    ),
}


def meaning_of(verdict: str, reason: str | None) -> tuple[str, str | None]:
    """Why an event has this verdict, and what to do; both as sentences, the second None where nothing is to be done."""
    meaning = VERDICT_MEANINGS[Verdict[verdict.upper()]]
    if reason is None:
        return f"Its verdict is {verdict}: {meaning}.", None
    because, remedy = _REASONS[Reason(reason)]
    return f"Its verdict is {verdict}: {meaning}. The reason is {reason}: {because}.", remedy
