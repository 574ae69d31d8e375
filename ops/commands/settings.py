"""`ratemill settings`: every setting, its value and where it may be set."""

from collections.abc import Iterator
from typing import Any

from dataflows.kafka_settings import environment_name
from dataflows.settings import Settings
from ops.arguments import JsonOption, settings_with
from ops.output import print_json, print_table

EXAMPLES = """
Examples:

    ratemill settings

    RATEMILL_WRITERS=4 ratemill settings --json
"""


def run(json: JsonOption = False) -> None:
    """Print all settings, secrets masked: environment variables, or keys of the file in RATEMILL_SETTINGS."""
    settings = settings_with()
    values = settings.model_dump(mode="json")
    if json:
        print_json(values)
    else:
        print_table(("setting", "value", "environment variable", "meaning"), list(_rows(values)))


def _rows(values: dict[str, Any]) -> Iterator[tuple[str, Any, str, str | None]]:
    """A row for each setting, and one for each of those passed through to Kafka's client."""
    for name, field in Settings.model_fields.items():
        if name != "kafka":
            yield name, values[name], f"RATEMILL_{name.upper()}", field.description
            continue
        yield name, None, environment_name("<name>"), field.description
        for passed, value in values[name].items():
            yield f"{name}.{passed}", value, environment_name(passed), None
