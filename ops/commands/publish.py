"""`ratemill publish`: the catalog into its topic, where running flows pick it up."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from dataflows.connectors.catalog_folder import load_successor
from dataflows.connectors.catalog_publisher import Publication, publish_catalog
from dataflows.moments import datetime_of, moment_text
from ops.arguments import JsonOption, settings_with
from ops.output import print_json, remark, say
from rating.periods import microseconds
from schemas.fields import Moment
from schemas.problems import CatalogErrors

EXAMPLES = """
Examples:

    ratemill publish catalog

    ratemill publish catalog --effective-from 2027-01-01T00:00:00Z

    ratemill publish catalog --json
"""

_moment: TypeAdapter[datetime] = TypeAdapter(Moment)


def run(
    catalog: Annotated[
        Path, typer.Argument(metavar="CATALOG", help="The catalog: a folder of YAML files, or one file.")
    ],
    effective_from: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it takes effect, such as 2027-01-01T00:00:00Z; else in some seconds."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Publish what `check --against` refuses, or in place of one that waits."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check a catalog, also against the published one, and publish what changed, all at once for every reader.

    It rates events whose records arrive from the moment on at which it takes effect; flows go on running. Nothing
    changed: nothing is published.
    """
    moment = None if effective_from is None else _parsed(effective_from)
    known, judge = load_successor(catalog)
    try:
        publication = publish_catalog(settings_with(), known, moment, None if force else judge)
    except CatalogErrors as refused:
        _show_refusal(refused, json)
        raise typer.Exit(1) from refused
    if json:
        print_json(_record(publication))
    else:
        _show(publication)
    if publication.is_late:
        remark(
            "Kafka took so long that flows may have passed that moment, and rate records from it until they know this"
            " catalog by the one before: set RATEMILL_CATALOG_LEAD_SECONDS higher."
        )


def _show_refusal(refused: CatalogErrors, json: bool) -> None:
    if json:
        print_json({"published": False, "problems": [str(problem) for problem in refused.problems]})
        return
    for problem in refused.problems:
        say(str(problem))
    say("Nothing was published: the published catalog must not change so; --force publishes it all the same.")


def _parsed(text: str) -> int:
    try:
        return microseconds(_moment.validate_python(text))
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise typer.BadParameter(str(reason), param_hint="'--effective-from'") from error


def _record(publication: Publication) -> dict[str, Any]:
    version = publication.version
    return {
        "published": publication.is_new,
        "number": version.number,
        "digest": version.digest,
        "published_at": datetime_of(version.published_at),
        "effective_from": datetime_of(version.effective_from),
        "entries": version.entries,
        "changed": publication.changed,
        "removed": publication.removed,
    }


def _show(publication: Publication) -> None:
    version = publication.version
    number, since = f"catalog number {version.number}", moment_text(version.effective_from)
    if not publication.is_new:
        say(f"Nothing changed: {number} is published, in effect from {since} on.")
        return
    say(
        f"Published {number}, in effect from {since} on: {publication.changed:,} entries new or changed,"
        f" {publication.removed:,} removed, {version.entries:,} in all."
    )
