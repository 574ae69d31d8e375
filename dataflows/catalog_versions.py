"""The versions of the catalog that a running flow rates with: which applies when, each compiled once per process.

Owns: compiled catalogs in memory, and how far the future is known. Does not own: the history on disk
(`catalog_history`), or where new versions come from (`connectors.catalog_topic`), which says here what it learned. The
rule: a lane passes a moment only when no version that takes effect up to it can come any more, so a replay of the same
log is rated by the same catalogs.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from threading import Condition, Lock

from dataflows.catalog_history import CatalogHistory, CatalogVersion, VersionStamp
from dataflows.errors import RatemillError
from rating.catalog import CompiledCatalog, compile_catalog
from rating.resolve import NONE_YET

_MOST_COMPILED = 4
_SECONDS_BETWEEN_LOOKS = 0.1
# A publisher takes effect later than it commits by its lead, of which the flow may count on so much.
SURE_AHEAD = 500_000


class CatalogVersions:
    """The catalogs of one ledger's history, for all threads of a process; see `catalogs.Catalogs`."""

    def __init__(self, history: CatalogHistory) -> None:
        self._history = history
        self._versions: list[VersionStamp] = []
        self._compiled: OrderedDict[str, Future[CompiledCatalog]] = OrderedDict()
        self._lock = Lock()
        self._news = Condition()
        self._known_until = NONE_YET
        self._failure: RatemillError | None = None
        self.refresh()

    @property
    def history(self) -> CatalogHistory:
        """What the ledger keeps."""
        return self._history

    def refresh(self) -> None:
        """Take in what the history says now; another process may have added to it."""
        self._versions = self._history.versions()

    def add(self, version: CatalogVersion, compiled: CompiledCatalog) -> None:
        """A new version, ready to rate with before it takes effect."""
        assert compiled.digest == version.digest, f"{version.digest} was compiled to {compiled.digest}"
        done: Future[CompiledCatalog] = Future()
        done.set_result(compiled)
        with self._lock:
            self._compiled.setdefault(version.digest, done)
            self._forget_all_but_the_last()
        self._history.add(version)
        self.refresh()

    def compiled(self, digest: str) -> CompiledCatalog:
        """The catalog with this digest; whoever asks first compiles it, all others wait."""
        with self._lock:
            known = self._compiled.get(digest)
            asked_first = known is None
            wanted = self._compiled[digest] = known or Future()
            self._compiled.move_to_end(digest)
            self._forget_all_but_the_last()
        if asked_first:
            self._compile(digest, wanted)
        return wanted.result()

    def at(self, clock: int) -> str:
        """The digest of the catalog in effect at a moment, in microseconds UTC."""
        versions = self._versions
        assert versions, "no catalog has been published, and nobody waited for one"
        later = bisect_right(versions, clock, key=lambda stamp: stamp.effective_from)
        return versions[max(later - 1, 0)].digest

    def latest(self) -> CompiledCatalog:
        """The catalog that takes effect last of all that are known."""
        return self.compiled(self._versions[-1].digest)

    def changes(self) -> list[int]:
        """The moments at which a catalog took the place of another, or will, ascending."""
        return [stamp.effective_from for stamp in self._versions[1:]]

    def checked(self, moment: int) -> None:
        """Every version that had been published at `moment` (microseconds UTC) is here."""
        with self._news:
            # Moments go back when a clock that was ahead is set right, and then what it said is worth nothing.
            self._known_until = moment + SURE_AHEAD
            self._news.notify_all()

    def fail(self, failure: RatemillError) -> None:
        """Nothing more will be learned, for this reason: whoever waits is told."""
        with self._news:
            self._failure = failure
            self._news.notify_all()

    def wait_until_known(self, clock: int, give_up: Callable[[], bool]) -> None:
        """Returns when no catalog can be published any more that takes effect up to this moment, or on `give_up`."""
        with self._news:
            while self._known_until < clock and not give_up():
                self.check()
                self._news.wait(_SECONDS_BETWEEN_LOOKS)

    def check(self) -> None:
        """RatemillError if nothing more will be learned."""
        if self._failure is not None:
            raise self._failure

    def _compile(self, digest: str, wanted: "Future[CompiledCatalog]") -> None:
        try:
            # An earlier version of Ratemill may have given it another digest than this one would.
            wanted.set_result(replace(compile_catalog(self._history.catalog(digest)), digest=digest))
        except BaseException as error:
            with self._lock:
                self._compiled.pop(digest, None)
            wanted.set_exception(error)

    def _forget_all_but_the_last(self) -> None:
        while len(self._compiled) > _MOST_COMPILED:
            self._compiled.popitem(last=False)
