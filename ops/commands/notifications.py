"""`ratemill notifications`: what is said to people, and how it looks."""

import typer

from ops.commands import preview

EXAMPLES = preview.EXAMPLES

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Notifications: see how they are worded.", epilog=EXAMPLES
)
app.command("preview", epilog=preview.EXAMPLES)(preview.run)
