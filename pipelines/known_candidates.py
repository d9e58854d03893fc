"""Candidates of which it is known beforehand what they are worth: what a rollout must find out by itself.

Each is the champion with one thing changed, so nothing else can explain what the rollout sees.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xgboost as xgb

from components.artifacts.bundle import Bundle, GoldenRequest, load_bundle, write_bundle
from components.artifacts.manifest import REFERENCE
from components.artifacts.registry import Version, open_registry
from components.ranking.ranker import Ranker
from components.ranking.two_stage import TwoStageModel
from components.retrieval.query import build_query

Change = Callable[[TwoStageModel], TwoStageModel]
POPULAR = "popular_in_context"
LEAF = -1
"""Child of a node that has none, in XGBoost's JSON."""
WASTE = 300
"""How many times the candidates a wasteful bundle asks for: nearly all items."""


def publish_candidate(home: Path, model: str, of: str, change: Change, *, now: datetime) -> Version:
    """Publish a version of a registered model with one thing changed; its golden requests are answered by itself.

    Args:
        home: State folder.
        model: Registered model.
        of: Id or alias of the version that is changed.
        change: What is done to its models.
        now: Of the publication.
    """
    registry = open_registry(home)
    bundle = load_bundle(registry.version(model, of).folder)
    changed = change(bundle.model)
    with TemporaryDirectory() as folder:
        write_bundle(
            Path(folder),
            model=changed,
            policy=bundle.policy.config,
            golden=_golden(bundle, changed),
            facts=bundle.manifest.facts,
            extra_files={REFERENCE: bundle.folder / REFERENCE},
            calibration=bundle.calibration,
        )
        return registry.publish(model, Path(folder), None, now=now)


def unchanged(model: TwoStageModel) -> TwoStageModel:
    """The bundle itself."""
    return model


def the_same(model: TwoStageModel) -> TwoStageModel:
    """Another bundle with the same models: whatever is found between the two is chance."""
    return model


def popular_only(model: TwoStageModel) -> TwoStageModel:
    """Knows no other candidates than what is popular where the user is."""
    return replace(model, quotas={name: quota if name == POPULAR else 0 for name, quota in model.quotas.items()})


def wasteful(model: TwoStageModel) -> TwoStageModel:
    """Ranks nearly all items in each request: the list is good, and late."""
    return replace(model, quotas={name: quota * WASTE for name, quota in model.quotas.items()})


def upside_down(model: TwoStageModel) -> TwoStageModel:
    """Ranks the worst candidate first, as if labels had been read the wrong way round."""
    content = json.loads(model.ranker.booster.save_raw("json"))
    for tree in content["learner"]["gradient_booster"]["model"]["trees"]:
        leaves = np.array(tree["left_children"]) == LEAF
        tree["split_conditions"] = np.where(leaves, -1, 1).astype(float) * np.array(tree["split_conditions"], float)
        tree["split_conditions"] = tree["split_conditions"].tolist()
    booster = xgb.Booster()
    booster.load_model(bytearray(json.dumps(content).encode()))
    return replace(model, ranker=Ranker(booster), blend=None)


def _golden(bundle: Bundle, changed: TwoStageModel) -> list[GoldenRequest]:
    """All but the first: a bundle whose models are the same has an id of its own by that."""
    return [_answered(request, changed) for request in bundle.golden[1:]]


def _answered(request: GoldenRequest, model: TwoStageModel) -> GoldenRequest:
    row: Mapping[str, Any] = request.row
    query = build_query(request.user_id, row, model.items, now_seconds=request.now_seconds, store_id=request.store_id)
    top = model.rank(query).top(request.k)
    item_ids = [str(item_id) for item_id in model.items.item_ids[top.item_nums]]
    return replace(request, item_ids=item_ids, scores=[float(score) for score in top.scores])
