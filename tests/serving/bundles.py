"""Bundles beside the champion of the toy world: one that answers otherwise, and some that must be refused."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts.bundle import load_bundle, write_bundle
from components.artifacts.manifest import MANIFEST, RANKER
from components.artifacts.registry import open_registry
from components.reranking.config import PolicyConfig
from tests.conftest import Trained
from tests.toy_world import moment

MODEL = "recommender"
HIDDEN = "i2"
"""What the other bundle shows to nobody."""


def own_home(trained: Trained, folder: Path) -> Path:
    """A state folder of one's own with the champion and the features, and without logs and keys."""
    left_out = shutil.ignore_patterns("artifacts", "kfp_cache", "runs", "logs", "run", "keys.json*")
    return shutil.copytree(trained.home, folder / "home", ignore=left_out)


def publish_other(trained: Trained, home: Path, folder: Path, **changes: Any) -> str:
    """A second good bundle, with the same models and another policy; its id. `changes`: arguments of write_bundle."""
    bundle = load_bundle(trained.run.bundle)
    hides = {"rules": {"exclude": [{"items": {"item_ids": [HIDDEN]}}]}}
    given = {
        "policy": PolicyConfig.model_validate(hides),
        "golden": bundle.golden,
        "extra_files": {"reference.parquet": bundle.folder / "reference.parquet"},
        "calibration": bundle.calibration,
    }
    write_bundle(folder, model=bundle.model, facts=bundle.manifest.facts, **{**given, **changes})
    return open_registry(home).publish(MODEL, folder, None, now=moment(17)).bundle_id


def publish_changed(home: Path, good: Path, bundle_id: str, changes: Mapping[str, Any]) -> str:
    """A copy of a good bundle with other facts in its manifest, put where a version lies; its id."""
    folder = home / "registry" / MODEL / "versions" / bundle_id
    shutil.copytree(good, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes | {"bundle_id": bundle_id}))
    return bundle_id


def damage(home: Path, bundle_id: str) -> None:
    """Turn one bit of the ranker of a published version."""
    path = home / "registry" / MODEL / "versions" / bundle_id / RANKER
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
