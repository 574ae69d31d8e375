"""Starting the rating flow: lock, prepare, run to the end of the inputs, publish.

Owns: the order of these, processes, and turning whatever breaks into one sentence. Does not own: what the flow does.
The rule: a run can be ended anywhere, in any way; the next goes on from the last commit, and nothing is rated twice.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bytewax._bytewax import cluster_main

from dataflows.connectors.files import register_inputs
from dataflows.connectors.topic import TopicInput
from dataflows.failures import quiet_engine
from dataflows.housekeeping import housekeeping
from dataflows.ledger.folder import LedgerFolder, locked, open_folder
from dataflows.ledger.manifest import wait_until_visible
from dataflows.ledger.published import commits_since
from dataflows.ledger.writer import merge_all
from dataflows.plans import plan_of_files
from dataflows.preparation import prepare
from dataflows.processes import run_processes
from dataflows.rating import RatingPlan, build_flow
from dataflows.recovery import used_by_engine
from dataflows.settings import Settings
from rating.catalog import CompiledCatalog
from schemas.verdicts import VERDICT_LABELS

_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come; bytes are those of the input files as they lie on disk.

    `bytes_read` is None where several processes read.
    """

    verdicts: Mapping[str, int]
    line_items: int
    bytes_read: int | None
    bytes_total: int

    @property
    def received(self) -> int:
        """Records with a verdict."""
        return sum(self.verdicts.values())


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run added to the ledger."""

    ledger: Path
    received: int
    verdicts: Mapping[str, int]
    line_items: int
    commits: int
    seconds: float


def run_rating(
    catalog: CompiledCatalog,
    catalog_path: Path | None,
    inputs: Iterable[Path],
    ledger: Path,
    settings: Settings,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Rate files of events into a ledger, which is made if there is none; returns when all has been published.

    `catalog_path` is needed for more than one process, each of which loads the catalog itself. RatemillError says in
    one sentence what hindered a run; the same call then goes on from its last commit.
    """
    began = time.monotonic()
    folder = open_folder(ledger, settings.key_groups, settings.writers)
    with locked(folder) as lock:
        before = prepare(folder)
        plan = plan_of_files(catalog, folder, register_inputs(folder, inputs), settings)
        if settings.processes > 1:
            assert catalog_path is not None, "processes load the catalog from its folder"
            run_processes(plan, catalog_path, lock, _reporter_of_commits(plan, before, on_progress))
        else:
            run_here(replace(plan, on_progress=_reporter(plan, on_progress)))
        prepare(folder)
        merge_all(folder, housekeeping(settings))
        wait_until_visible(map(folder.manifest, folder.writers()))
        return _summary(folder, before, time.monotonic() - began)


def run_here(plan: RatingPlan) -> None:
    """Run the flow in this process to the end of its inputs."""
    flow = build_flow(plan)
    with plan.threads, quiet_engine(plan.folder), used_by_engine(plan.folder.recovery) as recovery:
        cluster_main(
            flow,
            [],
            0,
            epoch_interval=plan.settings.epoch,
            recovery_config=recovery,
            worker_count_per_proc=plan.settings.workers,
        )


def _reporter_of_commits(
    plan: RatingPlan, before: list[int], on_progress: Callable[[Progress], None] | None
) -> Callable[[], None]:
    """Progress of other processes, as far as they have published."""
    if on_progress is None:
        return lambda: None
    total = _bytes_total(plan)
    next_look = time.monotonic()

    def report() -> None:
        nonlocal next_look
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
            commits = commits_since(plan.folder.root, before)
            verdicts = {verdict: int(commits[verdict].sum()) for verdict in VERDICT_LABELS}
            on_progress(Progress(verdicts, int(commits["line_items"].sum()), None, total))

    return report


def _bytes_total(plan: RatingPlan) -> int:
    assert not isinstance(plan.inputs, TopicInput), "a topic has no end"
    return sum(Path(file.path).stat().st_size for file in plan.inputs if file.path)


def _reporter(plan: RatingPlan, on_progress: Callable[[Progress], None] | None) -> Callable[[], None]:
    if on_progress is None:
        return lambda: None
    total = _bytes_total(plan)

    def report() -> None:
        read = sum(plan.reading.bytes_read.values())
        on_progress(Progress(dict(plan.writing.verdicts), plan.writing.line_items, read, total))

    return report


def _summary(folder: LedgerFolder, before: list[int], seconds: float) -> Summary:
    commits = commits_since(folder.root, before)
    return Summary(
        ledger=folder.root,
        received=int(commits["received"].sum()),
        verdicts={verdict: int(commits[verdict].sum()) for verdict in VERDICT_LABELS},
        line_items=int(commits["line_items"].sum()),
        commits=commits.height,
        seconds=seconds,
    )
