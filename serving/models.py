"""The two models that KServe's protocols reach: `recommender` (a whole answer) and `ranker` (the bare scores)."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
from kserve.errors import InvalidInput
from numpy.typing import NDArray

from components.ranking.ranker import Ranker
from feature_repo.schema import RANKER_FEATURE_NAMES
from serving.live_recommender import LiveRecommender
from serving.protocol import InvalidRequestError, RecommendationRequest, RecommendationResponse

Asked = TypeVar("Asked")
Payload: TypeAlias = Any
"""Decoded JSON of V1, or an InferRequest of V2 and gRPC: kserve publishes no types."""


class RecommenderModel(Model):
    """user, context, k, filters -> items with scores, reasons and the bundle's id.

    V1: `{"instances": [{"user_id": "1", "k": 10, "filters": {...}}]}`, one answer per instance.
    V2: inputs `user_id` BYTES [n], and at will `k` INT64 [1], `store_id` BYTES [n] and `filters` BYTES [1] (JSON, for
    all users); outputs `item_id` BYTES, `score` FP32, `probability` FP32 and `reason` BYTES, each [n, k], short lists padded
    with "" and NaN.
    """

    def __init__(self, name: str, recommender: LiveRecommender) -> None:
        super().__init__(name)
        self.recommender = recommender
        self.ready = True

    async def predict(
        self, payload: Payload, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Answer each instance."""
        del headers, response_headers
        try:
            if isinstance(payload, InferRequest):
                return self._tensors(
                    payload, [self.recommender.recommend(one) for one in self._within_limit(_v2_requests(payload))]
                )
            instances = self._within_limit(_instances(payload))
            requests = [
                RecommendationRequest.parse(one, where=f"instances.{place}") for place, one in enumerate(instances)
            ]
            answers = [self.recommender.recommend(request).model_dump(mode="json") for request in requests]
        except InvalidRequestError as error:
            raise InvalidInput(str(error)) from error
        return {"predictions": answers}

    def _within_limit(self, asked: Sequence[Asked]) -> Sequence[Asked]:
        """Others wait while one request is answered, so it does not ask for everybody."""
        limit = self.recommender.settings.max_instances
        if len(asked) > limit:
            raise InvalidInput(f"instances: {len(asked)} in one request, at most {limit}. Send them in parts.")
        return asked

    def _tensors(self, request: InferRequest, answers: Sequence[RecommendationResponse]) -> InferResponse:
        width = max((len(answer.items) for answer in answers), default=0)
        columns: dict[str, tuple[str, Any]] = {
            "item_id": ("BYTES", ""),
            "score": ("FP32", np.nan),
            "probability": ("FP32", np.nan),
            "reason": ("BYTES", ""),
        }
        outputs = []
        for name, (datatype, filler) in columns.items():
            rows = [_padded([getattr(item, name) for item in answer.items], width, filler) for answer in answers]
            outputs.append(_output(name, datatype, rows, [len(answers), width]))
        facts = {"bundle_id": self.recommender.bundle.manifest.bundle_id, "variant": self.recommender.settings.variant}
        return InferResponse(
            response_id=request.id or "", model_name=self.name, infer_outputs=outputs, parameters=facts
        )


