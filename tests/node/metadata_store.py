#!/usr/local/bin/python3
"""ML Metadata's server out of ml-metadata's wheel, which has its store as a library: what comes by gRPC goes to it as it is.

It runs in an image of its own (tests/node/kubeflow.py), as /bin/metadata_store_server. The store is a file of the pod's.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import grpc
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store
from ml_metadata.proto import metadata_store_pb2

SERVICE = "/ml_metadata.MetadataStoreService/"
CODES = {code.value[0]: code for code in grpc.StatusCode}
FILE = "/tmp/metadata.sqlite"


class Calls(grpc.GenericRpcHandler):
    """Each call of the service, one after the other: a file has one writer."""

    def __init__(self) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = FILE
        migration = metadata_store_pb2.MigrationOptions()
        self._store = metadata_store.CreateMetadataStore(config.SerializeToString(), migration.SerializeToString())
        self._lock = Lock()

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        name = details.method.removeprefix(SERVICE)
        method = getattr(metadata_store, name, None) if details.method.startswith(SERVICE) else None
        if method is None:
            return None

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            with self._lock:
                answer, reason, code = method(self._store, request)
            if code:
                context.abort(CODES[code], reason.decode())
            return bytes(answer)

        return grpc.unary_unary_rpc_method_handler(call)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc_port", type=int, required=True)
    port = parser.parse_known_args()[0].grpc_port
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Calls()])
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
