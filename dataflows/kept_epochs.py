"""When an epoch has been kept for good, told by the engine's own order: it lets no source go on before.

Bytewax calls nobody back at a commit. But a source that it asks again after the end of an epoch was held back until all
epochs before this one had been committed, by all workers. No sink of that worker has been asked for a state of this one
yet: its end waits for the source. So whatever the sinks have given by now has been kept.
"""

from collections import defaultdict
from collections.abc import Callable
from threading import get_ident


class KeptEpochs:
    """Hands on, within each worker, that everything it has given the engine so far has been kept."""

    def __init__(self) -> None:
        self._of_worker: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)

    def tell(self, sink: Callable[[], None]) -> None:
        """From now on call this in the worker whose thread this is."""
        self._of_worker[get_ident()].append(sink)

    def kept(self) -> None:
        """A source of this worker has been asked, for the first time after the end of an epoch."""
        for sink in self._of_worker[get_ident()]:
            sink()
