"""Chromium without a window, told what to do over its own protocol: a page at a width, as a picture, on paper.

The rule: a browser belongs to one block and is gone at its end, with its folder; it loads files and nothing else.
"""

import asyncio
import base64
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.browser.installation import Chromium, find_chromium

_SECONDS = 60
_MOST_BYTES = 1 << 28
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-zygote",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-port=0",
)


@dataclass(frozen=True)
class Seen:
    """A page as the browser shows it at a width: what an expression gave, and a picture (PNG) of all of it."""

    value: Any
    picture: bytes


class Page:
    """One open page of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._number = 1

    async def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the browser's protocol."""
        self._number += 1
        asked = {"id": self._number, "sessionId": self._session, "method": method, "params": parameters}
        await self._socket.send_json(asked)
        return await _answer(self._socket, self._number)

    async def see(self, expression: str, width: int, height: int = 800) -> Seen:
        """The page at this width in CSS pixels."""
        await self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        found = await self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        picture = await self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return Seen(found["result"]["value"], base64.b64decode(picture["data"]))

    async def print(self) -> bytes:
        """The page on paper, as a PDF."""
        printed = await self.tell("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(printed["data"])


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    """What the browser answers to a command; what it tells meanwhile is passed over."""
    while True:
        said = await socket.receive_json(timeout=_SECONDS)
        if said.get("id") == number:
            assert "error" not in said, said
            return said["result"]


@asynccontextmanager
async def opened(file: Path) -> AsyncIterator[Page]:
    """A file in a browser of its own."""
    with _running(find_chromium()) as address:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, max_msg_size=_MOST_BYTES) as socket,
        ):
            yield await _page(socket, file)


async def _page(socket: aiohttp.ClientWebSocketResponse, file: Path) -> Page:
    await socket.send_json({"id": 0, "method": "Target.createTarget", "params": {"url": "about:blank"}})
    target = (await _answer(socket, 0))["targetId"]
    attach = {"targetId": target, "flatten": True}
    await socket.send_json({"id": 1, "method": "Target.attachToTarget", "params": attach})
    page = Page(socket, (await _answer(socket, 1))["sessionId"])
    await page.tell("Page.enable")
    await page.tell("Page.navigate", url=file.resolve().as_uri())
    loaded = "new Promise(done => document.readyState == 'complete' ? done(true) : addEventListener('load', done))"
    await page.tell("Runtime.evaluate", expression=loaded, awaitPromise=True)
    return page


@contextmanager
def _running(chromium: Chromium) -> Iterator[str]:
    """A browser that runs while the block does; gives the address of its protocol."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | chromium.environment | {"HOME": folder}
        command = [str(chromium.program), *_OPTIONS, f"--user-data-dir={folder}/profile", "about:blank"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield _address(process)
            finally:
                process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("DevTools listening on "):
            return line.split()[-1]
    raise AssertionError("the browser ended: " + "".join(said[-20:]))


def view(file: Path, widths: dict[int, str]) -> tuple[dict[int, Seen], bytes]:
    """A page at some widths, at each with an expression to evaluate; and on paper, as a PDF."""

    async def look() -> tuple[dict[int, Seen], bytes]:
        async with opened(file) as page:
            return {
                width: await page.see(expression, width) for width, expression in widths.items()
            }, await page.print()

    return asyncio.run(asyncio.wait_for(look(), _SECONDS * 2))
