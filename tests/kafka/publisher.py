"""A publisher of catalogs in a process of its own, which can be told to die or to pause inside its transaction.

Usage: python -m tests.kafka.publisher SETTINGS_JSON MARK POINT BEHAVIOUR FOLDER
At the point the file FOLDER/there is made; then the process dies by SIGKILL ("die"), or waits for FOLDER/go ("pause").
"""

import os
import signal
import sys
import time
from pathlib import Path

from dataflows.connectors.catalog_publisher import publish_catalog
from dataflows.connectors.catalog_transaction import Transaction
from dataflows.errors import RatemillError
from dataflows.settings import Settings
from tests.flow.catalogs import catalog

# Name: the method, and whether it has been called by then.
POINTS = {
    "before the first record": ("produce", False),
    "after the first record": ("produce", True),
    "after all entries": ("deliver", True),
    "before the commit": ("commit", False),
    "after the commit": ("commit", True),
}


def stop_at(point: str, behaviour: str, folder: Path) -> None:
    """Arrange that the first call of the point's method dies or pauses."""
    name, after = POINTS[point]
    original = getattr(Transaction, name)

    def stopping(transaction: Transaction, *arguments: object) -> None:
        setattr(Transaction, name, original)
        if after:
            original(transaction, *arguments)
        if point == "after the first record":
            # A record that has only been queued is not in the topic.
            transaction.deliver()
        (folder / "there").touch()
        if behaviour == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while not (folder / "go").exists():
            time.sleep(0.02)
        if not after:
            original(transaction, *arguments)

    setattr(Transaction, name, stopping)


def main() -> None:
    settings, mark, point, behaviour, folder = sys.argv[1:]
    stop_at(point, behaviour, Path(folder))
    try:
        print(publish_catalog(Settings.model_validate_json(settings), catalog(mark)).version.number)
    except RatemillError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
