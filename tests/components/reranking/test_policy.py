"""From a ranking to a list: each rule alone, then all of them together on drawn catalogues."""

from collections import Counter

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ranking.ranker import Ranker
from components.ranking.two_stage import Ranking, TwoStageModel
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from components.retrieval.candidates import unnamed
from components.retrieval.query import build_query
from feature_repo.schema import RANKER_FEATURE_NAMES
from tests.components.retrieval.builders import NOW, item_table, query

SIZE = 12
LABELS = {
    "category": ["C0", "C1", "C2"] * 4,
    "department": ["D0"] * 6 + ["D1"] * 6,
    "brand": ["Own", "Other", None, None] * 3,
}
ITEMS = item_table(SIZE, LABELS, item_price_usd_90d=[float(num) for num in range(SIZE)])
NOBODY = query(ITEMS)


def a_ranker() -> Ranker:
    """A real booster whose score is a margin."""
    rng = np.random.default_rng(0)
    matrix = rng.uniform(0, 10, (50, len(RANKER_FEATURE_NAMES))).astype(np.float32)
    return Ranker(xgb.train({"max_depth": 2, "nthread": 1, "seed": 0}, xgb.DMatrix(matrix, label=matrix[:, 0]), 2))


RANKER = a_ranker()


def policy(**sections) -> ListPolicy:
    return ListPolicy.of(TwoStageModel(ITEMS, {}, {}, RANKER), PolicyConfig.model_validate(sections))


def ranked(letters: str = "abcdefghijkl", step: float = 1.0) -> Ranking:
    """Items by their letters, scores falling by a step."""
    nums = np.array([ord(letter) - ord("a") for letter in letters], np.int32)
    rows = unnamed(nums)
    scores = -step * np.arange(len(nums), dtype=np.float32)
    return Ranking(nums, scores, rows.ranks, np.zeros((len(nums), len(RANKER_FEATURE_NAMES)), np.float32))


def shown(listing) -> str:
    return "".join(chr(ord("a") + num) for num in listing.ranking.item_nums)


def test_empty_policy_is_the_ranking():
    empty = policy()
    assert empty.is_empty
    assert shown(empty.arrange(NOBODY, ranked(), k=4)) == "abcd"


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ({"item_ids": ["a", "c"]}, "bdefghijkl"),
        ({"categories": ["C0"]}, "bcefhikl"),
        ({"departments": ["D0"]}, "ghijkl"),
        ({"brands": ["Own"], "departments": ["D0"]}, "bcdfghijkl"),
        ({"features": {"item_price_usd_90d": {"at_least": 2, "at_most": 9}}}, "abkl"),
        ({"features": {"item_age_days": {"at_least": 0}}}, "abcdefghijkl"),  # missing is in no range
    ],
)
def test_excluded_items_are_not_shown(which, left):
    assert shown(policy(rules={"exclude": [{"items": which}]}).arrange(NOBODY, ranked(), k=SIZE)) == left


@pytest.mark.parametrize(
    ("already_bought", "left"),
    [
        ({}, "abcd"),
        ({"hide": True}, "cdef"),
        ({"hide": True, "within_days": 7}, "bcde"),
    ],
)
def test_items_already_bought_are_hidden_for_as_long_as_is_said(already_bought, left):
    user = query(ITEMS, ("a", 1, 3, 3), ("b", 2, 20, 10))  # three and ten days ago
    assert shown(policy(rules={"already_bought": already_bought}).arrange(user, ranked(), k=4)) == left


def test_boost_multiplies_the_odds_and_says_so():
    rules = {"boost": [{"items": {"item_ids": ["d"]}, "factor": float(np.exp(2.5))}]}
    listing = policy(rules=rules).arrange(NOBODY, ranked(step=1.0), k=4)
    assert shown(listing) == "adbc"  # -3 + 2.5 stands between 0 and -1
    assert listing.notes == {3: "Promoted by the shop"}
    assert listing.ranking.scores.tolist() == [0, -3, -1, -2]


def test_boost_under_one_moves_down_without_a_word():
    rules = {"boost": [{"items": {"categories": ["C0"]}, "factor": float(np.exp(-1.5))}]}
    listing = policy(rules=rules).arrange(NOBODY, ranked("abc"), k=3)
    assert shown(listing) == "bac"  # 0 - 1.5 stands between -1 and -2
    assert listing.notes == {}


def test_pin_stands_at_its_position_even_where_no_source_named_it():
    listing = policy(rules={"pin": [{"item_id": "l", "position": 2}, {"item_id": "a", "position": 4}]}).arrange(
        NOBODY, ranked("abcdef"), k=4
    )
    assert shown(listing) == "blca"
    assert listing.notes == {11: "Chosen by the shop", 0: "Chosen by the shop"}
    unsourced = listing.ranking.take(np.array([1]))
    assert unsourced.scores.tolist() == RANKER.score(unsourced.matrix).tolist()


def test_first_pin_of_a_position_has_it_and_an_item_is_shown_once():
    pins = [{"item_id": "k", "position": 1}, {"item_id": "l", "position": 1}, {"item_id": "k", "position": 3}]
    assert shown(policy(rules={"pin": pins}).arrange(NOBODY, ranked("abc"), k=4)) == "kabc"


