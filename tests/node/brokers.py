"""A real Kafka beside the node, with TLS and SCRAM, which pods know by the name that components/kafka has: Strimzi's Service."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.server_process import free_ports
from tests.cluster.kubectl import kubectl, listed
from tests.node.node import ADDRESS
from tests.servers import KafkaServer, own_folder

NAMESPACE, SERVICE, PORT = "kafka", "kafka-kafka-bootstrap", 9094


@contextmanager
def kafka() -> Iterator[KafkaServer]:
    """It and its Service are there while the block runs."""
    name = f"{SERVICE}.{NAMESPACE}.svc:{PORT}"
    server = KafkaServer(own_folder(), [*free_ports(2), PORT], host=ADDRESS, guarded=name)
    server.start()
    try:
        kubectl("create", "namespace", NAMESPACE)
        kubectl("apply", "-f", "-", stdin=listed(_service()))
        yield server
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
        server.stop()
        shutil.rmtree(server.folder)


def _service() -> list[dict[str, Any]]:
    """Without pods behind it: the broker is a process of the machine."""
    labels = {"kubernetes.io/service-name": SERVICE}
    port = {"name": "tls", "port": PORT, "protocol": "TCP"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"ports": [port]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels},
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
    ]
