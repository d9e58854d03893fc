"""One door with keys in front of the toy world's server, for all tests of a module."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from pipelines.server_process import RunningServer
from tests.serving.api.doors import door, make_key


@dataclass(frozen=True)
class Front:
    """A running door, the folder of its keys, and clients with and without one."""

    url: str
    home: Path
    client: httpx.Client
    stranger: httpx.Client


@pytest.fixture(scope="module")
def front(running: RunningServer, tmp_path_factory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("door")
    headers = make_key(home)
    with (
        door(home, running.url, rate_per_second=100_000, rate_burst=100_000) as url,
        httpx.Client(base_url=url, headers=headers, timeout=30.0) as client,
        httpx.Client(base_url=url, timeout=30.0) as stranger,
    ):
        yield Front(url, home, client, stranger)
