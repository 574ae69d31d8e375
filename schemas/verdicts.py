"""What becomes of a received record (semantics 7): exactly one verdict, and where it needs one, a reason.

When several verdicts apply, the greatest value wins: the order of the members is the rule.

>>> max(Verdict.DUPLICATE, Verdict.LATE).name
'LATE'
"""

from enum import IntEnum, StrEnum


class Verdict(IntEnum):
    """The eight verdicts in their order of precedence; `label` is the word in the ledger."""

    RATED = 1
    EXEMPT = 2
    TRIAL = 3
    BLOCKED = 4
    DUPLICATE = 5
    PARKED = 6
    LATE = 7
    REJECTED = 8

    @property
    def label(self) -> str:
        """The verdict as the ledger and the documents write it."""
        return self.name.lower()


class Reason(StrEnum):
    """Why a record was not simply rated; the word in the ledger's `reason` column."""

    MALFORMED_JSON = "malformed_json"
    TOO_LARGE = "too_large"
    MISSING_ID = "missing_id"
    MISSING_SOURCE = "missing_source"
    MISSING_SUBJECT = "missing_subject"
    BAD_ATTRIBUTE = "bad_attribute"
    BAD_TIME = "bad_time"
    BAD_DATA = "bad_data"
    SKEW = "skew"
    BAD_QUANTITY = "bad_quantity"
    OVERFLOW = "overflow"
    LATENESS = "lateness"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    UNKNOWN_CREDENTIAL = "unknown_credential"
    UNKNOWN_SUBSCRIBER = "unknown_subscriber"
    UNKNOWN_ORGANIZATION = "unknown_organization"
    AMBIGUOUS_SUBSCRIBER = "ambiguous_subscriber"
    AMBIGUOUS_ORGANIZATION = "ambiguous_organization"
    NOT_ACTIVE = "not_active"
    QUOTA = "quota"
    SOURCE_NOT_IN_PRODUCT = "source_not_in_product"
    EXEMPT_BY_FILTER = "exempt_by_filter"
    NO_CHARGE = "no_charge"


VERDICT_LABELS: tuple[str, ...] = tuple(verdict.label for verdict in Verdict)
