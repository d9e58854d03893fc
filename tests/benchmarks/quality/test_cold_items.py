"""Withheld items of the toy world: even users like even items, so what is right is known."""

import pytest

from benchmarks.quality import cold_items
from benchmarks.quality.cold_items import ATTRIBUTES, CONTENT, RANDOM, WHOLE, measure, withhold, write
from components.artifacts.cuts import parse_moment
from components.artifacts.tables import read_table
from tests.toy_world import likes


@pytest.fixture(scope="module")
def world(trained, tmp_path_factory):
    home = tmp_path_factory.mktemp("withheld")
    return withhold(trained.config, parse_moment(trained.config.as_of), home, seed=0), home


def test_withheld_items_have_no_past_anywhere(world):
    made, home = world
    ids = set(made.items.item_ids[made.withheld])
    assert len(ids) == round(cold_items.WITHHELD_SHARE * made.eligible) > 0
    assert not ids & set(read_table(home / "known", "interactions")["item_id"].to_pylist())
    assert (made.items.feature("item_users_90d")[made.withheld] == 0).all()
    assert all(not set(query.history.item_nums) & set(made.withheld) for query in made.queries)
    assert any(made.relevant[WHOLE].values())


def test_withheld_items_reach_those_who_like_their_kind(world, trained, tmp_path):
    made, _ = world
    rows = {row.system: row for row in measure(made, trained.config) if row.relevant == WHOLE}
    content = rows[CONTENT]
    assert content.ndcg_at_10.low > rows[ATTRIBUTES].ndcg_at_10.high
    assert content.ndcg_at_10.low > rows[RANDOM].ndcg_at_10.high
    write(list(rows.values()), made, trained.config, parse_moment(trained.config.as_of), tmp_path)
    assert f"{content.ndcg_at_10.mean:.4f}" in (tmp_path / "COLD_ITEMS.md").read_text()


def test_first_item_of_each_user_is_of_the_own_kind(world, trained):
    made, _ = world
    lists = cold_items._by_content(made, trained.config)
    first = [(query.user_id, made.items.item_ids[nums[0]]) for query, nums in zip(made.queries, lists, strict=True)]
    assert all(likes(user, item) for user, item in first)
