"""A supervisor whose processes die at named points (`tests.kafka.faults.child`), until SIGTERM.

Usage: python -m tests.kafka.faults.supervised LEDGER SETTINGS_JSON
TESTS_DIES_IN is a step of `dataflows.preparation`: the supervisor itself dies after its first call.
"""

import os
import sys
from pathlib import Path

from dataflows import preparation
from dataflows.errors import RatemillError
from dataflows.settings import Settings
from dataflows.supervisor import supervised
from ops.output import remark
from ops.signals import stop_on_signals
from tests.flow.child import die_at


def main() -> int:
    if step := os.environ.get("TESTS_DIES_IN"):
        die_at((preparation, step, True), 1)
    supervisor = supervised(Settings.model_validate_json(sys.argv[2]), Path(sys.argv[1]))
    supervisor.program = os.environ.get("TESTS_PROGRAM", "tests.kafka.faults.child")
    supervisor.remark = remark
    supervisor.stopping = stop_on_signals()
    try:
        supervisor.run()
    except RatemillError as error:
        remark(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
