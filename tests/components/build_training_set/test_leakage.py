"""The training rows know nothing of what came after their cut, and teach nothing where there is nothing to learn."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.cuts import Cuts, SplitConfig
from components.artifacts.tables import Tables, write_tables
from components.build_training_set.build import build_training_set
from components.build_training_set.config import TrainingSetConfig
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.point_in_time.cut_models import write_fitted, write_items
from components.point_in_time.queries import item_table_at
from components.ranking.config import RankerConfig
from components.ranking.metrics import Judged, ndcg_at_k
from components.ranking.ranker import Ranker
from components.ranking.training import DEFAULT_PARAMS, RankingRows
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import fit_retrievers
from components.train_ranker.train import train_ranker
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS
from feature_repo.store import apply
from tests.toy_world import ITEMS, moment, toy_tables

USERS, WEEKS = 120, 13
SPLIT = SplitConfig(training_cuts=1, test_cuts=1)
CUTS = Cuts(moment(12), SPLIT)
[CUT] = CUTS.training
RETRIEVAL = RetrieversConfig.model_validate({"rp3beta": {"min_users": 2}, "quotas": dict.fromkeys(RETRIEVERS, 8)})
FILES = ("training", "refit", "validation", "new_users", "unanswered")
EVERYTHING = TrainingSetConfig(negatives_per_query=ITEMS, new_user_share=0)
"""No row is drawn, and nobody is asked about as a new user, whose first items are those of the week after the cut."""


def build(folder: Path, tables: Tables) -> Path:
    """The training set of a world, by the pipeline's own steps."""
    write_tables(tables, folder / "events")
    compute_features(folder / "events", folder / "offline", CUTS.all, config=FeaturesConfig())
    apply(folder)
    for cut in [*CUTS.training, CUTS.validation]:
        items = item_table_at(folder, tables.items, cut=cut)
        write_items(folder / "models", cut, items)
        fitted = fit_retrievers(tables.interactions, items, cut=cut, config=RETRIEVAL)
        write_fitted(folder / "models", cut, fitted)
    build_training_set(
        folder / "events",
        folder,
        folder / "models",
        folder / "rows",
        as_of=CUTS.as_of,
        split=SPLIT,
        retrieval=RETRIEVAL,
        config=EVERYTHING,
        seed=0,
    )
    return folder / "rows"


def changed(tables: Tables, change: Callable[[dict], dict | None], *, where: Callable[[dict], bool]) -> Tables:
    """The world with some events otherwise; None takes one out."""
    rows = [change(row) if where(row) else row for row in tables.interactions.to_pylist()]
    kept = pa.Table.from_pylist([row for row in rows if row is not None], schema=tables.interactions.schema)
    return Tables(kept, tables.items, tables.users, tables.promotions)


def of_another_item(row: dict) -> dict:
    """Bought elsewhere, for another price, and of another item."""
    item = f"i{(int(row['item_id'][1:]) + 7) % ITEMS}"
    return row | {"item_id": item, "store_id": "elsewhere", "value_usd": 9.0, "quantity": 3.0}


@pytest.fixture(scope="module")
def world() -> Tables:
    return toy_tables(USERS, WEEKS)


@pytest.fixture(scope="module")
def rows(world, tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("as_it_was"), world)


def features_of(path: Path, queries: set[str]) -> dict[str, bytes]:
    """Each column's bytes but the label's, of the rows of some queries."""
    table = pq.read_table(path)
    table = table.filter(pc.is_in(table["query_id"], pa.array(sorted(queries))))
    names = [name for name in table.column_names if name != "label"]
    return {
        name: table[name].to_numpy().tobytes()
        if name in RANKER_FEATURE_NAMES
        else repr(table[name].to_pylist()).encode()
        for name in names
    }


def queries_of(path: Path) -> set[str]:
    return set(pq.read_table(path)["query_id"].to_pylist())


def test_events_from_the_cut_on_change_no_byte_of_the_cuts_rows(rows, world, tmp_path):
    later = build(tmp_path, changed(world, of_another_item, where=lambda row: row["event_timestamp"] >= CUT))
    ours, theirs = rows / "training.parquet", later / "training.parquet"
    both = queries_of(ours) & queries_of(theirs)
    assert len(both) > USERS / 2  # a query without a relevant candidate is left out, and the answers are others now
    assert features_of(ours, both) == features_of(theirs, both)


