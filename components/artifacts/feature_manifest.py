"""Which feature snapshots a run was trained on: the files of the offline store, with their hashes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from components.artifacts.errors import ContractError

FILE = "features.json"


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of the offline store.

    Attributes:
        path: Relative to the store: `<view>/<stamp>.parquet`.
        rows: Entities in it.
        sha256: Of its bytes.
    """

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FeatureManifest:
    """The snapshots of one run.

    Attributes:
        schema_hash: Of the features' definition that they were computed by.
        files: In the order of their paths.
    """

    schema_hash: str
    files: tuple[SnapshotFile, ...]

    @classmethod
    def of(cls, store: Path, paths: Sequence[Path], rows: Sequence[int], *, schema_hash: str) -> Self:
        """Of files that lie in the store."""
        files = [
            SnapshotFile(str(path.relative_to(store)), count, sha256(path))
            for path, count in zip(paths, rows, strict=True)
        ]
        return cls(schema_hash, tuple(sorted(files, key=lambda file: file.path)))

    def write(self, folder: Path) -> None:
        """As JSON in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote."""
        content = json.loads((folder / FILE).read_text())
        return cls(content["schema_hash"], tuple(SnapshotFile(**file) for file in content["files"]))

    def verify(self, store: Path) -> None:
        """Hold the store against the manifest.

        Raises:
            ContractError: A file is gone or has other content than when it was computed.
        """
        changed = [file.path for file in self.files if not _is_same(store / file.path, file.sha256)]
        if changed:
            raise ContractError(
                f"offline store {store}: {len(changed)} of {len(self.files)} snapshot files are missing or changed "
                f"since they were computed, first {changed[0]}. Run the pipeline again without the cache (--no-cache)."
            )


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_same(path: Path, digest: str) -> bool:
    return path.exists() and sha256(path) == digest
