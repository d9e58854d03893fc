"""The retrievers and the item table of each cut: one folder per cut, named by its stamp."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from components.artifacts.cuts import stamp
from components.artifacts.errors import ContractError
from components.retrieval.items import ItemTable
from components.retrieval.retriever import Retriever
from components.retrieval.storage import read_retrievers, write_retrievers

RETRIEVERS_FOLDER = "retrievers"
ITEMS_FILE = "items.arrow"


def write_items(models: Path, cut: datetime, items: ItemTable) -> None:
    """Write the item table as of a cut."""
    folder = models / stamp(cut)
    folder.mkdir(parents=True, exist_ok=True)
    items.write(folder / ITEMS_FILE)


def read_items(models: Path, cut: datetime) -> ItemTable:
    """What `write_items` wrote."""
    return ItemTable.read(models / stamp(cut) / ITEMS_FILE)


def write_fitted(models: Path, cut: datetime, retrievers: Mapping[str, Retriever]) -> None:
    """Write the retrievers that were fitted at a cut."""
    write_retrievers(retrievers, models / stamp(cut) / RETRIEVERS_FOLDER)


def read_cut(models: Path, cut: datetime) -> tuple[ItemTable, dict[str, Retriever]]:
    """The item table and the retrievers as of a cut.

    Raises:
        ContractError: Nothing was fitted at that cut.
    """
    folder = models / stamp(cut)
    if not (folder / RETRIEVERS_FOLDER).exists():
        fitted = ", ".join(sorted(path.name for path in models.iterdir()))
        raise ContractError(
            f"{models}: no retrievers fitted at {stamp(cut)}; there are {fitted}. Run train_retrievers."
        )
    return read_items(models, cut), read_retrievers(folder / RETRIEVERS_FOLDER)
