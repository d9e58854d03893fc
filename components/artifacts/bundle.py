"""The bundle: retrievers, ranker, items, golden requests and monitoring reference of one training, in one folder.

    manifest.json      what it is, with the SHA-256 of every other file
    ranker.ubj         XGBoost's own format
    calibration.json   from the ranker's score to a probability; bundles of format 2 have none
    items.arrow        the item table
    retrievers/*.npz   plain arrays
    golden.json        requests with the answers that a server must reproduce
    policy.json        re-ranking and business rules between the ranking and the list
    reference.parquet  what served traffic is compared with

Nothing in it is executed when it is read. A bundle is immutable: its id is a hash of its content.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.artifacts.feature_manifest import sha256
from components.artifacts.manifest import (
    CALIBRATION,
    FORMAT_VERSION,
    GOLDEN,
    ITEMS,
    MANIFEST,
    POLICY,
    RANKER,
    RETRIEVERS,
    BundleFacts,
    Manifest,
    is_content,
    verify_files,
)
from components.ranking.calibration import ProbabilityMap
from components.ranking.ranker import Ranker
from components.ranking.two_stage import TwoStageModel
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from components.retrieval.items import ItemTable
from components.retrieval.query import build_query
from components.retrieval.storage import read_retrievers, write_retrievers
from feature_repo.schema import RANKER_FEATURES, schema_hash

SCORE_TOLERANCE = 1e-4
"""Largest difference of a score between the machine that trained and one that serves; an XGBoost 2 model is off by 0.4."""


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """A request and its answer.

    Attributes:
        user_id: External id; empty for a user of whom nothing is known.
        row: The user's features.
        now_seconds: Unix time of the request.
        store_id: Where it came from.
        k: Items asked for.
        item_ids: The answer, best first.
        scores: The ranker's.
    """

    user_id: str
    row: Mapping[str, Any]
    now_seconds: int
    store_id: str | None
    k: int
    item_ids: Sequence[str]
    scores: Sequence[float]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory."""

    folder: Path
    manifest: Manifest
    model: TwoStageModel
    policy: ListPolicy
    golden: tuple[GoldenRequest, ...]
    calibration: ProbabilityMap | None

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """That each item is taken within the horizon, shape (n,); None where the bundle cannot say."""
        return None if self.calibration is None else self.calibration.of(self.model.ranker.log_odds(scores))

    def with_items(self, items: ItemTable) -> "Bundle":
        """The same models over newer features of the same items."""
        model = replace(self.model, items=items)
        return replace(self, model=model, policy=ListPolicy.of(model, self.policy.config))


def write_bundle(
    folder: Path,
    *,
    model: TwoStageModel,
    policy: PolicyConfig,
    golden: Sequence[GoldenRequest],
    facts: BundleFacts,
    extra_files: Mapping[str, Path],
    calibration: ProbabilityMap | None = None,
) -> Manifest:
    """Write a bundle.

    Args:
        folder: Is made; what lies there under the same names is overwritten.
        model: The models.
        policy: What stands between their ranking and the list.
        golden: Requests with their answers.
        facts: What the training was.
        extra_files: Name in the bundle to the file that is copied.
        calibration: From the ranker's margin to a probability; None where nothing is known of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.ranker.save(folder / RANKER)
    model.items.write(folder / ITEMS)
    write_retrievers(model.retrievers, folder / RETRIEVERS)
    (folder / POLICY).write_text(json.dumps(policy.model_dump(mode="json"), sort_keys=True))
    (folder / GOLDEN).write_text(json.dumps([asdict(request) for request in golden], sort_keys=True))
    if calibration is not None:
        calibration.write(folder / CALIBRATION)
    for name, source in extra_files.items():
        copyfile(source, folder / name)
    files = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if is_content(path)}
    manifest = Manifest(
        bundle_id=_bundle_id(files, model),
        format_version=FORMAT_VERSION,
        feature_service="ranker_v1",
        schema_hash=schema_hash(),
        features=tuple(spec.name for spec in RANKER_FEATURES),
        quotas=dict(model.quotas),
        xgboost=version("xgboost"),
        facts=facts,
        files=files,
        blend=model.blend,
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return manifest


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle, after its files and its feature schema were checked.

    Raises:
        ContractError: A file is missing or changed, or it was trained on other features or by another XGBoost.
    """
    manifest = Manifest.read(folder)
    verify_files(folder, manifest)
    _verify_schema(folder, manifest)
    _verify_xgboost(folder, manifest)
    model = TwoStageModel(
        ItemTable.read(folder / ITEMS),
        read_retrievers(folder / RETRIEVERS),
        dict(manifest.quotas),
        Ranker.load(folder / RANKER),
        manifest.blend,
    )
    policy = ListPolicy.of(model, PolicyConfig.model_validate(json.loads((folder / POLICY).read_text())))
    golden = tuple(GoldenRequest(**request) for request in json.loads((folder / GOLDEN).read_text()))
    calibration = ProbabilityMap.read(folder / CALIBRATION) if CALIBRATION in manifest.files else None
    return Bundle(folder, manifest, model, policy, golden, calibration)


