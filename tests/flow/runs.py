"""Starting rating runs as real processes, and ending some of them."""

import subprocess
import sys
from pathlib import Path

from dataflows.settings import Settings
from tests.flow.world import World

ROOT = Path(__file__).resolve().parents[2]
# Many small commits and merges, so that a kill may meet each of them.
BUSY = Settings(batch_records=500, epoch_seconds=0.02, merge_files=3, replaced_files_seconds=2)


def start(
    world: World, ledger: Path, settings: Settings = BUSY, point: str = "-", call: int = 1
) -> "subprocess.Popen[str]":
    """A run over all files of the world, in a process of its own."""
    arguments = [world.catalog, ledger, settings.model_dump_json(), point, call, *world.events]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flow.child", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(world: World, ledger: Path, settings: Settings = BUSY) -> None:
    """A run that must end well."""
    process = start(world, ledger, settings)
    said = process.communicate()[1]
    assert process.returncode == 0, said
