"""The words of notifications while they are delivered: the deployment's templates, under the catalog in force.

The rule: words wait for nothing. A catalog that is published meanwhile is read beside the deliveries; until then a
notification of it is worded with the catalog before.
"""

import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

from dataflows.catalog_entries import catalog_of
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.catalog_topic import read_published
from dataflows.errors import RatemillError
from dataflows.notification_templates import Rendered, Templates, from_message, read_templates
from dataflows.settings import Settings
from ops.template_files import built_in_templates
from schemas.catalog import Catalog

_SECONDS_BETWEEN_LOOKS = 60.0


class Wording:
    """Renders notifications as they stand in the topic; `TemplateErrors` if a template cannot be used.

    The catalog is the folder of the settings, or what is published; names, logos and wordings of products are its own.
    What is not as it should be with a template is remarked once.
    """

    def __init__(self, settings: Settings, remark: Callable[[str], None]) -> None:
        self._settings = settings
        self._remark = remark
        self._digest, catalog = _catalog(settings)
        deployed = read_templates(settings.templates) if settings.templates is not None else None
        self._templates = Templates.load(built_in_templates(), deployed, catalog, settings.logo_url)
        self._said: set[str] = set()
        self._looked = time.monotonic()
        self._looking: Thread | None = None

    def __call__(self, columns: Mapping[str, Any]) -> Rendered:
        """The notification of these columns in words; RatemillError if they are none."""
        row = from_message(columns)
        if row["catalog_digest"] != self._digest:
            self._look_again()
        rendered = self._templates.render(row)
        for fault in rendered.faults:
            if fault not in self._said:
                self._said.add(fault)
                self._remark(f"the wording of {row['kind']}: {fault}")
        return rendered

    def _look_again(self) -> None:
        """Read what is published, now and then, in a thread of its own; a folder is as it was at the start."""
        is_looking = self._looking is not None and self._looking.is_alive()
        due = time.monotonic() > self._looked + _SECONDS_BETWEEN_LOOKS
        if self._settings.catalog is None and due and not is_looking:
            self._looked = time.monotonic()
            self._looking = Thread(target=self._look, name="catalog", daemon=True)
            self._looking.start()

    def _look(self) -> None:
        try:
            digest, catalog = _catalog(self._settings)
        except RatemillError as error:
            self._remark(f"the words of notifications stay those of the catalog before: {error}")
        else:
            self._templates, self._digest = self._templates.with_catalog(catalog), digest


def _catalog(settings: Settings) -> tuple[str | None, Catalog]:
    """The catalog and, of a published one, its digest; without any an empty one, which knows no names."""
    if settings.catalog is not None:
        return None, load_catalog(settings.catalog)
    state = read_published(settings)
    return (None if state.version is None else state.version.digest), catalog_of(state.entries)