@pytest.mark.parametrize(
    ("when", "is_shown"),
    [
        ({"since": "2024-03-01T00:00:00Z"}, True),
        ({"since": "2024-03-01T00:00:01Z"}, False),
        ({"until": "2024-03-01T00:00:00Z"}, False),
        ({"until": "2024-03-02"}, True),
        ({"store_ids": ["s1", "s2"]}, True),
        ({"store_ids": ["s2"]}, False),
        ({"user": {"user_age_years": {"at_least": 30, "at_most": 40}}}, True),
        ({"user": {"user_age_years": {"at_most": 30}}}, False),
        ({"user": {"user_price_usd_90d": {"at_least": 0}}}, False),  # unknown of this user
    ],
)
def test_pin_holds_in_its_time_place_and_segment(when, is_shown):
    user = build_query("u", {"user_age_years": 35.0}, ITEMS, now_seconds=NOW, store_id="s1")
    pinned = policy(rules={"pin": [{"item_id": "l", "when": when}]})
    assert shown(pinned.arrange(user, ranked("abc"), k=2)) == ("la" if is_shown else "ab")


def test_pin_obeys_what_is_excluded_and_what_the_request_allows():
    pinned = {"pin": [{"item_id": "l", "position": 1}]}
    hidden = policy(rules={**pinned, "exclude": [{"items": {"item_ids": ["l"]}}]})
    assert shown(hidden.arrange(NOBODY, ranked("abc"), k=2)) == "ab"
    asked = policy(rules=pinned).arrange(NOBODY, ranked("abc"), k=2, permits=lambda nums: nums < 11)
    assert shown(asked) == "ab"


def test_cap_keeps_a_category_to_its_number_near_the_top_only():
    capped = policy(rules={"cap": [{"by": "category", "most": 1, "within": 3}]})
    assert shown(capped.arrange(NOBODY, ranked("adgbechf"), k=6)) == "abcdge"


def test_items_without_the_label_are_not_capped():
    capped = policy(rules={"cap": [{"by": "brand", "most": 1}]})
    assert shown(capped.arrange(NOBODY, ranked("aecdgb"), k=6)) == "acdgb"


def test_pin_counts_in_the_cap_of_what_stands_above_it():
    rules = {"pin": [{"item_id": "d", "position": 3}], "cap": [{"by": "category", "most": 1, "within": 3}]}
    assert shown(policy(rules=rules).arrange(NOBODY, ranked("abc"), k=3)) == "bcd"  # a is of the category of d


def test_mmr_and_calibration_reach_the_list():
    mmr = policy(reranking={"method": "mmr", "strength": 0.9, "labels": ["category"]})
    assert shown(mmr.arrange(NOBODY, ranked("adgbc"), k=3)) == "abc"
    user = query(ITEMS, ("b", 3, 9, 1), ("e", 3, 9, 1))  # takes C1 only
    calibrated = policy(reranking={"method": "calibrated", "strength": 0.99})
    assert shown(calibrated.arrange(user, ranked("adgbc"), k=2))[0] == "b"


def test_reranking_moves_nothing_below_its_depth():
    mmr = policy(reranking={"method": "mmr", "strength": 1.0, "depth": 3, "labels": ["category"]})
    assert shown(mmr.arrange(NOBODY, ranked("adgbc"), k=5)) == "adgbc"


def test_condition_that_means_no_item_is_said(caplog):
    policy(rules={"exclude": [{"items": {"brands": ["Onw"]}}], "pin": [{"item_id": "zz"}]})
    assert "rules exclude.0, pin.0: no item of the catalogue is meant" in caplog.text


LETTERS = st.permutations("abcdefghijkl")
WHICH = st.sampled_from(
    [{"item_ids": ["a", "f"]}, {"categories": ["C1"]}, {"brands": ["Own"]}, {"departments": ["D1"]}]
)
CAPS = st.lists(
    st.builds(
        lambda by, most, within: {"by": by, "most": most, "within": within},
        st.sampled_from(["category", "department", "brand"]),
        st.integers(1, 4),
        st.integers(1, 10),
    ),
    max_size=2,
)
PINS = st.lists(
    st.builds(
        lambda item, position: {"item_id": item, "position": position}, st.sampled_from("abcl"), st.integers(1, 6)
    ),
    max_size=3,
)
RERANKING = st.builds(
    lambda method, strength: {"method": method, "strength": strength},
    st.sampled_from(["none", "mmr", "calibrated"]),
    st.floats(0, 1),
)


@settings(max_examples=150, deadline=None)
@given(LETTERS, st.lists(WHICH, max_size=1), CAPS, PINS, RERANKING, st.integers(1, 12))
def test_rules_hold_together(letters, excluded, caps, pins, reranking, k):
    rules = {"exclude": [{"items": one} for one in excluded], "cap": caps, "pin": pins}
    declared = policy(rules=rules, reranking=reranking)
    listing = declared.arrange(query(ITEMS, ("b", 1, 1, 1)), ranked("".join(letters)), k=k)
    nums = listing.ranking.item_nums.tolist()
    assert len(set(nums)) == len(nums) <= k
    assert not set(nums) & set(np.flatnonzero(~declared.rules.permits(NOBODY, np.arange(SIZE))).tolist())
    is_full = len(nums) == k
    claimed = {place: num for place, (num, _) in declared.rules.pins(NOBODY).items()}
    pinned = {place: num for place, num in claimed.items() if declared.rules.permits(NOBODY, np.array([num]))[0]}
    for place, num in pinned.items():
        assert not (is_full and place < k) or nums[place] == num
    for cap in declared.config.rules.cap:
        labels = [LABELS[cap.by][num] for num in nums[: cap.within] if num not in pinned.values()]
        counts = Counter(label for label in labels if label is not None)
        assert max(counts.values(), default=0) <= cap.most
    if not caps:
        assert len(nums) == min(k, int(declared.rules.permits(NOBODY, np.arange(SIZE)).sum()))
    longer = declared.arrange(query(ITEMS, ("b", 1, 1, 1)), ranked("".join(letters)), k=12)
    if is_full:
        assert longer.ranking.item_nums.tolist()[:k] == nums
