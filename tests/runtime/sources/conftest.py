"""Real servers on loopback."""

from collections.abc import Iterator

import pytest

from .web_server import Web


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()
