"""Giving the files of a kept commit their public names, and what a writer does first after a crash.

A commit becomes visible by one replacement of the manifest, after all its files have their public names. A crash in
between leaves public names that no manifest knows: `resume` finds them and ends what was begun.
"""

from collections.abc import Callable
from functools import partial

import pyarrow.parquet as pq

from dataflows.errors import UnmendableError
from dataflows.ledger import manifest
from dataflows.ledger.commit import LanePosition, WriterState, microseconds_of, offsets_of
from dataflows.ledger.folder import RESTORE, LedgerFolder, sync
from dataflows.ledger.manifest import Manifest, PublishedFile
from schemas.ledger import COUNTED, TABLES

_LEVELS = 100


def file_name(table: str, writer: int, sequence_first: int, sequence_last: int | None = None, level: int = 0) -> str:
    """The name of the file with a table's rows of these commits of a writer.

    Files of a higher level sort first, so the first name of all is never one that is about to be removed: DuckDB opens
    the first file when it plans a statement.
    """
    last = sequence_first if sequence_last is None else sequence_last
    return f"{table}-{_LEVELS - 1 - level:02d}-w{writer}-{sequence_first:010d}-{last:010d}.parquet"


def make_public(folder: LedgerFolder, writer: int, sequence: int) -> list[PublishedFile]:
    """Move the files of a kept commit to their public places; no manifest names them yet. May be done again."""
    files = []
    for table in TABLES:
        name = file_name(table, writer, sequence)
        pending, public = folder.pending / name, folder.table(table) / name
        if pending.exists():
            pending.replace(public)
            sync(public.parent)
        if public.exists():
            files.append(PublishedFile(table, name, pq.read_metadata(public).num_rows, sequence, sequence))
    _check_complete(folder, writer, sequence, files)
    return files


def _check_complete(folder: LedgerFolder, writer: int, sequence: int, files: list[PublishedFile]) -> None:
    rows = {file.table: file.rows for file in files}
    if "commits" in rows:
        place = folder.table("commits") / file_name("commits", writer, sequence)
        with pq.ParquetFile(place) as file:
            said = file.read(list(COUNTED), use_threads=False).to_pylist()[0]
        if said == {table: rows.get(table, 0) for table in COUNTED}:
            return
    raise UnmendableError(
        f"the ledger {folder.root} is damaged, or {folder.recovery} is another ledger's: files of commit {sequence} of"
        f" writer {writer} are missing or incomplete; {RESTORE}"
    )


def check_store(folder: LedgerFolder, writer: int, kept: WriterState) -> None:
    """UnmendableError unless the ledger's last commit of a writer is the one that the recovery store knows."""
    state = manifest.load(folder.manifest(writer))
    _check_not_older(folder, writer, state, kept.sequence)
    digest = _digest_of(folder, writer, state, kept.sequence - 1) if kept.sequence else None
    if digest is not None and digest != kept.digest:
        raise UnmendableError(
            f"the recovery store {folder.recovery} is another ledger's: commit {kept.sequence - 1} of writer {writer}"
            f" is not the one it knows; put back the one of {folder.root}, or {RESTORE}"
        )


def _check_not_older(folder: LedgerFolder, writer: int, state: Manifest, sequence: int) -> None:
    if state.next_sequence > sequence:
        raise UnmendableError(
            f"the ledger {folder.root} has {state.next_sequence} commits of writer {writer}, but its recovery store"
            f" knows of {sequence}: {folder.recovery} is an older one, or another ledger's; put back the one that was"
            f" there, or {RESTORE}"
        )


def _digest_of(folder: LedgerFolder, writer: int, state: Manifest, sequence: int) -> str | None:
    """The digest of the last commit, published or about to be; None if its file is missing, as `resume` will say."""
    if sequence < state.next_sequence:
        places = [folder.table("commits") / file.name for file in state.live("commits")[-1:]]
    else:
        name = file_name("commits", writer, sequence)
        places = [folder.pending / name, folder.table("commits") / name]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        return None
    with pq.ParquetFile(place) as file:
        last = file.read_row_group(file.num_row_groups - 1, ["sequence", "digest"], use_threads=False).to_pylist()[-1]
    assert last["sequence"] == sequence, f"{place} ends with commit {last['sequence']}"
    return str(last["digest"])


def published_state(folder: LedgerFolder, writer: int) -> WriterState:
    """The state after the last published commit of a writer whose commits nothing else remembers."""
    state = manifest.load(folder.manifest(writer))
    files = state.live("commits")
    if not files:
        return WriterState()
    path = folder.table("commits") / files[-1].name
    columns = ["sequence", "digest", "offsets", "progress", "catalog_digest"]
    last = pq.read_table(path, columns=columns, partitioning=None).slice(files[-1].rows - 1).to_pylist()[0]
    assert last["sequence"] == state.next_sequence - 1, f"{path} ends with commit {last['sequence']}"
    progress = None if last["progress"] is None else microseconds_of(last["progress"])
    lanes = {lane: LanePosition(offset, progress) for lane, offset in offsets_of(last["offsets"]).items()}
    return WriterState(state.next_sequence, last["digest"], lanes, last["catalog_digest"])


def resume(folder: LedgerFolder, writer: int, sequence: int) -> Manifest:
    """Publish every commit below `sequence`, remove every trace of later ones, and give the manifest. May be repeated.

    UnmendableError if more was published than the recovery store knows of: then the store is not this ledger's.
    """
    state = manifest.load(folder.manifest(writer))
    _check_not_older(folder, writer, state, sequence)
    kept = [file for number in range(state.next_sequence, sequence) for file in make_public(folder, writer, number)]
    if kept:
        state = manifest.publish(folder.manifest(writer), partial(state.replaced, [], kept))
    _remove_unknown(folder, writer, state)
    return state


def _remove_unknown(folder: LedgerFolder, writer: int, state: Manifest) -> None:
    known = {file.name for file in state.files}
    for table in TABLES:
        for place in (folder.pending, folder.table(table)):
            for path in place.glob(f"{table}-??-w{writer}-*"):
                if path.name not in known:
                    path.unlink()


def publish_without_expired(
    folder: LedgerFolder, writer: int, state_from: Callable[[int], Manifest], grace: int
) -> Manifest:
    """Publish a state without files replaced more than `grace` microseconds ago, then delete those files.

    They go together once the oldest has waited for twice the grace: a statement that listed a file just before it is
    deleted may fail, and that should seldom be possible. See docs/decisions/0010-manifest-and-publication.md.
    """
    expired: list[PublishedFile] = []

    def without_expired(moment: int) -> Manifest:
        state, today = state_from(moment), manifest.now()
        due = any(file.visible_until is not None and file.visible_until <= today - 2 * grace for file in state.files)
        kept, expired[:] = state.without_expired(today - grace) if due else (state, [])
        return kept

    state = manifest.publish(folder.manifest(writer), without_expired)
    for file in expired:
        (folder.table(file.table) / file.name).unlink(missing_ok=True)
    return state
