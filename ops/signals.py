"""Stopping on signals: Ctrl-C and SIGTERM set an event that flows wait for.

Owns: what a signal does to a command that runs until it is told to stop. The rule: a handler takes no lock, for it runs
inside the main thread, which may hold the lock: `Event.set` there waits for ever when it meets an `Event.wait`.
"""

import signal
from queue import SimpleQueue
from threading import Event, Thread


def stop_on_signals() -> Event:
    """An event that is set soon after Ctrl-C or SIGTERM; the second of them interrupts at once."""
    stopping = Event()
    is_asked = False
    # The one queue that may be filled from a handler.
    asked: SimpleQueue[None] = SimpleQueue()

    def ask(number: int, frame: object) -> None:
        del number, frame
        nonlocal is_asked
        if is_asked:
            raise KeyboardInterrupt
        is_asked = True
        asked.put(None)

    Thread(target=_set_when_asked, args=[stopping, asked], name="signals", daemon=True).start()
    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    return stopping


def _set_when_asked(stopping: Event, asked: SimpleQueue[None]) -> None:
    asked.get()
    stopping.set()