def check_golden(bundle: Bundle) -> None:
    """Rank the golden requests anew; a policy, which a server may replace, is no part of it.

    A compiled ranker shows here that it scores their candidates as XGBoost does, or is given up.

    Raises:
        ContractError: An answer differs: this process would serve something else than what was evaluated.
    """
    for request in bundle.golden:
        query = build_query(
            request.user_id, request.row, bundle.model.items, now_seconds=request.now_seconds, store_id=request.store_id
        )
        bundle.model.ranker.verify(bundle.model.rank(query).matrix)
        top = bundle.model.rank(query).top(request.k)
        if not _is_same_answer(top.scores, bundle.model.items.item_ids[top.item_nums], request):
            raise ContractError(
                f"bundle {bundle.manifest.bundle_id}: golden request of user {request.user_id or 'unknown'!r} is answered "
                f"with scores {np.round(top.scores[:3], 4).tolist()}, expected {np.round(request.scores[:3], 4).tolist()}. "
                f"It was trained with xgboost {bundle.manifest.xgboost}, this is {version('xgboost')}: use that version."
            )


def _is_same_answer(scores: Any, item_ids: Any, request: GoldenRequest) -> bool:  # numpy arrays of any float type
    """Same scores; same items but where two scores are equal within the tolerance."""
    expected = np.asarray(request.scores)
    if len(scores) != len(expected) or not np.allclose(scores, expected, atol=SCORE_TOLERANCE):
        return False
    is_tied = np.isclose(np.diff(expected, prepend=np.inf), 0, atol=SCORE_TOLERANCE)
    is_tied |= np.isclose(np.diff(expected, append=-np.inf), 0, atol=SCORE_TOLERANCE)
    same = np.array([ours == theirs for ours, theirs in zip(item_ids, request.item_ids, strict=True)], bool)
    last = np.arange(len(same)) == len(same) - 1  # the last may be tied with one that was cut off
    return bool(np.all(same | is_tied | last))


def _verify_schema(folder: Path, manifest: Manifest) -> None:
    if manifest.schema_hash != schema_hash():
        ours = {spec.name for spec in RANKER_FEATURES}
        differing = sorted(ours.symmetric_difference(manifest.features)) or "units, defaults or order"
        raise ContractError(
            f"bundle {folder}: trained on features {manifest.schema_hash}, this version builds {schema_hash()}; "
            f"differing: {differing}. Train anew, or serve it with the version that trained it."
        )


def _verify_xgboost(folder: Path, manifest: Manifest) -> None:
    """XGBoost reads what an earlier minor version wrote; it loads a later one's model without a word and predicts wrongly."""
    trained, here = _minor(manifest.xgboost), _minor(version("xgboost"))
    if trained[0] != here[0] or trained > here:
        raise ContractError(
            f"bundle {folder}: trained with xgboost {manifest.xgboost}, this is {version('xgboost')}. "
            "Serve it with the version that trained it, or train anew."
        )


def _minor(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)


def _bundle_id(files: Mapping[str, str], model: TwoStageModel) -> str:
    blend = None if model.blend is None else asdict(model.blend)
    content = json.dumps([dict(files), dict(model.quotas), blend, schema_hash(), FORMAT_VERSION], sort_keys=True)
    return "b-" + hashlib.sha256(content.encode()).hexdigest()[:12]
