"""What a client sends, held to what it should be before anything is made of it."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.kubeflow.tables import InvalidError, Resource


def compiled_name(documents: Sequence[Any]) -> str:
    """The name that a compiled pipeline gives itself; its first document is the pipeline, a second one its platform's.

    Raises:
        InvalidError: It is no compiled pipeline.
    """
    try:
        message = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        for platform in documents[1:]:
            json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    except (json_format.ParseError, IndexError, AttributeError, TypeError) as error:
        raise InvalidError(f"no compiled pipeline ({error}). `recsys train compile` writes one.") from error
    if not message.pipeline_info.name:
        raise InvalidError("no compiled pipeline: it has no pipelineInfo.name. `recsys train compile` writes one.")
    return str(message.pipeline_info.name)


def as_object(given: Any, what: str) -> Resource:
    """A JSON object; what is left out is an empty one.

    Raises:
        InvalidError: It is something else.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidError(f"{what}: expected a JSON object, got {type(given).__name__}.")
    return given
