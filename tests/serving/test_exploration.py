"""Drawn orders: their probabilities against every permutation, against frequencies, and through the real recommender."""

from collections import Counter
from itertools import count, permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.errors import ContractError
from components.artifacts.registry import require_champion
from serving.exploration import Exploration, draw_order, log_weights, position_probabilities
from serving.online_features import UserRow
from serving.prediction_log import PredictionLog, read_impressions
from serving.protocol import Filters, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.toy_world import moment

DRAWS = 3000
AT = moment(16)


def list_probability(order, temperature: float) -> float:
    """Plackett-Luce, item by item: its weight over the weights that are left."""
    weights = np.exp(log_weights(len(order), temperature))
    left, probability = weights.sum(), 1.0
    for rank in order:
        probability *= weights[rank] / left
        left -= weights[rank]
    return probability


@pytest.mark.parametrize(("size", "temperature"), [(2, 1.0), (4, 0.5), (5, 2.0)])
def test_position_probabilities_are_the_sums_over_all_permutations(size, temperature):
    expected = np.zeros((size, size))
    for order in permutations(range(size)):
        expected[list(order), range(size)] += list_probability(order, temperature)
    assert position_probabilities(size, temperature) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("size", "temperature"), [(50, 0.05), (50, 1.0), (20, 100.0), (1, 1.0)])
def test_each_item_is_somewhere_and_each_position_holds_something(size, temperature):
    table = position_probabilities(size, temperature)
    assert table.sum(axis=0) == pytest.approx(np.ones(size), abs=1e-9)
    assert table.sum(axis=1) == pytest.approx(np.ones(size), abs=1e-9)


def test_first_of_two_is_twice_as_likely_on_top_at_temperature_one():
    assert position_probabilities(2, 1.0)[:, 0] == pytest.approx([2 / 3, 1 / 3], abs=1e-9)


def test_no_share_is_the_ranked_order_for_certain():
    draw = draw_order(Exploration(0.0, 1.0, 20), 30, k=3, query_id="q")
    assert draw.order.tolist() == [0, 1, 2]
    assert draw.propensities.tolist() == draw.conditional_propensities.tolist() == [1.0, 1.0, 1.0]


def test_same_query_is_drawn_the_same_way_again():
    exploration = Exploration(1.0, 2.0, 20)
    orders = [draw_order(exploration, 30, k=10, query_id=query_id).order.tolist() for query_id in ("q1", "q1", "q2")]
    assert orders[0] == orders[1] != orders[2]


def test_share_of_the_queries_is_drawn_and_the_rest_is_as_ranked():
    exploration = Exploration(0.3, 100.0, 20)  # a draw is in the ranked order about once in 20!
    moved = [draw_order(exploration, 20, k=20, query_id=f"q{number}").order[:20] for number in range(DRAWS)]
    share = np.mean([not np.array_equal(order, np.arange(20)) for order in moved])
    assert share == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / DRAWS))


def test_conditional_propensities_multiply_to_the_mixture_of_both_policies():
    share, temperature = 0.4, 1.0
    for number in range(50):
        draw = draw_order(Exploration(share, temperature, 4), 4, k=4, query_id=str(number))
        ranked = float(draw.order.tolist() == [0, 1, 2, 3])
        expected = (1 - share) * ranked + share * list_probability(draw.order, temperature)
        assert np.prod(draw.conditional_propensities) == pytest.approx(expected)


def test_items_below_the_depth_stay_where_they_are():
    for number in range(20):
        draw = draw_order(Exploration(1.0, 100.0, 3), 10, k=6, query_id=str(number))
        assert sorted(draw.order[:3]) == [0, 1, 2]
        assert draw.order[3:].tolist() == [3, 4, 5]
        assert draw.propensities[3:].tolist() == draw.conditional_propensities[3:].tolist() == [1.0, 1.0, 1.0]


def test_all_items_shown_leaves_one_choice_for_the_last():
    draw = draw_order(Exploration(1.0, 1.0, 5), 3, k=10, query_id="q")
    assert sorted(draw.order) == [0, 1, 2]
    assert draw.conditional_propensities[-1] == 1.0


def test_nothing_to_show_is_an_empty_draw():
    assert len(draw_order(Exploration(1.0, 1.0, 5), 0, k=10, query_id="q")) == 0


