"""What several commands take: a ledger, a catalog, settings; each from its option, else from the settings."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from dataflows.settings import Settings, load_settings
from schemas.fields import Moment

LedgerOption = Annotated[
    Path | None, typer.Option("--ledger", help="The ledger's folder; else RATEMILL_LEDGER.", metavar="DIR")
]
CatalogOption = Annotated[
    Path | None, typer.Option("--catalog", help="The catalog's folder; else RATEMILL_CATALOG.", metavar="CATALOG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON; decimals are strings.")]


def settings_with(**stated: object) -> Settings:
    """The settings of this process, with what was stated on the command line (not None) instead."""
    given = {name: value for name, value in stated.items() if value is not None}
    return load_settings().model_copy(update=given)


def needed(value: Path | None, option: str) -> Path:
    """A path that must come from its option or from the settings."""
    if value is None:
        raise typer.BadParameter(
            f"is missing; name it here or set RATEMILL_{option.upper()}", param_hint=f"'--{option}'"
        )
    return value


def moment_option(text: str, option: str) -> datetime:
    """The moment that an option names."""
    try:
        return TypeAdapter(Moment).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(
            error.errors()[0]["msg"].removeprefix("Value error, "), param_hint=f"'--{option}'"
        ) from None
