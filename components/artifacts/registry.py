"""The registry of bundles: a folder of immutable versions, and names that point at them.

    registry/<model>/versions/<bundle_id>/   the bundle, evaluation.json, report.html
    registry/<model>/aliases.json            champion, challenger, and every move of either

The nouns are Kubeflow Model Registry's: a registered model has versions; an alias names one of them.
A reader never sees half a version or half a move: both are renamed into place.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile, copytree, rmtree
from tempfile import mkdtemp
from typing import Any, Literal, TypeVar

from filelock import FileLock

from components.artifacts.errors import ContractError, NotFoundError
from components.artifacts.manifest import Manifest, verify_files
from components.artifacts.whole_file import write_whole

T = TypeVar("T")
Alias = Literal["champion", "challenger"]
CHAMPION: Alias = "champion"
CHALLENGER: Alias = "challenger"
EVALUATION_FILES = ("evaluation.json", "report.html")


@dataclass(frozen=True, slots=True)
class Move:
    """One change of an alias.

    Attributes:
        at: When, ISO 8601 in UTC.
        alias: Which.
        bundle_id: What it points at from then on; None where it was taken away.
        reason: Why, in words.
    """

    at: str
    alias: str
    bundle_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Version:
    """One bundle of a registered model.

    Attributes:
        bundle_id: Its id.
        folder: Where it lies.
        manifest: What it is.
        aliases: Names that point at it.
        published_at: ISO 8601 in UTC.
    """

    bundle_id: str
    folder: Path
    manifest: Manifest
    aliases: tuple[str, ...]
    published_at: str

    def evaluation(self) -> Mapping[str, Any]:
        """Contents of evaluation.json; empty where the version was published without."""
        path = self.folder.parent / f"{self.bundle_id}.evaluation" / EVALUATION_FILES[0]
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def report(self) -> Path:
        """The evaluation's page."""
        return self.folder.parent / f"{self.bundle_id}.evaluation" / EVALUATION_FILES[1]


