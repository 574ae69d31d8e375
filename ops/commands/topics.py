"""`ratemill topics`: makes the topics that are missing, and says what is wrong with those that are there."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ops.arguments import JsonOption, settings_with
from ops.output import bullet_list, print_json, print_table, say
from ops.topics import TopicReport, check_topics

EXAMPLES = """
Examples:

    RATEMILL_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 ratemill topics

    RATEMILL_TOPIC_PREFIX=eu. RATEMILL_TOPIC_PARTITIONS=16 RATEMILL_TOPIC_REPLICATION=3 ratemill topics

    ratemill topics --check --json
"""


def run(
    check: Annotated[bool, typer.Option("--check", help="Only look: make nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Make the topics that are missing and check the others. Exit code 1 if one is missing or cannot be used."""
    reports = check_topics(settings_with(), make=not check)
    problems = [f"{report.topic} {problem}" for report in reports for problem in report.problems]
    warnings = [f"{report.topic} {warning}" for report in reports for warning in report.warnings]
    if json:
        print_json({"problems": len(problems), "warnings": len(warnings), "topics": list(map(_record, reports))})
    else:
        _show(reports, problems, warnings)
    if problems:
        raise typer.Exit(1)


def _show(reports: Sequence[TopicReport], problems: Sequence[str], warnings: Sequence[str]) -> None:
    columns = ("topic", "state", "partitions", "copies", "cleanup")
    print_table(columns, [(report.topic, report.state, *_shape(report)) for report in reports])
    if problems:
        say("Cannot be used as it is:")
        bullet_list(problems)
    if warnings:
        say("Worth a look:")
        bullet_list(warnings)
    if not problems and not warnings:
        say("All topics are there, as they must be.")


def _shape(report: TopicReport) -> tuple[Any, ...]:
    found = report.found
    return (found.partitions, found.replication, found.cleanup) if found else (None, None, None)


def _record(report: TopicReport) -> dict[str, Any]:
    found = report.found
    return {
        "topic": report.topic,
        "state": report.state,
        "partitions": found and found.partitions,
        "replication": found and found.replication,
        "cleanup_policy": found and found.cleanup,
        "retention_ms": found and found.retention_ms,
        "max_message_bytes": found and found.largest_bytes,
        "problems": report.problems,
        "warnings": report.warnings,
    }
