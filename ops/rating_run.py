"""Rating files of events into a ledger, as every command does it: views and catalog kept before, progress shown."""

from collections.abc import Sequence
from pathlib import Path

from dataflows.catalog_history import CatalogHistory
from dataflows.launcher import Summary, run_rating
from dataflows.ledger.folder import open_folder
from dataflows.settings import Settings
from ops.ledger_views import write_views
from ops.progress import LiveProgress
from rating.catalog import compile_catalog
from schemas.catalog import Catalog


def rate_files(
    catalog: Catalog, catalog_path: Path, files: Sequence[Path], ledger: Path, settings: Settings, what: str
) -> Summary:
    """Rate files into the ledger, made if there is none; what was rated before is not rated again."""
    compiled = compile_catalog(catalog)
    folder = open_folder(ledger, settings.key_groups, settings.writers)
    # Analysts may open the views, and lines can be explained, from the first commit on.
    write_views(folder.root)
    CatalogHistory(folder.root).keep(catalog, compiled.digest)
    with LiveProgress(what) as live:
        return run_rating(compiled, catalog_path, files, ledger, settings, live.update)
