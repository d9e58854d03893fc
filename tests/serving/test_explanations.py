"""Explanations of the toy world's real ranker: they sum to the score, and every feature has words."""

from dataclasses import replace

import numpy as np
import pytest

from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.errors import NotFoundError
from components.ranking.blend import Blend
from components.ranking.two_stage import Ranking
from components.retrieval.candidates import unnamed
from components.retrieval.query import build_query
from feature_repo.schema import RANKER_FEATURE_NAMES
from pipelines.explain import explain_user
from serving.explanations import BLENDED, TOPICS, explain, topic_of, words_of
from tests.serving.conftest import SERVED_FROM

ABSENT = np.full((1, len(RANKER_FEATURE_NAMES)), np.nan, np.float32)


@pytest.fixture(scope="module")
def bundle(trained) -> Bundle:
    return load_bundle(trained.run.bundle)


@pytest.fixture(scope="module")
def ranking(bundle) -> Ranking:
    """The candidates of a known user."""
    known = next(request for request in bundle.golden if request.user_id)
    return bundle.model.rank(build_query(known.user_id, known.row, bundle.model.items, now_seconds=known.now_seconds))


def row(**values: float) -> Ranking:
    """One item with some features, the others missing."""
    matrix = ABSENT.copy()
    for name, value in values.items():
        matrix[0, RANKER_FEATURE_NAMES.index(name)] = value
    item = unnamed(np.zeros(1, np.int32))
    return Ranking(item.item_nums, np.zeros(1, np.float32), item.ranks, matrix)


def said(bundle: Bundle, topic: str, **values: float) -> str:
    """The sentence of a topic, whether or not it moved the score."""
    from serving import explanations

    chosen = next(one for one in TOPICS if one.name == topic)
    filled = dict(zip(RANKER_FEATURE_NAMES, row(**values).matrix[0].tolist(), strict=True))
    return explanations._say(chosen, filled, {"verb": "bought", "category": "Cheese"})


def test_every_feature_has_a_topic_and_every_topic_a_feature():
    assert {topic_of(name) for name in RANKER_FEATURE_NAMES} == {topic.name for topic in TOPICS}


def test_topics_and_base_sum_to_the_margin_of_the_served_score(bundle, ranking):
    top = ranking.top(10)
    ranker = bundle.model.ranker
    margins = ranker.log_odds(top.scores)
    for margin, one in zip(margins, explain(ranker, top, words_of(bundle, top.item_nums)), strict=True):
        assert one.base + sum(topic.contribution for topic in one.topics) == pytest.approx(margin, abs=1e-4)


def test_what_the_lists_moved_is_a_topic_and_the_sum_is_the_margin_of_the_place(bundle):
    model = replace(bundle.model, blend=Blend(1000, 100.0, {"popular_in_context": 1.0}))
    known = next(request for request in bundle.golden if request.user_id)
    top = model.rank(build_query(known.user_id, known.row, model.items, now_seconds=known.now_seconds))
    found = explain(model.ranker, top, words_of(bundle, top.item_nums))
    assert any(topic.name == BLENDED for one in found for topic in one.topics)
    for margin, one in zip(model.ranker.log_odds(top.scores), found, strict=True):
        assert one.base + sum(topic.contribution for topic in one.topics) == pytest.approx(margin, abs=2e-3)


def test_sources_come_best_first_and_topics_and_features_largest_first(bundle, ranking):
    for one in explain(bundle.model.ranker, ranking.top(10), words_of(bundle, ranking.top(10).item_nums)):
        assert [source.rank for source in one.sources] == sorted(source.rank for source in one.sources)
        for parts in (one.topics, one.features):
            moved = [abs(part.contribution) for part in parts]
            assert moved == sorted(moved, reverse=True)


def test_every_topic_has_a_sentence_where_everything_is_missing(bundle):
    for topic in TOPICS:
        sentence = said(bundle, topic.name)
        assert sentence[0].isupper()
        assert "nan" not in sentence
        assert "{" not in sentence


