"""What a ledger remembers of its relay: `relay.json`, the name it is known by in Kafka, and how far it had come.

Owns: that file. Does not own: the relay's position, which stands in Kafka. The rule: the name is given once and never
changes, also where the ledger is moved; how far the relay had come is noted after the fact, so it may lag, never lead.
"""

import os
import secrets
from pathlib import Path

import msgspec

from dataflows.errors import RatemillError
from dataflows.ledger.folder import plain_os_errors, replace_file, sync

FILE = "relay.json"


class RelayNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ledger's name for its relay; `relayed` is the next commit of each writer, None before the first start."""

    ledger: str
    relayed: list[int] | None = None


def load_note(root: Path) -> RelayNote:
    """The note of the ledger at `root`; the first call gives the ledger its name."""
    path = root / FILE
    with plain_os_errors(f"cannot write the ledger {root}"):
        if not path.exists():
            _store_first(path, RelayNote(secrets.token_hex(8)))
        try:
            return msgspec.json.decode(path.read_bytes(), type=RelayNote)
        except msgspec.MsgspecError as error:
            raise RatemillError(f"{path} is damaged: {error}") from error


def store_note(root: Path, note: RelayNote) -> None:
    """Replace the note."""
    with plain_os_errors(f"cannot write the ledger {root}"):
        replace_file(root / FILE, msgspec.json.encode(note))


def _store_first(path: Path, note: RelayNote) -> None:
    """Of several relays that start at once, one gives the name."""
    aside = path.with_name(f".{FILE}.{note.ledger}")
    aside.write_bytes(msgspec.json.encode(note))
    sync(aside)
    try:
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink()
    sync(path.parent)
