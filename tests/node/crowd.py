"""A crowd that asks the door from a pod, where a gateway would stand: in a namespace that the network policies let in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from tests.cluster.kubectl import kubectl, listed
from tests.node.images import TARGETS
from tests.node.installation import NAMESPACE as SHOP
from tests.node.installation import READY_SECONDS, Shop

NAMESPACE, NAME = "gateway", "crowd"
CLIENTS, PAUSE, SECONDS = 3, 0.03, 120
"""At most 100 requests a second in all, as a key may make of one door, each on a connection of its own: doors share them."""
ASK = f"""
import collections, json, os, threading, time, urllib.request
answers, end = collections.Counter(), time.monotonic() + {SECONDS}
def ask(client):
    number = client
    while time.monotonic() < end:
        number += 1
        address = f"http://recsys-door.{SHOP}/v1/recommendations?user_id=u{{number % 60}}&k=3"
        asked = urllib.request.Request(address, headers={{"Authorization": "Bearer " + os.environ["KEY"]}})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                answers[str(answer.status)] += bool(answer.read())
        except OSError as error:
            answers[repr(error)] += 1
        time.sleep({PAUSE})
clients = [threading.Thread(target=ask, args=[20 * client]) for client in range({CLIENTS})]
for client in clients: client.start()
for client in clients: client.join()
print(json.dumps(answers))
"""


@contextmanager
def crowd(shop: Shop) -> Iterator[None]:
    """It comes with the block and is taken away after it."""
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl("apply", "-f", "-", stdin=listed([_job(shop.key)]))
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def told() -> dict[str, int]:
    """How often the crowd had which status, or failed how; once it has ended."""
    job = ("-n", NAMESPACE, f"job/{NAME}")
    kubectl("wait", "--for=condition=complete", f"--timeout={SECONDS + READY_SECONDS}s", *job)
    answers: dict[str, int] = orjson.loads(kubectl("logs", *job).out)
    return answers


def _job(key: str) -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": TARGETS["serving"],
        "command": ["python", "-c", ASK],
        "env": [{"name": "KEY", "value": key}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": SECONDS + READY_SECONDS, "template": {"spec": pod}},
    }
