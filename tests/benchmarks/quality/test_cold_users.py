"""New users of the toy world: even users like even items, so what the first events tell is known."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import cold_users
from benchmarks.quality.cold_users import Visit, first_visits, measure, write
from benchmarks.quality.moments import TrainedCut
from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import seconds
from components.artifacts.errors import ContractError
from components.ranking.blend import Blend
from components.retrieval.query import build_query
from tests.toy_world import likes, moment

LISTS = Blend(until_items=10, strength=100.0, sources={"popular_in_context": 1.0})
"""So strong that the list alone orders what is not known."""


@pytest.fixture(scope="module")
def cut(trained) -> TrainedCut:
    return TrainedCut(trained.config, trained.home, load_bundle(trained.run.bundle), 1.0)


def visit(parity: int) -> Visit:
    """Somebody who takes the items of one parity, from 10 on in the known part and then 12 others."""
    own = [f"i{num}" for num in range(parity, 40, 2)]
    at = seconds(moment(15)) + 3600
    return Visit(f"new{parity}", {"user_store_id": "s0"}, [(item, at) for item in own[:10]], own[10:])


def test_nothing_is_known_without_events_and_the_first_event_turns_the_list_to_its_kind(cut):
    items = cut.bundle.model.items
    for parity in (0, 1):
        asked = visit(parity)
        nothing, one = asked.query(0, cut), asked.query(1, cut)
        assert len(nothing.history) == 0
        assert [items.item_ids[num] for num in one.history.item_nums] == [asked.first[0][0]]
        top = items.item_ids[cut.bundle.model.rank(one).item_nums[:10]]
        assert np.mean([likes(f"u{parity}", item) for item in top]) >= 0.8


def test_more_events_rank_better_and_the_table_says_so(cut, tmp_path):
    visits = [visit(0), visit(1)]
    cells = {(cell.system, cell.events): cell for cell in measure(cut, visits)}
    ours = [cells["two_stage", events].ndcg_at_10.mean for events in cold_users.EVENTS]
    assert ours[1] > ours[0]
    assert cells["two_stage", 10].two_stage_minus_it.mean == 0
    assert cells["two_stage", 10].ndcg_at_10.mean >= cells["popularity", 10].ndcg_at_10.mean
    write(list(cells.values()), cut, visits, tmp_path)
    text = (tmp_path / "COLD_USERS.md").read_text()
    assert f"{ours[0]:.4f}" in text
    gap = cells["popularity", 3].two_stage_minus_it.mean
    assert f"{gap:+.4f}" in text
    assert gap == pytest.approx(ours[2] - cells["popularity", 3].ndcg_at_10.mean)


def with_blend(cut: TrainedCut, blend: Blend | None) -> TrainedCut:
    return replace(cut, bundle=replace(cut.bundle, model=replace(cut.bundle.model, blend=blend)))


def test_score_without_the_blend_stands_beside_it(cut):
    visits = [visit(0), visit(1)]
    plain, blended = (
        {(cell.system, cell.events): cell for cell in measure(with_blend(cut, blend), visits)}
        for blend in (None, LISTS)
    )
    for events in cold_users.EVENTS:
        assert blended["score alone", events].ndcg_at_10 == plain["two_stage", events].ndcg_at_10
        assert ("score alone", events) not in plain
    assert blended["score alone", 10].two_stage_minus_it.mean == 0  # LISTS ends at ten items


@pytest.mark.parametrize("events", [0, 1, 3, 10])
def test_blend_puts_the_list_first_until_enough_is_known_and_moves_no_known_item(cut, events):
    query, model = visit(0).query(events, cut), replace(cut.bundle.model, blend=None)
    plain, blended = model.rank(query), replace(model, blend=LISTS).rank(query)
    assert blended.scores.tolist() == plain.scores.tolist()
    is_known = np.isin(plain.item_nums, query.history.item_nums)
    assert blended.item_nums[is_known].tolist() == plain.item_nums[is_known].tolist()
    if events == 10:
        assert blended.item_nums.tolist() == plain.item_nums.tolist()
    else:
        popular = model.retrievers["popular_in_context"].retrieve(query, k=model.quotas["popular_in_context"])
        wanted = popular.item_nums[~np.isin(popular.item_nums, query.history.item_nums)]
        assert blended.item_nums[~is_known][: len(wanted)].tolist() == wanted.tolist()


def test_users_with_a_past_are_ranked_as_without_a_blend(cut):
    model = cut.bundle.model
    for known in [request for request in cut.bundle.golden if request.user_id]:
        query = build_query(known.user_id, known.row, model.items, now_seconds=known.now_seconds)
        assert len(query.history) >= LISTS.until_items
        plain, blended = (replace(model, blend=one).rank(query) for one in (None, LISTS))
        assert blended.item_nums.tolist() == plain.item_nums.tolist()


def test_users_outside_the_sample_are_asked_with_their_store_and_profile(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(cold_users, "EVENTS", (0, 1))
    config = trained.config.model_copy(
        update={"dataset": trained.config.dataset.model_copy(update={"sample_users": 0.5})}
    )
    visits = first_visits(config, tmp_path)
    asked = {visit.user_id for visit in visits}
    assert 10 < len(asked) < 50
    one = next(visit for visit in visits if visit.row.get("user_age_years"))
    assert one.row["user_age_years"] == 20 + int(one.user_id[1:])
    assert one.row["user_store_id"] == f"s{int(one.user_id[1:]) % 3 % 2}"
    assert len(one.first) == 1
    assert one.relevant


def test_data_without_long_visits_are_refused(trained, tmp_path):
    with pytest.raises(ContractError, match="no user outside the sample took more than 10 items"):
        first_visits(trained.config, tmp_path)
