"""A reader of the output that goes away, such as `head`, is no error."""

import subprocess
import sys


def test_a_closed_pipe_is_no_mistake():
    command = f"{sys.executable} -m ops.cli demo --help | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