class RankerModel(Model):
    """The XGBoost ranker alone: rows of features -> scores.

    V1: `{"instances": [[...], ...]}`, rows of as many numbers as there are features, null where missing.
    V2: one FP32 or FP64 input of shape [n, features]; NaN is missing. The order of the features is in the
    bundle's manifest.json.
    """

    def __init__(self, name: str, recommender: LiveRecommender) -> None:
        super().__init__(name)
        self.recommender = recommender
        self.ready = True

    @property
    def ranker(self) -> Ranker:
        """Of the bundle that answers now."""
        return self.recommender.bundle.model.ranker

    async def predict(
        self, payload: Payload, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Score each row."""
        del headers, response_headers
        if isinstance(payload, InferRequest):
            scores = self.ranker.score(_matrix(_array(_only_input(payload))))
            outputs = [_output("score", "FP32", scores.tolist(), [len(scores)])]
            return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=outputs)
        return {"predictions": self.ranker.score(_matrix(_instances(payload))).tolist()}


def _instances(payload: Any) -> Sequence[Any]:  # decoded JSON of any shape
    if isinstance(payload, bytes):  # KServe decodes what is declared as JSON only, and curl -d declares a form
        payload = _json(payload, "body")
    if not isinstance(payload, Mapping) or not isinstance(payload.get("instances"), list) or not payload["instances"]:
        raise InvalidInput('body: expected {"instances": [...]} with at least one instance')
    return list(payload["instances"])


def _matrix(rows: Any) -> NDArray[np.float32]:
    """Rows as float32.

    Raises:
        InvalidInput: They are no numbers, or not as many as there are features.
    """
    expected = f"expected rows of {len(RANKER_FEATURE_NAMES)} numbers (null where missing)"
    try:
        matrix = np.ascontiguousarray(np.array(rows, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"features: {expected}; {error}") from error
    if matrix.ndim != 2 or matrix.shape[1] != len(RANKER_FEATURE_NAMES) or len(matrix) == 0:
        raise InvalidInput(f"features: shape {list(matrix.shape)}, {expected}")
    if np.any(np.isinf(matrix)):
        raise InvalidInput("features: infinite values; send null (V1) or NaN (V2) where a value is missing")
    return matrix


def _only_input(request: InferRequest) -> InferInput:
    if len(request.inputs) != 1:
        raise InvalidInput(f"inputs: {len(request.inputs)} tensors, expected one of shape [n, features]")
    return request.inputs[0]


def _v2_requests(request: InferRequest) -> list[RecommendationRequest]:
    tensors = {tensor.name: tensor for tensor in request.inputs}
    unknown = sorted(set(tensors) - {"user_id", "k", "store_id", "filters"})
    if "user_id" not in tensors or unknown:
        raise InvalidInput(
            f"inputs: {', '.join(tensors) or 'none'}; expected user_id BYTES [n], "
            "at will k INT64 [1], store_id BYTES [n], filters BYTES [1]"
        )
    users = _strings(tensors["user_id"])
    if not users:
        raise InvalidInput("user_id: no value, expected at least one")
    stores = _strings(tensors["store_id"]) if "store_id" in tensors else [None] * len(users)
    if len(stores) != len(users):
        raise InvalidInput(f"store_id: {len(stores)} values for {len(users)} users")
    shared: dict[str, Any] = {"k": _number(tensors["k"])} if "k" in tensors else {}
    if "filters" in tensors:
        shared["filters"] = _json(_only(_strings(tensors["filters"]), "filters"), "filters")
    values = [{"user_id": user, "store_id": store, **shared} for user, store in zip(users, stores, strict=True)]
    return [RecommendationRequest.parse(one, where=f"inputs.{place}") for place, one in enumerate(values)]


def _strings(tensor: InferInput) -> list[str]:
    if tensor.datatype != "BYTES":
        raise InvalidInput(f"{tensor.name}: datatype {tensor.datatype}, expected BYTES")
    values = np.ravel(_array(tensor)).tolist()
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{tensor.name}: not UTF-8 ({error})") from error


def _number(tensor: InferInput) -> int:
    """The one whole number of a tensor."""
    value = _only(np.ravel(_array(tensor)).tolist(), tensor.name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{tensor.name}: datatype {tensor.datatype}, expected INT64")
    return value


def _only(values: Sequence[Any], name: str) -> Any:  # of what the tensor holds
    if len(values) != 1:
        raise InvalidInput(f"{name}: {len(values)} values, expected one for all users")
    return values[0]


def _array(tensor: InferInput) -> Any:  # numpy of any type; kserve publishes no types
    """The tensor's values in its shape.

    Raises:
        InvalidInput: They do not fill it, or are of another type.
    """
    try:
        return tensor.as_numpy()
    except (ValueError, TypeError, OverflowError, IndexError, struct.error) as error:
        raise InvalidInput(f"{tensor.name}: {tensor.datatype} of shape {list(tensor.shape)}, but {error}") from error


def _json(text: str | bytes, where: str) -> Any:  # decoded JSON of any shape
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{where}: not JSON ({error})") from error


def _padded(values: list[Any], width: int, filler: Any) -> list[Any]:
    return values + [filler] * (width - len(values))


def _output(name: str, datatype: str, values: list[Any], shape: list[int]) -> InferOutput:
    array = np.array(values, dtype=object if datatype == "BYTES" else np.float32).reshape(shape)
    output = InferOutput(name, shape, datatype)
    output.set_data_from_numpy(array, binary_data=False)
    return output
