"""Kubeflow Pipelines' messages in Go, from the descriptors that its Python packages bring.

    python -m tests.node.messages PROTOC_GEN_GO FOLDER

The Go module proxy has none of its newer ones. What the backend is then built with knows every field of our packages.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor import FileDescriptor
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

PREFIX = "github.com/kubeflow/pipelines/"
FILES = (pipeline_spec_pb2.DESCRIPTOR, kubernetes_executor_config_pb2.DESCRIPTOR)


def write(generator: Path, folder: Path) -> None:
    """Run Go's generator of messages as protoc would; files lie in the folder as packages do below PREFIX."""
    request = plugin_pb2.CodeGeneratorRequest(file_to_generate=[file.name for file in FILES])
    for file in dict.fromkeys(one for wanted in FILES for one in _with_dependencies(wanted)):
        file.CopyToProto(request.proto_file.add())
    done = subprocess.run([generator], input=request.SerializeToString(), stdout=subprocess.PIPE, check=True)
    answer = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if answer.error:
        raise RuntimeError(answer.error)
    for made in answer.file:
        path = folder / made.name.removeprefix(PREFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.content)


def _with_dependencies(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """Each after what it imports."""
    for one in file.dependencies:
        yield from _with_dependencies(one)
    yield file


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
