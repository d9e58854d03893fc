"""Business rules as a server applies them: from the bundle, or from a file that replaces them without training anew."""

from dataclasses import replace
from itertools import count

import pytest

from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.errors import ConfigError
from components.artifacts.registry import require_champion
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from serving.bundle_source import open_bundle
from serving.protocol import Filters, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.serving.test_exploration import OneUser
from tests.toy_world import moment


@pytest.fixture(scope="module")
def bundle(trained) -> Bundle:
    return load_bundle(require_champion(trained.home, "recommender").folder)


def answer(bundle: Bundle, home, rules: dict, *, k: int, **filters):
    """The items that a known user is shown under some rules."""
    governed = replace(bundle, policy=ListPolicy.of(bundle.model, PolicyConfig.model_validate({"rules": rules})))
    known, ids = next(request for request in bundle.golden if request.user_id), count()
    settings = Settings(home=home, accept_request_time=True)
    recommender = Recommender(governed, OneUser(known.row), None, settings, new_id=lambda: f"q{next(ids)}")
    request = RecommendationRequest(user_id=known.user_id, k=k, request_time=moment(16), filters=Filters(**filters))
    return recommender.recommend(request).items


def test_item_that_a_rule_put_there_says_so_and_keeps_the_rankers_score(bundle, tmp_path):
    plain = {item.item_id: item for item in answer(bundle, tmp_path, {}, k=30)}
    last = list(plain)[-1]
    pinned = answer(bundle, tmp_path, {"pin": [{"item_id": last, "position": 2, "reason": "Our pick"}]}, k=5)
    assert (pinned[1].item_id, pinned[1].reason) == (last, "Our pick")
    assert pinned[1].score == pytest.approx(plain[last].score)
    assert pinned[0].reason == plain[pinned[0].item_id].reason


def test_list_that_rules_leave_short_is_filled_with_popular_items_that_they_permit(bundle, tmp_path):
    rules = {"exclude": [{"items": {"departments": ["Even"]}}], "cap": [{"by": "brand", "most": 2, "within": 4}]}
    items = answer(bundle, tmp_path, rules, k=20)
    assert {item.department for item in items} == {"Odd"}
    assert len(items) == 20  # of 20 odd items, more than any source names
    assert max([item.brand for item in items[:4]].count(brand) for brand in ("Private", "National")) == 2


def test_request_filter_holds_beside_the_rules(bundle, tmp_path):
    items = answer(
        bundle, tmp_path, {"pin": [{"item_id": "i1"}, {"item_id": "i3", "position": 2}]}, k=5, brands=["Private"]
    )
    assert "i1" not in [item.item_id for item in items]  # of another brand
    assert items[1].item_id == "i3"
    assert {item.brand for item in items} == {"Private"}


def test_rules_file_replaces_the_bundles_rules(trained, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("rules: {pin: [{item_id: i7}]}")
    opened = open_bundle(Settings(home=trained.home, rules_file=path))
    assert [pin.item_id for pin in opened.policy.config.rules.pin] == ["i7"]
    assert opened.manifest == open_bundle(Settings(home=trained.home)).manifest


def test_exploration_is_refused_where_it_would_break_a_rule(trained, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("rules: {cap: [{by: brand, most: 2}]}")
    with pytest.raises(
        ConfigError, match=r"exploration_share 0\.1: a drawn order would break the rules' caps and pins"
    ):
        open_bundle(Settings(home=trained.home, rules_file=path, exploration_share=0.1))
