"""Retrievers on disk: one npz of plain arrays each, so nothing is executed when one is read."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.artifacts.errors import ContractError
from components.retrieval.content import Content
from components.retrieval.covisitation import Covisitation
from components.retrieval.popular_in_context import PopularInContext
from components.retrieval.pure_svd import PureSvd
from components.retrieval.repeat_purchase import RepeatPurchase
from components.retrieval.retriever import Retriever
from components.retrieval.rp3beta import Rp3Beta
from components.retrieval.user_neighbours import UserNeighbours

CLASSES: dict[str, type[Retriever]] = {
    retriever.name: retriever
    for retriever in (RepeatPurchase, UserNeighbours, Covisitation, Rp3Beta, PureSvd, PopularInContext, Content)
}


def write_retrievers(retrievers: Mapping[str, Retriever], folder: Path) -> None:
    """`<name>.npz` for each; the same retrievers give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, retriever in retrievers.items():
        np.savez(folder / f"{name}.npz", allow_pickle=False, **retriever.arrays())


def read_retrievers(folder: Path) -> dict[str, Retriever]:
    """What `write_retrievers` wrote, by name.

    Raises:
        ContractError: A file is no retriever of this version.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("*.npz"))}


def _read(path: Path) -> Retriever:
    if path.stem not in CLASSES:
        raise ContractError(f"{path}: no retriever of that name; this version knows {', '.join(CLASSES)}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return CLASSES[path.stem].from_arrays({name: arrays[name] for name in arrays.files})
    except (KeyError, ValueError, OSError) as error:
        raise ContractError(
            f"{path}: not what this version writes for {path.stem} ({error}). Train the retrievers anew."
        ) from error
