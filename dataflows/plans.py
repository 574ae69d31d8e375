"""What a rating flow is built from, for each way of starting it: from files, from a topic, by Bytewax's own command."""

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.catalogs import OneCatalog
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.catalog_follower import CatalogFollower
from dataflows.connectors.files import InputFile, register_inputs
from dataflows.connectors.kafka_reader import BATCHES_OF_POLL
from dataflows.connectors.topic import TopicInput, topic_input
from dataflows.errors import RatemillError
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.preparation import prepare_among_peers
from dataflows.rating import RatingPlan
from dataflows.settings import Settings, load_settings
from rating.catalog import CompiledCatalog, compile_catalog

_POLLS_BETWEEN_LOOKS_FOR_CYCLES = 4


def plan_of_files(
    catalog: CompiledCatalog, folder: LedgerFolder, files: Sequence[InputFile], settings: Settings
) -> RatingPlan:
    """One catalog rates registered files to their ends."""
    return RatingPlan(OneCatalog(catalog), folder, files, settings)


def _write_line(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def plan_of_topic(
    folder: LedgerFolder,
    given: TopicInput,
    settings: Settings,
    stopping: Event,
    remark: Callable[[str], None] = _write_line,
) -> RatingPlan:
    """The published catalogs rate a topic until `stopping` is set; begins to follow the catalogs.

    `remark` is told, in sentences, what a person should know.
    """
    versions = CatalogVersions(CatalogHistory(folder.root))
    follower = CatalogFollower(settings, versions, remark)
    follower.start()
    follower.wait_for_first(settings.start_seconds)
    # A poll makes an object of each record, all of them gone with it and none in a cycle: with the usual threshold,
    # looking for cycles takes longer than rating.
    gc.set_threshold(_POLLS_BETWEEN_LOOKS_FOR_CYCLES * BATCHES_OF_POLL * settings.batch_records)
    return RatingPlan(versions, folder, given, settings, stopping=stopping)


def plan_among_peers() -> RatingPlan:
    """The plan of a process that Bytewax's own command has started, from its settings: files if they name any."""
    settings = load_settings()
    if settings.ledger is None:
        raise RatemillError("RATEMILL_LEDGER must say where to write the ledger")
    folder = open_folder(settings.ledger, settings.key_groups, settings.writers)
    prepare_among_peers(folder)
    if not settings.events:
        return plan_of_topic(folder, topic_input(folder, settings), settings, Event())
    if settings.catalog is None:
        raise RatemillError("RATEMILL_CATALOG must say which catalog rates the files of RATEMILL_EVENTS")
    return _plan_of_paths(settings.catalog, folder, settings.events, settings)


def _plan_of_paths(catalog: Path, folder: LedgerFolder, paths: Iterable[Path], settings: Settings) -> RatingPlan:
    return plan_of_files(compile_catalog(load_catalog(catalog)), folder, register_inputs(folder, paths), settings)
