"""What a bundle is, by its manifest: names, hashes and facts of the training, without its models.

Whoever lists, compares or watches bundles reads this alone; `bundle` loads what answers.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from components.artifacts.errors import ContractError
from components.artifacts.feature_manifest import sha256
from components.ranking.blend import Blend

FORMAT_VERSION = 3
READABLE = (2, FORMAT_VERSION)
"""Format 2 had no blend, so its lists are ordered by the score alone, and no map, so its items come without probability."""
MANIFEST, RANKER, ITEMS, RETRIEVERS, GOLDEN = "manifest.json", "ranker.ubj", "items.arrow", "retrievers", "golden.json"
REFERENCE, POLICY, CALIBRATION = "reference.parquet", "policy.json", "calibration.json"


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What the manifest says of the training.

    Attributes:
        as_of: The training cut, ISO 8601.
        data_start: First interaction that was read.
        data_end: End of what the retrievers were fitted on.
        interactions: Interactions before `as_of`.
        seed: Of everything that drew.
        training: Contents of training.json: parameters, rounds, validation NDCG.
        config: The whole resolved pipeline configuration.
        code: Hash of the source that trained.
    """

    as_of: str
    data_start: str
    data_end: str
    interactions: int
    seed: int
    training: Mapping[str, Any]
    config: Mapping[str, Any]
    code: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is.

    Attributes:
        bundle_id: `b-` and 12 hex digits of the files' hashes.
        format_version: Of this layout.
        feature_service: Feast's service that the features come from.
        schema_hash: Of the ranker's features.
        features: Their names, in the order of the matrix.
        quotas: Candidates asked of each retriever.
        xgboost: Version that trained.
        facts: What the training was.
        files: Relative path to SHA-256.
        blend: What orders the list of a user of whom little is known; None where the score alone does.
    """

    bundle_id: str
    format_version: int
    feature_service: str
    schema_hash: str
    features: tuple[str, ...]
    quotas: Mapping[str, int]
    xgboost: str
    facts: BundleFacts
    files: Mapping[str, str]
    blend: Blend | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a bundle's folder.

        Raises:
            ContractError: There is none, or it is of another format.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text())
            if content["format_version"] not in READABLE:
                raise ContractError(
                    f"{path}: bundle format {content['format_version']}, this version reads "
                    f"{' and '.join(map(str, READABLE))}. "
                    "Serve it with the version that trained it, or train anew."
                )
            facts = BundleFacts(**content.pop("facts"))
            blend = Blend(**content["blend"]) if content.get("blend") else None
            return cls(**content | {"facts": facts, "features": tuple(content["features"]), "blend": blend})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"{path}: no readable manifest of a bundle ({error!r}). Train or copy it anew."
            ) from error

    def to_json(self) -> str:
        """Sorted keys."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Hold the files against their hashes.

    Raises:
        ContractError: One is missing, changed or not in the manifest.
    """
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if is_content(path)}
    strange = sorted(there.symmetric_difference(manifest.files))
    changed = [name for name in manifest.files if name in there and sha256(folder / name) != manifest.files[name]]
    if strange or changed:
        raise ContractError(
            f"bundle {folder}: damaged; missing or unexpected {strange or 'none'}, changed {changed or 'none'}. "
            "Copy it again from where it was made, or train anew."
        )


def is_content(path: Path) -> bool:
    """Whether a file of a bundle's folder is one that its manifest names."""
    return path.is_file() and path.name != MANIFEST
