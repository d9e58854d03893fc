"""One user as an operator looks at them: history, list, reasons, and what was kept from the list and why."""

from dataclasses import replace
from typing import Any

import pytest

from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.registry import require_champion
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from components.retrieval.verdicts import Verdict
from serving.portrait import BOUGHT, EXCLUDED, OTHERS, SHOWN, UNWANTED, portrait
from serving.portrait_page import portrait_page
from serving.portrait_protocol import PortraitRequest, PortraitResponse
from serving.prediction_log import PredictionLog, read_impressions
from serving.protocol import InvalidRequestError, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.serving.conftest import SERVED_FROM
from tests.serving.test_exploration import OneUser
from tests.toy_world import moment

AS_OF = moment(16)


@pytest.fixture(scope="module")
def bundle(trained) -> Bundle:
    return load_bundle(require_champion(trained.home, "recommender").folder)


def looked_at(bundle: Bundle, home, rules: dict[str, Any], **row: Any) -> tuple[PortraitResponse, list[str]]:
    """The portrait of a known user under some rules, and the list that the same recommender answers."""
    governed = replace(bundle, policy=ListPolicy.of(bundle.model, PolicyConfig.model_validate({"rules": rules})))
    known = next(request for request in bundle.golden if request.user_id)
    settings = Settings(home=home, accept_request_time=True)
    recommender = Recommender(governed, OneUser({**known.row, **row}), None, settings)
    question = RecommendationRequest(user_id=known.user_id, k=SHOWN, request_time=AS_OF)
    answered = [item.item_id for item in recommender.recommend(question).items]
    return portrait(recommender, PortraitRequest(user_id=known.user_id, request_time=AS_OF)), answered


def test_list_is_the_one_that_is_answered_with_what_moved_each_item(bundle, tmp_path):
    seen, answered = looked_at(bundle, tmp_path, {})
    assert [item.item_id for item in seen.recommended] == answered
    assert all(item.explanation and item.explanation.topics for item in seen.recommended)
    assert seen.left_out == ()
    assert seen.event_timestamp == AS_OF


def test_history_is_told_latest_first(bundle, tmp_path):
    seen, _ = looked_at(bundle, tmp_path, {})
    lasts = [one.last_timestamp for one in seen.known]
    assert seen.known_items >= len(seen.known) > 0
    assert lasts == sorted(lasts, reverse=True)
    assert max(lasts) < AS_OF


def test_first_reason_that_holds_says_why_a_better_item_is_not_in_the_list(bundle, tmp_path):
    plain, _ = looked_at(bundle, tmp_path, {})
    first, second = (item.item_id for item in plain.recommended[:2])
    rules = {"exclude": [{"items": {"item_ids": [first, second]}}]}
    disliked = {"user_verdict_item_ids": [first], "user_verdicts": [int(Verdict.DISLIKED)]}
    seen, answered = looked_at(bundle, tmp_path, rules, **disliked)
    assert {first, second}.isdisjoint(answered)
    told = {one.item_id: (one.rank, one.reason) for one in seen.left_out}
    assert told[second] == (2, EXCLUDED)
    assert told[first][1] in {UNWANTED, EXCLUDED}


def test_what_was_bought_and_what_a_cap_moved_down_have_reasons_of_their_own(bundle, tmp_path):
    bought, _ = looked_at(bundle, tmp_path, {"already_bought": {"hide": True}})
    assert {one.reason for one in bought.left_out} == {BOUGHT}
    capped, _ = looked_at(bundle, tmp_path, {"cap": [{"by": "department", "most": 1, "within": 3}]})
    assert {one.reason for one in capped.left_out} <= {OTHERS}


def test_portrait_is_never_logged_as_shown(bundle, tmp_path):
    log, settings = PredictionLog(tmp_path), Settings(home=tmp_path, accept_request_time=True)
    recommender = Recommender(bundle, OneUser({}), log, settings)
    portrait(recommender, PortraitRequest(user_id="looked-at", request_time=AS_OF))
    recommender.recommend(RecommendationRequest(user_id="asks", request_time=AS_OF))
    log.close()
    assert set(read_impressions(tmp_path, AS_OF, moment(17))["user_id"].to_pylist()) == {"asks"}


def test_server_answers_it_from_its_own_store(client):
    answer = client.get("/v1/portraits", params={"user_id": "u8", "request_time": SERVED_FROM.isoformat()})
    assert PortraitResponse.model_validate_json(answer.content).user_status == "ok"


@pytest.mark.parametrize(
    ("asked", "said"),
    [({}, "query.user_id: missing"), ({"user_id": ""}, "query.user_id"), ({"user_id": "u1", "k": 1}, "no parameter k")],
)
def test_malformed_request_for_a_portrait_is_a_400(client, asked, said):
    response = client.get("/v1/portraits", params=asked)
    assert response.status_code == 400
    assert said in response.json()["error"]


def test_time_of_another_day_is_for_replays_only(bundle, tmp_path):
    recommender = Recommender(bundle, OneUser({}), None, Settings(home=tmp_path))
    with pytest.raises(InvalidRequestError, match="this server answers for now only"):
        portrait(recommender, PortraitRequest(user_id="u1", request_time=AS_OF))


def test_page_says_all_of_it_and_takes_names_for_text(bundle, tmp_path):
    seen, _ = looked_at(bundle, tmp_path, {"already_bought": {"hide": True}})
    page = portrait_page(seen.model_copy(update={"user_id": "<script>x"}), back="../console")
    assert "<script" not in page
    assert "User &lt;script&gt;x" in page
    assert "what moved it" in page
    assert BOUGHT.split(",")[0] in page
    assert 'href="../console"' in page


def test_unknown_user_is_shown_what_is_popular_and_the_page_says_so(bundle, tmp_path):
    recommender = Recommender(bundle, OneUser({}), None, Settings(home=tmp_path, accept_request_time=True))
    seen = portrait(recommender, PortraitRequest(user_id="nobody", request_time=AS_OF))
    assert (seen.known_items, seen.known) == (0, ())
    assert len(seen.recommended) > 0
