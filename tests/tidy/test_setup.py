"""`make setup` finds a Python that works among those that do not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.source import ROOT


@pytest.fixture
def folders(tmp_path):
    """A folder with a shim of 3.12 that fails, and one with a 3.11 that works; both have `dirname`."""
    broken, working = tmp_path / "broken", tmp_path / "working"
    for folder in (broken, working):
        folder.mkdir()
        (folder / "dirname").symlink_to(shutil.which("dirname"))
    shim = broken / "python3.12"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    # A symlink to a Python in its own prefix: the one that this environment was made with.
    (working / "python3.11").symlink_to(Path(sys.executable).resolve())
    return broken, working


def which(path: str, home: Path, **environment: str) -> subprocess.CompletedProcess:
    asked = ["/bin/sh", str(ROOT / "ops/setup.sh"), "--which"]
    everything = {"PATH": path, "HOME": str(home), **environment}
    return subprocess.run(asked, env=everything, capture_output=True, text=True, check=False)


def test_a_failing_shim_is_passed_over(folders, tmp_path):
    broken, working = folders
    found = which(f"{broken}:{working}", tmp_path)
    assert (found.returncode, found.stdout.strip()) == (0, f"{working}/python3.11")


def test_without_any_it_says_what_is_needed(folders, tmp_path):
    found = which(str(folders[0]), tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("Ratemill needs Python 3.11 or 3.12 with the venv module, and none was found.")
    assert found.stderr.count("\n") == 1


def test_a_named_python_that_does_not_work_is_refused(folders, tmp_path):
    found = which(str(folders[1]), tmp_path, PYTHON=f"{folders[0]}/python3.12")
    assert found.returncode == 1
    assert found.stderr.strip().endswith("is not a working Python 3.11 or 3.12 with the venv module.")
