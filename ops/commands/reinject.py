"""`ratemill reinject`: parked events, charged now that the catalog knows whom."""

from ops.arguments import CatalogOption, JsonOption, LedgerOption
from ops.commands.again import ApplyOption, give_again

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

    A dry run unless `--apply` is given.
    """
    give_again("parked", catalog, ledger, apply, json)
