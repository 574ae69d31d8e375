"""The broker of the tests in this folder, and names that keep them apart.

The rule: in continuous integration (CI is set) a missing broker is a failure; elsewhere its tests are skipped, and the
run ends by saying which and what makes them run (tests/conftest.py).
"""

import os
import uuid

import pytest

from ops.kafka.broker import Broker
from ops.kafka.installation import NotInstalledError, find_jars, find_java
from tests.conftest import NO_BROKER


@pytest.fixture(scope="session")
def broker():
    """One broker for all tests of this process; a test that stops it starts it again."""
    try:
        find_java()
        find_jars()
    except NotInstalledError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(NO_BROKER + str(missing))
    with Broker() as broker:
        yield broker


@pytest.fixture
def topic_prefix():
    """A prefix of topics, groups and transactional ids that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}."
