"""What queries put on the disk is removed: by who put it there, or, if that was killed, by the next."""

import subprocess
import sys

from dataflows.ledger.spill import SpillFolder
from tests.flow.runs import ROOT

_HOLDING = """
import sys
from pathlib import Path
from dataflows.ledger.spill import SpillFolder
spill = SpillFolder(Path(sys.argv[1]))
(spill.path / "spilled").touch()
print(spill.path.name, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_has_left_is_removed_and_what_others_use_is_not(tmp_path):
    command = [sys.executable, "-c", _HOLDING, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        left = tmp_path / process.stdout.readline().strip()
        SpillFolder(tmp_path).close()
        assert (left / "spilled").exists()
        process.kill()
    own = SpillFolder(tmp_path)
    assert [path for path in tmp_path.glob("queries-*") if path.is_dir()] == [own.path]
    own.close()
    assert not own.path.exists()
