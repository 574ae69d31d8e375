"""What must be done before a rating flow starts: the recovery store cleaned, and the ledger brought to its last commit.

The rule: afterwards the recovery store, the files and the manifests tell the same story, and the published rows are all
that has ever been committed. May be repeated, also after a run, which publishes what that run committed last.
"""

import fcntl
import os
import sys
import time
from collections.abc import Sequence

from dataflows.connectors.announcements import writer_name
from dataflows.connectors.files import InputFile, is_read_to_end
from dataflows.errors import RatemillError, UnmendableError
from dataflows.failures import quiet_engine
from dataflows.key_groups import key_group_names
from dataflows.ledger.commit import LanePosition, WriterState
from dataflows.ledger.folder import RESTORE, LedgerFolder, plain_os_errors, take_lock
from dataflows.ledger.publication import check_store, resume
from dataflows.recovery import clean_store, kept_keys, kept_states, make_store

FLOW = "rating"
READ_STEP = "read"
RATE_STEP = "rate"
LEDGER_STEP = "ledger"
_PEER_OPTIONS = ("-a", "--addresses", "-i", "--process-id")
_SECONDS_FOR_FIRST_PEER = 60
_SECONDS_BETWEEN_LOOKS = 0.1
_PEER_VARIABLES = ("BYTEWAX_ADDRESSES", "BYTEWAX_PROCESS_ID", "BYTEWAX_POD_NAME")


def prepare(folder: LedgerFolder) -> list[int]:
    """Make the ledger ready for a run, or end one; gives the number of commits of each writer. Needs its lock."""
    with plain_os_errors(f"cannot write the ledger {folder.root}"):
        with quiet_engine(folder):
            make_store(folder.recovery)
        clean_store(folder.recovery)
        _check_names(folder)
        kept = kept_states(folder.recovery, f"{FLOW}.{LEDGER_STEP}")
        states = [WriterState.load(kept.get(writer_name(writer))) for writer in folder.writers()]
        # All of them before the first file is touched.
        for writer, state in enumerate(states):
            check_store(folder, writer, state)
        for writer, state in enumerate(states):
            resume(folder, writer, state.sequence)
    return [state.sequence for state in states]


def _check_names(folder: LedgerFolder) -> None:
    """A recovery store of other key groups or writers than the ledger's gives its states other names."""
    names = {
        RATE_STEP: key_group_names(folder.shape.key_groups),
        LEDGER_STEP: [writer_name(writer) for writer in folder.writers()],
    }
    for step, known in names.items():
        if kept_keys(folder.recovery, f"{FLOW}.{step}") - set(known):
            raise UnmendableError(
                f"the recovery store {folder.recovery} is of another number of key groups or writers than the ledger"
                f" {folder.root}: put back the one that was there, or {RESTORE}"
            )


def is_all_read(folder: LedgerFolder, inputs: Sequence[InputFile]) -> bool:
    """Whether the prepared ledger holds every record of the inputs as they are now."""
    return not files_to_read(folder, inputs)


def files_to_read(folder: LedgerFolder, inputs: Sequence[InputFile]) -> list[InputFile]:
    """The inputs of which the prepared ledger does not hold every record, as they are now."""
    places = kept_states(folder.recovery, f"{FLOW}.{READ_STEP}")
    return [file for file in inputs if file.path and not is_read_to_end(file, places.get(file.name))]


def lane_progress(folder: LedgerFolder) -> dict[int, int | None]:
    """How far each input is that goes on, in microseconds UTC as of the last commit; None where it has no time yet."""
    kept = kept_states(folder.recovery, f"{FLOW}.{LEDGER_STEP}")
    furthest: dict[int, LanePosition] = {}
    for state in map(WriterState.load, kept.values()):
        for partition, position in state.lanes.items():
            furthest[partition] = position.after(furthest.get(partition))
    return {partition: position.progress for partition, position in furthest.items() if not position.finished}


def prepare_among_peers(folder: LedgerFolder) -> None:
    """Prepare for a run that Bytewax's own command starts, whose processes all come here before the first one runs.

    The first process prepares, and the others wait for it; all of them hold the ledger together until they end.
    """
    last = time.monotonic() + _SECONDS_FOR_FIRST_PEER
    try:
        alone = take_lock(folder, fcntl.LOCK_EX)
    except RatemillError:
        if not _has_peers():
            raise
        while not _joins(folder, time.monotonic() > last):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return
    prepare(folder)
    fcntl.flock(alone, fcntl.LOCK_SH)


def _joins(folder: LedgerFolder, gives_up: bool) -> bool:
    """Whether the ledger is held together with peers now; on giving up, RatemillError says that it is not."""
    try:
        take_lock(folder, fcntl.LOCK_SH)
    except RatemillError:
        if gives_up:
            raise
        return False
    return True


def _has_peers() -> bool:
    asked = any(argument.startswith(_PEER_OPTIONS) for argument in sys.argv[1:])
    return asked or any(name in os.environ for name in _PEER_VARIABLES)
