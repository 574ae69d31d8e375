"""One of several processes of the rating flow, started by `dataflows.processes`; reads its task from standard input."""

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec
from bytewax._bytewax import cluster_main, run_main

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError, UnmendableError
from dataflows.failures import plain_failures
from dataflows.ledger.folder import open_folder
from dataflows.plans import plan_of_files, plan_of_topic
from dataflows.processes import SENTENCE_EXIT, STOP, UNMENDABLE_EXIT, Task, pass_on
from dataflows.rating import RatingPlan, build_flow
from dataflows.recovery import used_by_engine
from dataflows.settings import Settings
from rating.catalog import compile_catalog

_SECONDS_UNTIL_THREADS_SWITCH = 0.0005


def main() -> None:
    """Run this process's part of the flow; the exit code says whether standard error ends with a sentence."""
    # Ctrl-C reaches every process of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Reading, rating and writing are threads that let go of the interpreter's lock every few microseconds: by default
    # each of them would then wait for up to 5 ms for one that is busy in Python.
    sys.setswitchinterval(_SECONDS_UNTIL_THREADS_SWITCH)
    task = msgspec.json.decode(_first_line(), type=Task)
    stopping = threading.Event()
    threading.Thread(target=_heed_parent, args=[stopping], daemon=True).start()
    try:
        _run(task, stopping)
    except RatemillError as error:
        print(str(error), file=sys.stderr)
        sys.exit(UNMENDABLE_EXIT if isinstance(error, UnmendableError) else SENTENCE_EXIT)


def _first_line() -> bytes:
    """The first line of standard input, without a buffer that would hold on to it when the process ends."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1 << 16)
    return line


def _run(task: Task, stopping: threading.Event) -> None:
    plan = _plan(task, stopping)
    flow = build_flow(plan)
    with plain_failures(plan.folder), used_by_engine(plan.folder.recovery) as recovery:
        if len(task.addresses) < 2 and plan.settings.workers == 1:
            # One worker needs no thread of its own, nor one that looks after it a thousand times a second.
            run_main(flow, epoch_interval=plan.settings.epoch, recovery_config=recovery)
            return
        cluster_main(
            flow,
            task.addresses,
            task.process,
            epoch_interval=plan.settings.epoch,
            recovery_config=recovery,
            worker_count_per_proc=plan.settings.workers,
        )


def _plan(task: Task, stopping: threading.Event) -> RatingPlan:
    settings = Settings.model_validate_json(task.settings)
    folder = open_folder(Path(task.ledger), settings.key_groups, settings.writers)
    if task.topic is not None:
        return plan_of_topic(folder, task.topic, settings, stopping, pass_on)
    return plan_of_files(compile_catalog(load_catalog(Path(task.catalog))), folder, task.files, settings)


def _heed_parent(stopping: threading.Event) -> None:
    """The parent may ask to stop; standard input ends when the parent does, however it does."""
    while asked := os.read(0, len(STOP)):
        if asked == STOP:
            stopping.set()
    os._exit(1)


if __name__ == "__main__":
    main()