class Registry:
    """The registered models of one state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, model: str, bundle: Path, evaluation: Path | None, *, now: datetime) -> Version:
        """Copy a bundle into the registry. Publishing what is there already changes nothing.

        Raises:
            ContractError: The bundle is damaged.
        """
        manifest = Manifest.read(bundle)
        verify_files(bundle, manifest)
        versions = self.root / model / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        with self._locked(model):
            if evaluation is not None:
                self._place_evaluation(versions, manifest.bundle_id, evaluation)
            if not (versions / manifest.bundle_id).exists():
                self._place(versions, bundle, manifest.bundle_id)
                published = self._published(model) | {manifest.bundle_id: _iso(now)}
                _write_json(self.root / model / "published.json", published)
        return self.version(model, manifest.bundle_id)

    def versions(self, model: str) -> list[Version]:
        """All versions, the newest published first."""
        folder = self.root / model / "versions"
        ids = [path.name for path in folder.glob("b-*") if (path / "manifest.json").exists()] if folder.exists() else []
        found = [self.version(model, bundle_id) for bundle_id in ids]
        return sorted(found, key=lambda version: (version.published_at, version.bundle_id), reverse=True)

    def version(self, model: str, name: str) -> Version:
        """A version by its id, a prefix of it, or an alias.

        Raises:
            NotFoundError: There is none, or more than one begins so.
        """
        aliases = self.aliases(model)
        bundle_id = aliases.get(name) or self._complete(model, name)
        folder = self.root / model / "versions" / bundle_id
        names = tuple(sorted(alias for alias, target in aliases.items() if target == bundle_id))
        return Version(bundle_id, folder, Manifest.read(folder), names, self._published(model).get(bundle_id, ""))

    def champion(self, model: str) -> Path | None:
        """Folder of the champion; None where there is none."""
        bundle_id = self.aliases(model).get(CHAMPION)
        return self.root / model / "versions" / bundle_id if bundle_id else None

    def aliases(self, model: str) -> dict[str, str]:
        """Alias to bundle id."""
        current: dict[str, str | None] = {move.alias: move.bundle_id for move in self.history(model)}
        return {alias: bundle_id for alias, bundle_id in current.items() if bundle_id}

    def history(self, model: str) -> list[Move]:
        """Every move of an alias, oldest first.

        Raises:
            ContractError: The file cannot be read.
        """
        path = self.root / model / "aliases.json"
        remedy = "move it away and name the champion anew: `recsys model promote BUNDLE_ID`"
        return _read_json(path, lambda moves: [Move(**move) for move in moves], [], "the registry's aliases", remedy)

    def point(self, model: str, alias: Alias, name: str, *, reason: str, now: datetime) -> Version:
        """Let an alias point at a version, after its files were checked.

        Raises:
            NotFoundError: There is no such version.
            ContractError: The version is damaged.
        """
        with self._locked(model):
            version = self.version(model, name)
            verify_files(version.folder, version.manifest)
            moves = [Move(_iso(now), alias, version.bundle_id, reason)]
            if alias == CHAMPION and self.aliases(model).get(CHALLENGER) == version.bundle_id:
                moves.append(Move(_iso(now), CHALLENGER, None, "became champion"))
            self._record(model, moves)
        return self.version(model, version.bundle_id)

    def withdraw(self, model: str, alias: Alias, *, reason: str, now: datetime) -> None:
        """Let an alias point at nothing; harmless where it does already."""
        with self._locked(model):
            if alias in self.aliases(model):
                self._record(model, [Move(_iso(now), alias, None, reason)])

    def former_champion(self, model: str) -> Version:
        """What `champion` pointed at before.

        Raises:
            NotFoundError: There was no other champion before.
        """
        champions = [move.bundle_id for move in self.history(model) if move.alias == CHAMPION and move.bundle_id]
        current = self.aliases(model).get(CHAMPION)
        earlier = [bundle_id for bundle_id in champions if bundle_id != current]
        if not earlier:
            raise NotFoundError(
                f"model {model}: no earlier champion to go back to. `recsys model list` shows the versions; "
                "`recsys model promote` names one."
            )
        return self.version(model, earlier[-1])

    def _complete(self, model: str, name: str) -> str:
        folder = self.root / model / "versions"
        there = sorted(path.name for path in folder.glob("b-*") if (path / "manifest.json").exists())
        found = [bundle_id for bundle_id in there if bundle_id.startswith(name)]
        if len(found) != 1:
            problem = "no version" if not found else f"{len(found)} versions begin with"
            raise NotFoundError(
                f"model {model}: {problem} {name!r}; aliases {self.aliases(model) or 'none'}, "
                f"versions {', '.join(there) or 'none'}. Train one with `recsys train run`."
            )
        return found[0]

    def _place(self, versions: Path, bundle: Path, bundle_id: str) -> None:
        unfinished = Path(mkdtemp(prefix=".publishing-", dir=versions))
        try:
            copytree(bundle, unfinished, dirs_exist_ok=True)
            verify_files(unfinished, Manifest.read(unfinished))
            unfinished.chmod(0o755)
            unfinished.rename(versions / bundle_id)
        finally:
            rmtree(unfinished, ignore_errors=True)

    def _place_evaluation(self, versions: Path, bundle_id: str, evaluation: Path) -> None:
        """Beside the bundle, not in it: the same bundle may be judged again."""
        folder = versions / f"{bundle_id}.evaluation"
        folder.mkdir(exist_ok=True)
        for name in EVALUATION_FILES:
            if (evaluation / name).exists():
                copyfile(evaluation / name, folder / f".{name}")
                (folder / f".{name}").replace(folder / name)

    def _published(self, model: str) -> dict[str, str]:
        path = self.root / model / "published.json"
        return _read_json(
            path, dict, {}, "the times of publishing", "move it away: bundles are then listed without them"
        )

    def _record(self, model: str, moves: list[Move]) -> None:
        _write_json(self.root / model / "aliases.json", [asdict(move) for move in [*self.history(model), *moves]])

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        folder = self.root / model
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield


def open_registry(home: Path) -> Registry:
    """The registry of a state folder."""
    return Registry(home / "registry")


def require_champion(home: Path, model: str) -> Version:
    """The champion.

    Raises:
        NotFoundError: There is none yet.
    """
    registry = open_registry(home)
    if registry.champion(model) is None:
        raise NotFoundError(
            f"model {model}: no champion in {registry.root}. Train one with `recsys train run`, or name one with "
            "`recsys model promote BUNDLE_ID`."
        )
    version = registry.version(model, CHAMPION)
    if not version.folder.exists():
        raise ContractError(f"model {model}: the champion {version.bundle_id} is gone from {registry.root}.")
    return version


def _read_json(path: Path, parse: Callable[[Any], T], otherwise: T, what: str, remedy: str) -> T:
    """What the file holds, `otherwise` where there is none.

    Raises:
        ContractError: It cannot be read.
    """
    try:
        return parse(json.loads(path.read_text())) if path.exists() else otherwise
    except (OSError, TypeError, ValueError) as error:
        raise ContractError(
            f"{path}: {what} cannot be read ({error!r}). Bring the file back from a copy, or {remedy}."
        ) from error


def _write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
