"""`ratemill settings`: every setting, its value and where it may be set."""

from ops.arguments import JsonOption, settings_with
from ops.output import print_json, print_table

EXAMPLES = """
Examples:

    ratemill settings

    RATEMILL_WRITERS=4 ratemill settings --json
"""


def run(json: JsonOption = False) -> None:
    """Print all settings and their values: environment variables, or keys of the file in RATEMILL_SETTINGS."""
    settings = settings_with()
    values = settings.model_dump(mode="json")
    if json:
        print_json(values)
        return
    fields = type(settings).model_fields
    print_table(
        ("setting", "value", "environment variable", "meaning"),
        [(name, values[name], f"RATEMILL_{name.upper()}", field.description) for name, field in fields.items()],
    )
