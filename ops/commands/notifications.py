"""`ratemill notifications`: how they are worded; what is delivered, what waits, what has failed; and trying again."""

import typer

from ops.commands import preview
from ops.delivery_table import list_deliveries, list_malformed, retry

EXAMPLES = """
Examples:

    ratemill notifications list --state failed --deliveries deliveries

    ratemill notifications retry --all-failed

    ratemill notifications preview quota_reached
"""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Look at deliveries of notifications, try failed ones again, see how they are worded.",
)
app.command("list")(list_deliveries)
app.command("malformed")(list_malformed)
app.command("retry")(retry)
app.command("preview", epilog=preview.EXAMPLES)(preview.run)
