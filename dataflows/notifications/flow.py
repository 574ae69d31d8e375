"""The notification flow: every notification of the topic reaches its recipients, at least once, or fails in sight.

    topic ──► store (deliveries and the place behind them, one transaction) ──► a lane for each endpoint ──► outcomes

Owns: that order, starting and stopping. Does not own: any of the parts. The rule: whom it delivers to never stops the
flow; what is not delivered yet is in the store, whatever happens to the process.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dataflows.connectors.kafka_client import check_reachable
from dataflows.errors import RatemillError, UnmendableError
from dataflows.notifications.database import held_alone
from dataflows.notifications.endpoints import check_endpoints, webhooks_of
from dataflows.notifications.intake import Intake
from dataflows.notifications.lanes import Channel, Lane
from dataflows.notifications.mail import MailChannel
from dataflows.notifications.recorder import Recorder
from dataflows.notifications.rendering import Render
from dataflows.notifications.store import Store, Taken
from dataflows.notifications.webhook import WebhookChannel
from dataflows.relay import to_standard_error
from dataflows.settings import Settings

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_SWEEPS = 1.0
_SECONDS_BETWEEN_FORGETTING = 60.0
_STORE_THREADS = 2
_SPARE_THREADS = 8


@dataclass(slots=True)
class DeliveryProgress:
    """What the flow has done since it was started.

    A lane knows the attempts at its endpoint; `trouble` gives a sentence while nothing is read or kept, else None.
    """

    notifications: int = 0
    repeated: int = 0
    malformed: int = 0
    lanes: Sequence[Lane] = ()
    trouble: Callable[[], str | None] = field(default=lambda: "the flow is starting")

    @property
    def circuits(self) -> dict[str, bool]:
        """Whether an endpoint rests after failures in a row."""
        return {lane.shown: lane.circuit.is_open for lane in self.lanes}

    def add(self, taken: Taken) -> None:
        """Count what has been read."""
        self.notifications += taken.notifications
        self.repeated += taken.repeated
        self.malformed += taken.malformed


def run_notifications(
    settings: Settings,
    folder: Path,
    stop: threading.Event,
    *,
    render: Render,
    accept_loss: bool = False,
    progress: DeliveryProgress | None = None,
    remark: Callable[[str], None] = to_standard_error,
) -> DeliveryProgress:
    """Deliver notifications until `stop` is set; `render` makes a message of the columns of a notification.

    RatemillError says in one sentence why the flow cannot go on; the same call then goes on where it ended. With
    `accept_loss` it begins at the first record there is where the next ones were deleted.
    """
    progress = progress or DeliveryProgress()
    check_endpoints(settings)
    check_reachable(settings)
    with held_alone(folder):
        store = Store(folder, webhooks_of(settings), settings.delivery_hours)
        try:
            flow = _Flow(settings, store, stop, progress, remark)
            flow.intake.begin(accept_loss)
            asyncio.run(flow.run(_channels(settings, render)))
        finally:
            store.close()
    return progress


def _channels(settings: Settings, render: Render) -> list[Channel]:
    channels: list[Channel] = [WebhookChannel(webhook.url, settings) for webhook in webhooks_of(settings)]
    if settings.smtp_host is not None:
        channels.append(MailChannel(settings, render))
    return channels


class _Flow:
    """One run of the flow: the thread that reads the topic, and the event loop that delivers."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        stop: threading.Event,
        progress: DeliveryProgress,
        remark: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._stop = stop
        self._progress = progress
        self._remark = remark
        self._ended = threading.Event()
        self.intake = Intake(settings, store, self._ended, self._take_note, remark)
        self._wake: Callable[[], object] = lambda: None

    async def run(self, channels: Sequence[Channel]) -> None:
        """Deliver until told to stop, or until a part cannot go on."""
        loop = asyncio.get_running_loop()
        # A name server that does not answer holds a thread; the store has its own.
        loop.set_default_executor(ThreadPoolExecutor(len(channels) + _SPARE_THREADS))
        stopping = asyncio.Event()
        with ThreadPoolExecutor(_STORE_THREADS) as executor, ThreadPoolExecutor(1) as reading:
            recorder = Recorder(self._store, executor, self._remark)
            lanes = [
                Lane(each, self._settings, self._store, executor, recorder, stopping, self._remark) for each in channels
            ]
            self._wake = lambda: loop.call_soon_threadsafe(_wake, lanes)
            self._progress.lanes = lanes
            self._progress.trouble = lambda: self.intake.trouble or recorder.trouble
            parts = [
                asyncio.create_task(self._until_stopped()),
                asyncio.ensure_future(loop.run_in_executor(reading, self.intake.run)),
                asyncio.create_task(self._sweep(executor, [lane.endpoint for lane in lanes], stopping)),
                *(asyncio.create_task(lane.run()) for lane in lanes),
            ]
            keeping = asyncio.create_task(recorder.run())
            try:
                await asyncio.wait([*parts, keeping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Interrupted, too: whoever waits for the thread that reads would wait for ever.
                stopping.set()
                self._ended.set()
            await asyncio.wait(parts)
            recorder.end()
            await asyncio.wait([keeping])
        for part in [*parts, keeping]:
            part.result()

    def _take_note(self, taken: Taken) -> None:
        self._progress.add(taken)
        self._wake()

    async def _until_stopped(self) -> None:
        while not self._stop.is_set() and not self._ended.is_set():
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def _sweep(self, executor: Executor, served: Sequence[str], stopping: asyncio.Event) -> None:
        """Now and then, give up what is too old, and more seldom forget what was delivered long ago."""
        loop = asyncio.get_running_loop()
        forgets_at = 0.0
        while not stopping.is_set():
            try:
                given_up = await loop.run_in_executor(executor, self._store.expire, served)
                if given_up:
                    self._remark(f"{given_up:,} deliveries were given up: `ratemill notifications list --state failed`")
                if loop.time() >= forgets_at:
                    gone = await loop.run_in_executor(executor, self._store.forget, self._settings.delivered_days)
                    forgets_at = loop.time() + (0 if gone else _SECONDS_BETWEEN_FORGETTING)
            except UnmendableError:
                raise
            except RatemillError as error:
                self._remark(f"{error}; trying again")
            await _sleep_unless(stopping, _SECONDS_BETWEEN_SWEEPS)


def _wake(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.wake()


async def _sleep_unless(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
