"""The built-in wording of notifications: the folder `templates` beside this file.

>>> len(built_in_templates().files)
35
"""

from functools import cache
from pathlib import Path

from dataflows.templating.sources import Sources, read_templates

FOLDER = Path(__file__).with_name("templates")


@cache
def built_in_templates() -> Sources:
    """Subject, text and HTML of every kind, the layout and the footer."""
    return read_templates(FOLDER)
