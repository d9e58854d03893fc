"""A real server process on the toy world's champion, once for all tests of a module's choice."""

from collections.abc import Iterator

import httpx
import pytest

from components.materialize_features.materialize import materialize_features
from pipelines.server_process import RunningServer, server
from tests.conftest import Trained
from tests.toy_world import moment

SERVED_FROM = moment(16)


@pytest.fixture(scope="session")
def running(trained: Trained) -> Iterator[RunningServer]:
    """`python -m serving` with a replay's clock, on features as of the second test cut."""
    materialize_features(trained.home, end=SERVED_FROM)
    with server(trained.home, accept_request_time=True, flush_seconds=0.2) as process:
        yield process


@pytest.fixture
def client(running: RunningServer) -> Iterator[httpx.Client]:
    """A client of its REST routes."""
    with httpx.Client(base_url=running.url, timeout=30.0) as opened:
        yield opened
