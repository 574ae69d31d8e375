"""One of several processes of the rating flow, started by `dataflows.processes`; reads its task from standard input."""

import os
import sys
import threading
from pathlib import Path

import msgspec
from bytewax._bytewax import cluster_main
from bytewax.recovery import RecoveryConfig

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError
from dataflows.failures import plain_failures
from dataflows.ledger.folder import open_folder
from dataflows.processes import SENTENCE_EXIT, Task
from dataflows.rating import RatingPlan, build_flow
from dataflows.settings import Settings
from rating.catalog import compile_catalog


def main() -> None:
    """Run this process's part of the flow; the exit code says whether standard error ends with a sentence."""
    task = msgspec.json.decode(_first_line(), type=Task)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run(task)
    except RatemillError as error:
        print(str(error), file=sys.stderr)
        sys.exit(SENTENCE_EXIT)


def _first_line() -> bytes:
    """The first line of standard input, without a buffer that would hold on to it when the process ends."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1 << 16)
    return line


def _run(task: Task) -> None:
    settings = Settings.model_validate_json(task.settings)
    folder = open_folder(Path(task.ledger), settings.key_groups, settings.writers)
    catalog = compile_catalog(load_catalog(Path(task.catalog)))
    with plain_failures(folder):
        cluster_main(
            build_flow(RatingPlan(catalog, folder, task.inputs, settings)),
            task.addresses,
            task.process,
            epoch_interval=settings.epoch,
            recovery_config=RecoveryConfig(str(folder.recovery)),
            worker_count_per_proc=settings.workers,
        )


def _end_with_parent() -> None:
    """Standard input ends when the parent does, however it does."""
    while os.read(0, 1):
        continue
    os._exit(1)


if __name__ == "__main__":
    main()
