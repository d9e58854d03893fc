"""An answer is given again only while everything that it rests on is the same, and is logged each time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.registry import require_champion
from serving.answer_cache import MOST_KEPT, AnswerCache, Kept, row_hash
from serving.online_features import UserRow
from serving.prediction_log import PredictionLog
from serving.protocol import Filters, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.serving.conftest import SERVED_FROM

WINDOW = 5.0


class Clock:
    """Now, as the test says."""

    def __init__(self) -> None:
        self.now = SERVED_FROM

    def __call__(self) -> datetime:
        return self.now


class Users:
    """One row for everybody, which a test may change."""

    def __init__(self, row) -> None:
        self.user = UserRow(dict(row), "ok", None)

    def read(self, user_id, *, now_seconds):
        return self.user

    def write_history(self, user_id, row, *, seconds):
        return True


@pytest.fixture
def recommender(trained, tmp_path) -> Recommender:
    bundle = load_bundle(require_champion(trained.home, "recommender").folder)
    known = next(request for request in bundle.golden if request.user_id)
    settings = Settings(home=tmp_path, cache_seconds=WINDOW, accept_request_time=True)
    log = PredictionLog(tmp_path, 60.0, is_replay=True)
    return Recommender(bundle, Users(known.row), log, settings, clock=Clock())


def hits(recommender: Recommender) -> float:
    found = recommender.metrics.registry.get_sample_value("recsys_server_cache_requests_total", {"result": "hit"})
    assert found is not None
    return found


ASK = RecommendationRequest(user_id="u2", k=5)


def test_same_question_gets_the_same_list_under_its_own_query_id_and_both_are_logged(recommender):
    first = recommender.recommend(ASK)
    recommender.clock.now += timedelta(seconds=2)
    again = recommender.recommend(ASK)
    assert hits(recommender) == 1
    assert again.items == first.items
    assert again.query_id != first.query_id
    assert again.event_timestamp == first.event_timestamp  # the moment of the features that are logged with it
    assert recommender.predictions.flush() == 2 * 5
    for answer in (first, again):
        rows = recommender.predictions.find(answer.query_id).to_pylist()
        assert [row["item_id"] for row in rows] == [item.item_id for item in answer.items]
    ages = recommender.metrics.registry.get_sample_value("recsys_server_cache_age_seconds_sum")
    assert ages == 2.0


@pytest.mark.parametrize(
    "other",
    [
        ASK.model_copy(update={"k": 6}),
        ASK.model_copy(update={"user_id": "u3"}),
        ASK.model_copy(update={"store_id": "s1"}),
        ASK.model_copy(update={"filters": Filters(exclude_known=True)}),
    ],
)
def test_another_question_is_answered_anew(recommender, other):
    recommender.recommend(ASK)
    recommender.recommend(other)
    assert hits(recommender) == 0
    recommender.recommend(ASK)
    assert hits(recommender) == 1


@pytest.mark.parametrize(("later", "expected"), [(4.999, 1), (5.0, 0), (-0.001, 0)])
def test_answer_holds_to_the_end_of_its_window_and_not_into_the_past(recommender, later, expected):
    recommender.recommend(ASK)
    recommender.clock.now += timedelta(seconds=later)
    recommender.recommend(ASK)
    assert hits(recommender) == expected


def test_event_of_the_user_makes_the_next_answer_anew_whichever_server_took_it(recommender):
    before = recommender.recommend(ASK)
    row = dict(recommender.users.user.row)
    row["user_history_counts"] = [count + 1 for count in row["user_history_counts"]]
    recommender.users.user = UserRow(row, "ok", None)
    after = recommender.recommend(ASK)
    assert hits(recommender) == 0
    assert after.event_timestamp == before.event_timestamp == SERVED_FROM
    assert after.items != before.items  # the reasons count one more


def test_another_bundle_or_a_refresh_of_the_items_begins_without_answers(recommender):
    recommender.recommend(ASK)
    successor = replace(recommender, bundle=recommender.bundle.with_items(recommender.bundle.model.items))
    successor.recommend(ASK)
    assert hits(successor) == 0


def test_explanation_replay_and_store_error_are_never_given_again(recommender):
    for request in (
        ASK.model_copy(update={"explain": True}),
        ASK.model_copy(update={"request_time": SERVED_FROM}),
    ):
        recommender.recommend(request)
        recommender.recommend(request)
    recommender.users.user = UserRow({}, "store_error", None)
    recommender.recommend(ASK)
    recommender.recommend(ASK)
    looked_up = recommender.metrics.registry.get_sample_value("recsys_server_cache_requests_total", {"result": "miss"})
    assert (hits(recommender), looked_up) == (0, 0)


@pytest.mark.parametrize("change", [{"cache_seconds": 0.0}, {"exploration_share": 0.5}])
def test_nothing_is_kept_where_it_is_off_or_lists_are_drawn(recommender, change):
    other = replace(recommender, settings=recommender.settings.model_copy(update=change))
    other.recommend(ASK)
    other.recommend(ASK)
    assert hits(other) == 0


def test_the_answer_used_longest_ago_makes_room():
    cache = AnswerCache[str](60.0)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(MOST_KEPT):
        cache.keep(number, Kept("made", moment, 0))
    assert cache.find(0, 0, moment) is not None  # used again: 1 is the oldest now
    cache.keep("new", Kept("made", moment, 0))
    assert len(cache) == MOST_KEPT
    assert cache.find(1, 0, moment) is None
    assert cache.find(0, 0, moment) is not None


def test_rows_are_told_apart_by_values_lists_and_status():
    row = {"a": 1.0, "b": ["x", "y"], "c": None}
    assert row_hash(row, "ok") == row_hash({"a": 1.0, "b": ["x", "y"], "c": None}, "ok")
    arrays = row | {"b": np.array([1, 2])}
    assert row_hash(arrays, "ok") == row_hash(row | {"b": np.array([1, 2])}, "ok") != row_hash(row, "ok")
    for other in (row | {"a": 2.0}, row | {"b": ["y", "x"]}, row | {"c": "x"}, {"a": 1.0}):
        assert row_hash(other, "ok") != row_hash(row, "ok")
    assert row_hash(row, "new") != row_hash(row, "ok")
