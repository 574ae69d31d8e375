"""`ratemill backfill`: late events, charged to their own periods after all."""

from ops.arguments import CatalogOption, JsonOption, LedgerOption
from ops.commands.again import ApplyOption, give_again

EXAMPLES = """
Examples:

    ratemill backfill --catalog catalog --ledger ledger

    ratemill backfill --catalog catalog --ledger ledger --apply
"""


def run(
    catalog: CatalogOption = None,
    ledger: LedgerOption = None,
    apply: ApplyOption = False,
    json: JsonOption = False,
) -> None:
    """Charge late events, checked for duplicates against the whole ledger. A dry run unless `--apply` is given."""
    give_again("late", catalog, ledger, apply, json)
