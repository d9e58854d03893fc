"""A real client of the laptop's endpoint, and waiting for what it does."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import kfp
from kfp_server_api import V2beta1Run

from pipelines.stack import Part
from tests.pipelines.test_cli import recsys

SECONDS, POLL_SECONDS = 60.0, 0.05
ACTIVE = {"PENDING", "RUNNING", "CANCELING"}


def start_endpoint(home: Path, port: int) -> Part:
    recsys("kfp", "up", "--port", str(port), home=home)
    part = Part.read(home, "kfp")
    assert part is not None
    return part


def client_of(part: Part, home: Path) -> kfp.Client:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every client warns that it wants a server of version 2
        return kfp.Client(host=part.url, existing_token=(home / "kfp.token").read_text())


def ended(client: kfp.Client, run_id: str) -> V2beta1Run:
    """The run at its end; the client's own wait does not know CANCELED."""
    until(lambda: client.get_run(run_id).state not in ACTIVE)
    return client.get_run(run_id)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(POLL_SECONDS)
