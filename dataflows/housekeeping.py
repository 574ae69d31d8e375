"""When the files of a ledger are merged, by the settings of a deployment."""

from dataflows.ledger.compaction import Housekeeping
from dataflows.settings import Settings


def housekeeping(settings: Settings) -> Housekeeping:
    """When these settings have files merged."""
    return Housekeeping(settings.merge_files, settings.merged_rows, settings.replaced_files_seconds)
