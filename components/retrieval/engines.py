"""What fits the candidate generators of a cut from the events' files: this process, or Spark's executors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from components.artifacts.spark import spark_session
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import fit_retrievers
from components.retrieval.interaction_log import LOG_COLUMNS, read_before
from components.retrieval.items import ItemTable
from components.retrieval.retriever import Retriever
from components.retrieval.spark_fit import fit_retrievers_on_spark


class Fit(Protocol):
    """Fits every generator that has a quota, on the interactions before a cut."""

    def __call__(
        self, items: ItemTable, *, cut: datetime, config: RetrieversConfig, without: Sequence[str] = ()
    ) -> dict[str, Retriever]:
        """The generators.

        Args:
            items: The item table as of the cut.
            cut: The moment of the queries.
            config: Parameters.
            without: Users whose interactions are left out.
        """
        ...


def fit_in_process(
    events: Path, items: ItemTable, *, cut: datetime, config: RetrieversConfig, without: Sequence[str] = ()
) -> dict[str, Retriever]:
    """As `Fit`, from the canonical tables in `events`: this process holds the interactions before the cut meanwhile."""
    return fit_retrievers(read_before(events, cut, without=without), items, cut=cut, config=config)


@contextmanager
def in_process(events: Path) -> Iterator[Fit]:
    """This process fits."""
    yield partial(fit_in_process, events)


@contextmanager
def on_spark(events: Path) -> Iterator[Fit]:
    """Executors fit, which read the files; counts and lists come back (`fit_retrievers_on_spark`).

    Raises:
        ConfigError: PySpark or Java is missing, or the cluster is not reached.
    """
    with spark_session("retrievers.engine", "recsys-retrievers") as session:
        interactions = session.read.parquet(str(events / "interactions.parquet")).select(*LOG_COLUMNS)
        yield partial(fit_retrievers_on_spark, interactions)


ENGINES: Mapping[str, Callable[[Path], AbstractContextManager[Fit]]] = {"process": in_process, "spark": on_spark}
"""`retrievers.engine` to what it stands for; each is told where the canonical tables lie, with Spark where executors see them."""
