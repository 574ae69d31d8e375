"""Which files of one writer are published, since when, and until when: the only truth about what a reader may see.

Owns: `manifest/writer-N.json`, replaced as a whole. Does not own: the files it names. The rule: a row of the manifest
is true for statements that began at `visible_from` or later and before `visible_until` (microseconds since 1970). The
start of a statement is one number for all the scans in it, so it sees one state of the ledger, whatever happens
meanwhile; replaced files stay for a grace, so that statements that began before still find them.

>>> later = Manifest([PublishedFile("events", "a", 5, 0, 0, visible_from=100)]).replaced(["a"], [], moment=200)
>>> [file.name for file in later.visible_at(199)], later.visible_at(200)
(['a'], [])
"""

import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

import msgspec

from dataflows.errors import RatemillError, UnmendableError
from dataflows.ledger.folder import RESTORE, sync, write_aside

# A new state is stamped this much ahead, so that the manifest lies in place before its first statement can begin; of
# that, so much must be left when it is written down.
PUBLICATION_MARGIN, _LEFT = 75_000, 50_000
LONGEST_WAIT = 10_000_000


class PublishedFile(msgspec.Struct, frozen=True, kw_only=False):
    """One file of one table: the commits it holds (first and last sequence) and the statements that may see it.

    Statements begun before `complete_since` can no longer be answered: files that they need have been removed.
    """

    table: str
    name: str
    rows: int
    sequence_first: int
    sequence_last: int
    level: int = 0
    visible_from: int = 0
    visible_until: int | None = None
    complete_since: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """The files of one writer, live and replaced ones."""

    files: list[PublishedFile]

    @property
    def next_sequence(self) -> int:
        """The first commit that is not published."""
        return max((file.sequence_last + 1 for file in self.files), default=0)

    def live(self, table: str) -> list[PublishedFile]:
        """The files of a table that nothing has replaced, in the order of their commits."""
        return sorted(
            (file for file in self.files if file.table == table and file.visible_until is None),
            key=lambda file: file.sequence_first,
        )

    def visible_at(self, moment: int) -> list[PublishedFile]:
        """The files that a statement begun at `moment` (microseconds) sees; RatemillError if some have been removed."""
        if any(file.complete_since > moment for file in self.files):
            raise RatemillError("the ledger cannot tell any more what it held then: run it again")
        return [
            file
            for file in self.files
            if file.visible_from <= moment and (file.visible_until is None or moment < file.visible_until)
        ]

    def replaced(self, old: Collection[str], new: Iterable[PublishedFile], moment: int) -> "Manifest":
        """From `moment` on, `new` instead of `old` (names).

        A clock that was set back must not hide what is already published: nothing is stamped later than `moment`.
        """
        since = max((file.complete_since for file in self.files), default=0)
        kept = [
            msgspec.structs.replace(
                file,
                visible_from=min(file.visible_from, moment),
                visible_until=moment if file.name in old else _earlier(file.visible_until, moment),
                complete_since=min(file.complete_since, moment),
            )
            for file in self.files
        ]
        since = min(since, moment)
        return Manifest(
            kept + [msgspec.structs.replace(file, visible_from=moment, complete_since=since) for file in new]
        )

    def without_expired(self, moment: int) -> tuple["Manifest", list[PublishedFile]]:
        """The manifest without the files replaced before `moment`, and those files.

        The rest says since when it is complete, so that an older statement fails rather than miss rows.
        """
        expired = [file for file in self.files if file.visible_until is not None and file.visible_until <= moment]
        since = max((file.visible_until or 0 for file in expired), default=0)
        kept = [
            msgspec.structs.replace(file, complete_since=max(file.complete_since, since))
            for file in self.files
            if file not in expired
        ]
        return Manifest(kept), expired


def _earlier(until: int | None, moment: int) -> int | None:
    return None if until is None else min(until, moment)


def load(path: Path) -> Manifest:
    """The manifest at `path`; UnmendableError if it is damaged."""
    try:
        return Manifest(msgspec.json.decode(path.read_bytes(), type=list[PublishedFile]))
    except msgspec.DecodeError as error:
        raise UnmendableError(f"the manifest {path} is damaged ({error}): {RESTORE}") from error


def publish(path: Path, state_from: Callable[[int], Manifest]) -> Manifest:
    """Replace the manifest at `path` by the state that is to be visible from a moment on; gives that state.

    It lies in place before the moment, or statements would see half of it. When the disk takes longer to write it down,
    it is written again for a later moment.
    """
    margin = PUBLICATION_MARGIN
    while True:
        moment = now() + margin
        state = state_from(moment)
        aside = write_aside(path, msgspec.json.encode(state.files))
        if now() < moment - _LEFT:
            aside.replace(path)
            sync(path.parent)
            return state
        margin *= 2


def show_now(path: Path) -> None:
    """Let statements see at once what a clock that was set back since has stamped later; for its own writer only."""
    state = load(path)
    if any(file.visible_from > now() + LONGEST_WAIT for file in state.files):
        publish(path, partial(state.replaced, [], []))
    wait_until_visible([path])


def wait_until_visible(paths: Iterable[Path]) -> None:
    """Returns when statements that begin now see what these manifests say; at the latest after a while."""
    moments = [file.visible_from for path in paths for file in load(path).files]
    # A clock that was set back must not make anybody wait for hours.
    ahead = min(max(moments, default=0) - now(), LONGEST_WAIT)
    time.sleep(max(0, ahead) / 1_000_000)


def now() -> int:
    """The wall clock in microseconds since 1970."""
    return time.time_ns() // 1_000
