"""Opening the feature store of a state folder, and registering the definitions in it."""

import warnings
from pathlib import Path
from string import Template
from typing import Any

import yaml
from filelock import FileLock

from feature_repo.lean_feast import FeatureStore, RepoConfig  # isort: split

from feature_repo.entities import ITEM, USER
from feature_repo.on_demand import context_view
from feature_repo.schema import SchemaError
from feature_repo.services import ranker_service
from feature_repo.views import feature_views

REPO = Path(__file__).parent
LOSSY_STORES = frozenset({"file", "dask"})


def open_store(home: Path) -> FeatureStore:
    """The feature store of a state folder.

    Args:
        home: State folder, absolute.

    Raises:
        SchemaError: The configuration names an offline store that loses rows, or half of the store's files are gone.
    """
    if not home.is_absolute():
        raise SchemaError(f"{home}: the state folder must be absolute, Feast's SQLite registry stores the path.")
    folder = home / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "registry.db").exists() and not (folder / "online.db").exists():
        # Feast would say "no changes to infrastructure" and then fail every read with "no such table".
        raise SchemaError(f"{folder}: registry.db is there but online.db is gone. Run `recsys features apply`.")
    return _store(home)


def apply(home: Path) -> None:
    """Register entities, views, on-demand views and services; harmless to repeat, safe to run in several processes."""
    folder = home / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    views = feature_views(home)
    with FileLock(folder / ".apply.lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast calls on-demand views experimental at each apply
        if not (folder / "online.db").exists():
            (folder / "registry.db").unlink(missing_ok=True)  # else Feast thinks that the tables are there
        store = _store(home)
        store.apply([USER, ITEM, *views.values(), context_view(views["item_stats"]), ranker_service(views)])


def refuse_lossy(offline_store: str) -> None:
    """Refuse Feast's dask store: a million rows went in, 846,336 came back.

    Raises:
        SchemaError: The store is `file` or `dask`.
    """
    if offline_store in LOSSY_STORES:
        raise SchemaError(
            f"feature_store.yaml: offline_store.type is {offline_store!r}, which drops rows in point-in-time joins "
            "(feast issue 6787). Use duckdb, or a warehouse."
        )


def _store(home: Path) -> FeatureStore:
    content = _config(home)
    refuse_lossy(content["offline_store"]["type"])
    return FeatureStore(config=RepoConfig(**content, repo_path=REPO))


def _config(home: Path) -> dict[str, Any]:
    text = Template((REPO / "feature_store.yaml").read_text()).substitute(RECSYS_HOME=str(home))
    content: dict[str, Any] = yaml.safe_load(text)
    return content
