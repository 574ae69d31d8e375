"""Turning whatever breaks while the engine runs into one sentence.

Bytewax wraps exceptions in others, and some of its threads panic: they write to the process's standard error and leave
an exception without content. The rule: the sentence is that of the first cause, the noise is not shown.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import IO, ParamSpec, TypeVar

from dataflows.errors import RatemillError
from dataflows.ledger.folder import LedgerFolder, os_reason

P = ParamSpec("P")
R = TypeVar("R")

# How SQLite, through the engine, says that the world outside failed.
_STORE_FAILURES = (
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
    "database is locked",
    "database disk image is malformed",
)


_PANIC = "PanicException"
_PROBE_BYTES = 4 << 20
SILENT = "the engine stopped without saying why; the next run goes on from the last commit"
_noted: list[BaseException] = []


def noted(method: Callable[P, R]) -> Callable[P, R]:
    """Note what a callback of the engine raises: with several processes, the engine may die before it tells."""

    @wraps(method)
    def noting(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(*arguments, **named)
        except StopIteration:
            raise
        except BaseException as error:
            _noted.append(error)
            raise

    return noting


@contextmanager
def quiet_engine(folder: LedgerFolder) -> Iterator[None]:
    """Run the engine in the block: what it writes to standard error is kept back, its failures become RatemillError."""
    with _standard_error_aside() as noise, plain_failures(folder, lambda: _text(noise)):
        yield


@contextmanager
def plain_failures(folder: LedgerFolder, noise: Callable[[], str] = str) -> Iterator[None]:
    """Run the engine in the block: its failures become RatemillError; `noise` gives what it wrote to standard error."""
    _noted.clear()
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the engine is no Exception
        cause = _noted[0] if _noted else error
        sentence = sentence_of(cause, folder, noise())
        if sentence is None:
            raise cause from (None if cause is error else error)
        raise RatemillError(sentence) from error


def sentence_of(error: BaseException, folder: LedgerFolder, noise: str) -> str | None:
    """What went wrong outside, as a sentence; None if nothing outside did, so that it is a bug of ours."""
    for cause in _causes(error):
        if isinstance(cause, RatemillError):
            return str(cause)
        if isinstance(cause, OSError):
            return f"rating into {folder.root} stopped: {os_reason(cause)}"
    said = noise + "".join(str(cause) for cause in _causes(error))
    failure = next((failure for failure in _STORE_FAILURES if failure in said), None)
    if failure is not None:
        return f"cannot write the recovery store {folder.recovery}: {failure}"
    # With several processes the engine's network dies first, and with it what the engine had to say.
    return _fault_of_disk(folder) or SILENT if _PANIC in said or not isinstance(error, Exception) else None


def sentence_within(error: BaseException) -> RatemillError | None:
    """What the engine has wrapped in errors of its own, if it is a sentence for people."""
    return next((cause for cause in _causes(error) if isinstance(cause, RatemillError)), None)


def _fault_of_disk(folder: LedgerFolder) -> str | None:
    """Why nothing can be written now, if that is so."""
    probe = folder.pending / "probe"
    try:
        with open(probe, "wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"cannot write the ledger {folder.root}: {os_reason(error)}"
    finally:
        probe.unlink(missing_ok=True)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it, the first cause last."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__]


@contextmanager
def _standard_error_aside() -> Iterator[IO[bytes]]:
    """Point descriptor 2 at a file, while Python goes on writing to where it pointed before."""
    sys.stderr.flush()
    before = os.dup(2)
    ours = sys.stderr
    with tempfile.TemporaryFile() as noise, os.fdopen(os.dup(before), "w", buffering=1) as real:
        os.dup2(noise.fileno(), 2)
        if _writes_to_descriptor_2(ours):
            sys.stderr = real
        try:
            yield noise
        finally:
            sys.stderr = ours
            os.dup2(before, 2)
            os.close(before)


def _writes_to_descriptor_2(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False


def _text(noise: IO[bytes]) -> str:
    noise.seek(0)
    return noise.read().decode("utf-8", "replace")
