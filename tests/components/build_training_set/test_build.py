"""The ranker's rows, made anew from the models of the toy world's training."""

from dataclasses import replace

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.cuts import Cuts, SplitConfig, parse_moment, seconds
from components.artifacts.tables import write_tables
from components.build_training_set.build import FIRST_EVENTS, build_training_set
from components.build_training_set.config import TrainingSetConfig
from components.build_training_set.new_users import new_user_query
from components.point_in_time.cut_models import read_cut
from components.ranking.labels import NEW_USER
from components.retrieval.config import RetrieversConfig
from components.retrieval.engines import ENGINES
from tests.toy_world import USERS, toy_tables, write_toy_events

NEGATIVES, JUDGED = 5, 20
SPLIT = SplitConfig(training_cuts=3, test_cuts=2)


def build(trained, folder, config, retrieval=None):
    """The folder and what each cut gave, with the retrievers of the training run."""
    [models] = trained.home.glob("artifacts/*/train-retrievers/models")
    summaries = build_training_set(
        write_toy_events(folder / "events"),
        trained.home,
        models,
        folder / "rows",
        as_of=parse_moment(trained.config.as_of),
        split=trained.config.resolved_split(),
        retrieval=retrieval or trained.config.retrievers,
        config=config,
        seed=0,
    )
    return folder / "rows", summaries


@pytest.fixture(scope="module")
def built(trained, tmp_path_factory):
    config = TrainingSetConfig(negatives_per_query=NEGATIVES, max_validation_users=JUDGED)
    return build(trained, tmp_path_factory.mktemp("built"), config)


def per_query(path, label: int) -> list[int]:
    """Rows of one label of each query of a user as known."""
    table = pq.read_table(path)
    table = table.filter(pc.invert(pc.match_substring(table["query_id"], NEW_USER)))
    counts = table.filter(pc.equal(table["label"], label)).group_by("query_id").aggregate([([], "count_all")])
    return sorted(counts["count_all"].to_pylist())


def test_rows_that_are_trained_on_are_thinned_alike_and_the_judged_ones_are_not(built):
    out, _ = built
    assert set(per_query(out / "training.parquet", 0)) == set(per_query(out / "refit.parquet", 0)) == {NEGATIVES}
    assert min(per_query(out / "validation.parquet", 0)) > NEGATIVES


def test_judged_users_are_some_of_those_of_the_last_cut(built):
    out, _ = built
    judged, refit = (
        set(pq.read_table(out / f"{name}.parquet")["user_id"].to_pylist()) for name in ("validation", "refit")
    )
    assert len(judged) == JUDGED
    assert judged < refit
    assert len(refit) == USERS


def test_users_whose_candidates_hold_nothing_relevant_are_kept_apart_in_the_same_share(trained, tmp_path):
    """With the five items that are most popular in the store, many users have none that they take."""
    config = TrainingSetConfig(max_validation_users=JUDGED, new_user_share=0)
    rows, summaries = build(trained, tmp_path, config, RetrieversConfig(quotas={"popular_in_context": 5}))
    summary = summaries[-1]
    judged, unanswered = (pq.read_table(rows / f"{name}.parquet") for name in ("validation", "unanswered"))
    users = [len(pc.unique(table["user_id"])) for table in (judged, unanswered)]
    share = users[0] / summary.queries
    assert users[1] == round(share * (USERS - summary.queries)) > 0
    assert pc.max(unanswered["label"]).as_py() == 0
    assert set(pc.unique(judged["user_id"]).to_pylist()).isdisjoint(unanswered["user_id"].to_pylist())


def test_rows_of_each_file_are_of_its_own_cuts(built, trained):
    out, summaries = built
    cuts = Cuts(parse_moment(trained.config.as_of), SPLIT)
    moments = {
        name: set(pq.read_table(out / f"{name}.parquet")["event_timestamp"].to_pylist())
        for name in ("training", "refit", "validation")
    }
    assert moments["training"] == set(cuts.training)
    assert moments["refit"] == moments["validation"] == {cuts.validation}
    new = round(USERS * TrainingSetConfig().new_user_share) * len(FIRST_EVENTS)
    assert all(USERS <= one.queries <= USERS + new for one in summaries)


def test_some_users_are_asked_about_once_more_as_if_they_were_new(built):
    table = pq.read_table(built[0] / "training.parquet")
    new = table.filter(pc.match_substring(table["query_id"], NEW_USER))
    assert (
        0 < len(pc.unique(new["query_id"])) <= 3 * len(FIRST_EVENTS) * round(USERS * TrainingSetConfig().new_user_share)
    )
    assert pc.all(pc.is_nan(new["user_tenure_days"])).as_py()  # nothing is known of their past
    assert pc.max(new["user_item_count"]).as_py() <= 1
    assert set(pc.unique(new["label"]).to_pylist()) == {0, 1}


def test_new_users_of_the_last_cut_are_kept_with_all_their_candidates(built, trained):
    table = pq.read_table(built[0] / "new_users.parquet")
    assert pc.all(pc.match_substring(table["query_id"], NEW_USER)).as_py()
    assert pc.unique(table["event_timestamp"]).to_pylist() == [
        Cuts(parse_moment(trained.config.as_of), SPLIT).validation
    ]
    assert set(pc.unique(table["known_items"]).to_pylist()) <= set(FIRST_EVENTS)
    for query_id, known in set(zip(table["query_id"].to_pylist(), table["known_items"].to_pylist(), strict=True)):
        assert query_id.endswith(f"{NEW_USER}{known}")
    irrelevant = table.filter(pc.equal(table["label"], 0)).group_by("query_id").aggregate([([], "count_all")])
    assert pc.max(irrelevant["count_all"]).as_py() > NEGATIVES


@pytest.mark.parametrize("name", ["covisitation", "popular_in_context"])
def test_new_user_does_not_meet_its_own_past(trained, tmp_path, name):
    """What one user alone took is named to nobody once the lists are fitted without that user."""
    tables = toy_tables()
    alone = tables.interactions.filter(pc.equal(tables.interactions["user_id"], "u0"))
    write_tables(replace(tables, interactions=alone), tmp_path)
    [models] = trained.home.glob("artifacts/*/train-retrievers/models")
    cut = parse_moment(trained.config.as_of)
    items, _ = read_cut(models, cut)
    took = [(item_id, seconds(cut)) for item_id in pc.unique(alone["item_id"]).to_pylist()[:3]]
    query = new_user_query("u0", {"user_store_id": "s0"}, took, items, now_seconds=seconds(cut))
    with ENGINES["process"](tmp_path) as fit:
        own, other = (fit(items, cut=cut, config=trained.config.retrievers, without=[user]) for user in ("u0", "u1"))
    assert len(own[name].retrieve(query, k=5).item_nums) == 0
    assert len(other[name].retrieve(query, k=5).item_nums) > 0