@pytest.mark.parametrize(
    ("topic", "values", "sentence"),
    [
        ("taken before", {"user_item_count": 1, "user_item_recency_days": 0.4}, "The user bought it once, last today"),
        ("taken before", {"user_item_count": 0}, "The user has not bought it before"),
        (
            "rhythm",
            {"user_item_interval_days": 12.2, "user_item_recency_days": 14},
            "The user takes it every 12 days, and the last time was 14 days ago",
        ),
        (
            "rhythm",
            {"item_repurchase_interval_days": 1.2},
            "The user has no rhythm with it; others take it again after 1 day",
        ),
        ("trend", {"item_trend_rate": 0.5}, "It sold 50% less last week than it usually does"),
        ("trend", {"item_trend_rate": 2.04}, "It sold 2.0 times as much last week as it usually does"),
        (
            "price",
            {"item_price_usd_90d": 2.5, "item_price_to_user_price_rate": 0.5},
            "It costs 2.50 USD, 50% of what the user usually pays for an item",
        ),
        ("discount", {"item_discount_rate_30d": 0.37}, "It sold at 37% off in the last 30 days"),
        ("promotion", {"item_mailer_rate": 0.1, "item_display_rate": 0.2}, "It is in the mailer and on displays now"),
        ("promotion", {"item_mailer_rate_next_7d": 0.1}, "It is in the mailer in the next days"),
        (
            "promotion",
            {"item_mailer_rate": 0.1, "item_display_rate_next_7d": 0.2},
            "It is in the mailer now and on displays in the next days",
        ),
        (
            "promotion",
            {"item_display_rate": 0.2, "item_display_rate_next_7d": 0.1},
            "It is on displays, now and in the next days",
        ),
        ("promotion", {"item_display_rate": 0.0}, "It is in no promotion that is known of"),
        ("kind", {"user_subcategory_recency_days": np.nan}, "The user bought nothing of its kind before"),
        (
            "kind",
            {"user_subcategory_recency_days": 3.0, "user_subcategory_count": 7.0},
            "The user bought something of its kind 7 times, last 3 days ago",
        ),
        ("category", {"user_item_category_share_90d": 0.043}, "4.3% of what the user takes is Cheese"),
        ("popularity", {"item_users_30d": 1}, "1 person took it in the last 30 days"),
    ],
)
def test_sentences_say_what_the_values_are(bundle, topic, values, sentence):
    assert said(bundle, topic, **values) == sentence


def test_server_explains_on_request_only(client, bundle):
    ask = {"user_id": "u2", "k": 3, "request_time": SERVED_FROM.isoformat()}
    plain = client.post("/v1/recommendations", json=ask).json()["items"]
    assert [item["explanation"] for item in plain] == [None] * 3
    told = client.get("/v1/recommendations", params={**ask, "explain": "true"}).json()["items"]
    assert [item["item_id"] for item in told] == [item["item_id"] for item in plain]
    for item in told:
        moved = item["explanation"]["base"] + sum(topic["contribution"] for topic in item["explanation"]["topics"])
        [margin] = bundle.model.ranker.log_odds(np.array([item["score"]]))
        assert moved == pytest.approx(margin, abs=1e-4)
        assert item["retriever"] in {source["retriever"] for source in item["explanation"]["sources"]}


def test_command_explains_the_list_and_an_item_that_is_not_in_it(trained, bundle):
    told = explain_user(trained.home, "recommender", "champion", "u2", item=None, as_of=None, k=2)
    assert [entry.heading[:2] for entry in told.items] == ["1.", "2."]
    assert told.items[0].lines[0].startswith("log-odds ")
    shown = {entry.heading.split()[1] for entry in told.items}
    other = next(item for item in ("i3", "i5") if item not in shown)
    [entry] = explain_user(trained.home, "recommender", "champion", "u2", item=other, as_of=None, k=2).items
    assert entry.heading.startswith(("Rank ", "Not a candidate"))
    assert other in entry.heading
    with pytest.raises(NotFoundError, match="item 'zz': the bundle's catalogue has none of that id, among 40"):
        explain_user(trained.home, "recommender", "champion", "u2", item="zz", as_of=None, k=2)
