"""`ratemill check`: whether a catalog can be used, and what is odd about it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import check
from ops.arguments import JsonOption
from ops.output import print_json, say
from schemas.problems import Problem

EXAMPLES = """
Examples:

    ratemill check ops/catalogs/demo

    ratemill check catalog --against catalog-in-force
"""


def run(
    catalog: Annotated[
        Path, typer.Argument(metavar="CATALOG", help="The catalog: a folder of YAML files, or one file.")
    ],
    against: Annotated[
        Path | None, typer.Option(help="The catalog in force: also check what may change from it, and what may not.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a catalog: every error and warning with file, line and key. Exit code 1 if there is an error."""
    problems = check(catalog, against)
    errors = sum(problem.severity == "error" for problem in problems)
    if json:
        print_json({"errors": errors, "warnings": len(problems) - errors, "problems": list(map(_record, problems))})
    else:
        for problem in problems:
            say(str(problem))
        say(_verdict(catalog, errors, len(problems) - errors))
    if errors:
        raise typer.Exit(1)


def _record(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "severity": problem.severity,
        "message": problem.message,
    }


def _verdict(catalog: Path, errors: int, warnings: int) -> str:
    if errors:
        return f"{catalog} cannot be used: {_count(errors, 'error')}, {_count(warnings, 'warning')}."
    return f"{catalog} can be used: no error, {_count(warnings, 'warning')}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