def test_events_after_the_answers_change_no_byte_at_all(rows, world, tmp_path):
    def is_later(row: dict) -> bool:
        return row["event_timestamp"] >= CUT + timedelta(days=SPLIT.horizon_days)

    kept = iter(range(10**6))  # every second one, so that the cut after it still has answers
    later = build(tmp_path, changed(world, lambda row: row if next(kept) % 2 else None, where=is_later))
    assert (rows / "training.parquet").read_bytes() == (later / "training.parquet").read_bytes()
    assert (rows / "refit.parquet").read_bytes() != (later / "refit.parquet").read_bytes()


def test_an_event_just_before_the_cut_does_change_the_rows(rows, world, tmp_path):
    """The tests above can fail."""
    last = max(row["event_timestamp"] for row in world.interactions.to_pylist() if row["event_timestamp"] < CUT)
    before = build(tmp_path, changed(world, of_another_item, where=lambda row: row["event_timestamp"] == last))
    both = queries_of(rows / "training.parquet") & queries_of(before / "training.parquet")
    assert features_of(rows / "training.parquet", both) != features_of(before / "training.parquet", both)


def shuffled(table: pa.Table) -> pa.Table:
    """Labels drawn again within each query; a query that is in two files is drawn alike in both."""
    labels, queries = table["label"].to_numpy().copy(), np.array(table["query_id"].to_pylist())
    for query in np.unique(queries):
        here = np.flatnonzero(queries == query)
        seed = np.frombuffer(query.encode(), np.uint8)
        labels[here] = np.random.default_rng(seed).permutation(labels[here])
    return table.set_column(table.column_names.index("label"), "label", pa.array(labels, pa.float32()))


@pytest.fixture(scope="module")
def judged(rows, tmp_path_factory) -> tuple[Path, RankingRows]:
    """A training set of shuffled labels, and the half of the validation queries that nothing is chosen by."""
    folder = tmp_path_factory.mktemp("shuffled")
    tables = {name: shuffled(pq.read_table(rows / f"{name}.parquet")) for name in FILES}
    users = pa.array([f"u{number}" for number in range(0, USERS, 2)])
    is_judged = pc.is_in(tables["validation"]["user_id"], users)
    pq.write_table(tables["validation"].filter(is_judged), folder / "judged.parquet")
    tables["validation"] = tables["validation"].filter(pc.invert(is_judged))
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return folder, RankingRows.read(folder / "judged.parquet")


def ndcg(scores: np.ndarray, data: RankingRows) -> np.ndarray:
    """Mean NDCG@10 over the queries by each row of scores, shape (orders, rows) to (orders,)."""
    lists, relevant = [], []
    for one in np.atleast_2d(scores):
        for group in range(data.queries):
            here = np.flatnonzero(data.groups == group)
            lists.append(here[np.argsort(-one[here], kind="stable")])
            relevant.append(here[data.labels[here] > 0])
    judged = Judged.of_lists([str(number) for number in range(len(lists))], lists, relevant)
    return ndcg_at_k(judged, k=10).to_numpy().reshape(-1, data.queries).mean(axis=1)


def chance(data: RankingRows) -> tuple[float, float]:
    """Between which values the mean NDCG@10 of 998 in 1,000 random orders lies."""
    found = ndcg(np.random.default_rng(0).random((1000, len(data.labels))), data)
    return float(found.min()), float(found.max())


def trained_on(folder: Path, out: Path, *, refit: bool) -> Ranker:
    config = RankerConfig(max_rounds=40, refine_rounds=20, refit_on_validation=refit)
    train_ranker(folder, DEFAULT_PARAMS, out, config=config, seed=0)
    return Ranker.load(out / "ranker.ubj")


def test_shuffled_labels_rank_as_a_random_order_does(judged, tmp_path):
    folder, data = judged
    low, high = chance(data)
    [found] = ndcg(trained_on(folder, tmp_path, refit=False).score(data.matrix), data)
    assert low < found < high


def test_shuffled_labels_that_were_trained_on_are_known_again(judged, tmp_path):
    """The test above can fail: the refit learns from the judged rows themselves."""
    folder, data = judged
    [found] = ndcg(trained_on(folder, tmp_path, refit=True).score(data.matrix), data)
    assert found > chance(data)[1]
