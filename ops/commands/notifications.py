"""`ratemill notifications`: what is delivered, what waits, what has failed; and trying again."""

import typer

from ops.delivery_table import list_deliveries, list_malformed, retry

EXAMPLES = """
Examples:

    ratemill notifications list --state failed --deliveries deliveries

    ratemill notifications retry --all-failed
"""

app = typer.Typer(no_args_is_help=True, help="Look at deliveries of notifications, and try failed ones again.")
app.command("list")(list_deliveries)
app.command("malformed")(list_malformed)
app.command("retry")(retry)