def test_frequencies_of_all_orders_are_the_products_of_the_conditional_propensities():
    exploration = Exploration(0.5, 1.0, 3)
    draws = [draw_order(exploration, 3, k=3, query_id=f"q{number}") for number in range(DRAWS)]
    seen = Counter(tuple(draw.order.tolist()) for draw in draws)
    logged = {tuple(draw.order.tolist()): float(np.prod(draw.conditional_propensities)) for draw in draws}
    assert len(logged) == 6
    assert sum(logged.values()) == pytest.approx(1)
    assert chisquare([seen[order] for order in logged], [DRAWS * one for one in logged.values()]).pvalue > 0.001


@pytest.mark.parametrize("exploration", [Exploration(0.25, 0.1, 7), Exploration(0.0, 1.0, 2)])
def test_policy_is_read_back_from_the_log(exploration):
    assert Exploration.of_policy(exploration.policy) == exploration


def test_log_without_a_policy_drew_nothing_and_an_unknown_one_is_refused():
    assert Exploration.of_policy(None).share == 0
    with pytest.raises(ContractError, match=r"policy 'epsilon': expected greedy or plackett_luce"):
        Exploration.of_policy("epsilon")


class OneUser:
    """The same features for everybody."""

    def __init__(self, row):
        self.row = UserRow(row, "ok", None)

    def read(self, user_id: str, *, now_seconds: int) -> UserRow:
        return self.row


@pytest.fixture(scope="module")
def bundle(trained) -> Bundle:
    return load_bundle(require_champion(trained.home, "recommender").folder)


def ask(bundle: Bundle, home, queries: int, *, k: int, filters: Filters | None = None, **settings):
    """The log of the same question asked many times."""
    known = next(request for request in bundle.golden if request.user_id)
    log, ids = PredictionLog(home), count()
    configured = Settings(home=home, accept_request_time=True, **settings)
    recommender = Recommender(bundle, OneUser(known.row), log, configured, new_id=lambda: f"q{next(ids)}")
    request = RecommendationRequest(user_id=known.user_id, k=k, request_time=AT, filters=filters or Filters())
    for _ in range(queries):
        recommender.recommend(request)
    log.flush()
    return read_impressions(home, AT, moment(17)).to_pandas()


def test_logged_propensities_are_the_frequencies_of_the_items_at_their_positions(bundle, tmp_path):
    log = ask(bundle, tmp_path, 1500, k=4, exploration_share=0.6, exploration_temperature=1.0, exploration_depth=5)
    for _, at in log.groupby("position"):
        logged = at.groupby("item_id")["propensity"].first().astype(float)
        assert at.groupby("item_id")["propensity"].nunique().max() == 1
        assert logged.sum() == pytest.approx(1, abs=1e-5)
        seen = at["item_id"].value_counts().reindex(logged.index)
        assert chisquare(seen, logged / logged.sum() * len(at)).pvalue > 0.001


def test_items_of_an_explored_list_keep_their_scores_reasons_and_features(bundle, tmp_path):
    greedy = ask(bundle, tmp_path / "greedy", 1, k=5).set_index("item_id")
    drawn = ask(bundle, tmp_path / "drawn", 1, k=5, exploration_share=1.0, exploration_depth=5).set_index("item_id")
    assert set(drawn.index) == set(greedy.index)
    same = [
        name for name in greedy.columns if name not in {"position", "propensity", "conditional_propensity", "policy"}
    ]
    assert drawn.loc[greedy.index, same].equals(greedy[same])
    assert set(drawn["policy"]) == {"plackett_luce(share=1.0,temperature=1.0,depth=5)"}


def test_a_draw_shows_nothing_that_the_filters_forbid_and_fills_take_part(bundle, tmp_path):
    filters = Filters(departments=("Odd",))
    log = ask(bundle, tmp_path, 30, k=20, filters=filters, exploration_share=1.0, exploration_temperature=50.0)
    assert all(int(item_id[1:]) % 2 == 1 for item_id in log["item_id"])
    fills = log[log["retriever"] == "popular"]
    assert fills.groupby("position")["item_id"].nunique().max() > 1
    assert fills["propensity"].between(0, 1, inclusive="neither").all()
    assert set(log["filters"]) == {filters.model_dump_json()}


def test_server_draws_nothing_unless_told_to(bundle, tmp_path):
    log = ask(bundle, tmp_path, 5, k=5)
    assert set(log["policy"]) == {"greedy"}
    assert set(log["propensity"]) == set(log["conditional_propensity"]) == {1.0}
    assert log.groupby("position")["item_id"].nunique().tolist() == [1, 1, 1, 1, 1]
