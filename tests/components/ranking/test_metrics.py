"""Hand-worked values of every metric, its borders and its properties."""

from math import log, log2

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.errors import ContractError
from components.ranking.metrics import (
    METRICS,
    Judged,
    all_metrics,
    are_in,
    average_precision_at_k,
    calibration,
    catalogue_coverage,
    exposure_gini,
    f1_at_k,
    hit_rate_at_k,
    intra_list_diversity,
    log_loss,
    mean_squared_error,
    metric_label,
    miscalibration,
    ndcg_at_k,
    novelty,
    popularity_lift,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)

ALL = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def ranked(**lists: str) -> pd.DataFrame:
    """One letter per item, best first."""
    rows = [(query, item, rank) for query, items in lists.items() for rank, item in enumerate(items, 1)]
    return pd.DataFrame(rows, columns=["query_id", "item_id", "rank"]).astype({"rank": int})


def gains(**sets: str | dict[str, float]) -> pd.DataFrame:
    """One letter per item of gain 1, or item to gain."""
    rows = [
        (query, item, gain)
        for query, found in sets.items()
        for item, gain in (found if isinstance(found, dict) else dict.fromkeys(found, 1.0)).items()
    ]
    return pd.DataFrame(rows, columns=["query_id", "item_id", "gain"]).astype({"gain": float})


@pytest.fixture
def judged() -> Judged:
    """Hits at ranks 2 and 4; of three relevant items one (z) is in no list."""
    return Judged.join(ranked(q="abcde"), gains(q="bdz"))


def test_precision_counts_hits_over_k(judged):
    assert precision_at_k(judged, k=4)["q"] == 2 / 4


def test_recall_counts_hits_over_all_relevant_items_also_those_in_no_list(judged):
    assert recall_at_k(judged, k=4)["q"] == 2 / 3


def test_f1_is_the_harmonic_mean_of_precision_and_recall(judged):
    assert f1_at_k(judged, k=4)["q"] == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))


def test_f1_without_any_hit_is_zero(judged):
    assert f1_at_k(judged, k=1)["q"] == 0.0


def test_hit_rate_is_one_from_the_first_hit_on(judged):
    assert [hit_rate_at_k(judged, k=k)["q"] for k in (1, 2, 5)] == [0.0, 1.0, 1.0]


def test_reciprocal_rank_is_of_the_first_hit(judged):
    assert reciprocal_rank_at_k(judged, k=5)["q"] == 1 / 2


def test_reciprocal_rank_of_a_hit_beyond_k_is_zero(judged):
    assert reciprocal_rank_at_k(judged, k=1)["q"] == 0.0


def test_average_precision_means_the_precision_at_each_hit(judged):
    assert average_precision_at_k(judged, k=5)["q"] == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_average_precision_divides_by_k_where_more_items_are_relevant(judged):
    assert average_precision_at_k(judged, k=2)["q"] == pytest.approx((1 / 2) / 2)


def test_ndcg_discounts_by_the_logarithm_of_the_rank(judged):
    best = 1 / log2(2) + 1 / log2(3) + 1 / log2(4)
    assert ndcg_at_k(judged, k=5)["q"] == pytest.approx((1 / log2(3) + 1 / log2(5)) / best)


def test_ndcg_weighs_by_the_gain():
    judged = Judged.join(ranked(q="ab"), gains(q={"a": 1.0, "b": 3.0}))
    assert ndcg_at_k(judged, k=2)["q"] == pytest.approx((1 / log2(2) + 3 / log2(3)) / (3 / log2(2) + 1 / log2(3)))


def test_ndcg_of_the_best_order_of_tied_gains_is_one():
    assert ndcg_at_k(Judged.join(ranked(q="ba"), gains(q={"a": 2.0, "b": 2.0})), k=2)["q"] == pytest.approx(1.0)


def test_ndcg_compares_with_the_best_k_gains_only():
    assert ndcg_at_k(Judged.join(ranked(q="abx"), gains(q="abcdef")), k=2)["q"] == pytest.approx(1.0)


def test_list_shorter_than_k_counts_as_filled_up_with_misses():
    judged = Judged.join(ranked(q="a"), gains(q="a"))
    assert precision_at_k(judged, k=10)["q"] == 1 / 10
    assert average_precision_at_k(judged, k=10)["q"] == 1.0


@ALL
def test_query_without_positive_gain_is_nan(metric):
    values = metric(Judged.join(ranked(q="ab", r="ab"), gains(q={"a": 0.0}, r="a")), k=2)
    assert np.isnan(values["q"])
    assert values["r"] > 0


@ALL
def test_empty_list_is_zero(metric):
    assert metric(Judged.join(ranked(), gains(q="a")), k=3)["q"] == 0.0


@ALL
def test_no_query_gives_no_value(metric):
    assert len(metric(Judged.join(ranked(), gains()), k=3)) == 0
    assert len(metric(Judged.of_lists([], [], []), k=3)) == 0


@ALL
def test_a_perfect_list_of_one_item_is_one_at_one(metric):
    assert metric(Judged.join(ranked(q="a"), gains(q="a")), k=1)["q"] == 1.0


@ALL
def test_k_under_one_is_refused(metric, judged):
    with pytest.raises(ContractError, match="k is 0, expected at least 1"):
        metric(judged, k=0)


def test_queries_without_gains_do_not_count_and_the_rest_is_sorted():
    values = recall_at_k(Judged.join(ranked(r="a", stranger="a", q="b"), gains(r="a", q="a")), k=1)
    assert values.to_dict() == {"q": 0.0, "r": 1.0}
    assert values.index.name == "query_id"


def test_gap_in_the_ranks_is_a_miss():
    lists = pd.DataFrame({"query_id": ["q", "q"], "item_id": ["a", "b"], "rank": [1, 3]})
    assert reciprocal_rank_at_k(Judged.join(lists, gains(q="b")), k=3)["q"] == 1 / 3


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([("q", "a", 1), ("q", "b", 1)], "query q has rank 1 twice or under 1"),
        ([("q", "a", 0)], "query q has rank 0 twice or under 1"),
        ([("q", "a", 1), ("q", "a", 2)], "ranked: query q has item a twice"),
        ([("q", "a", 1.5)], "ranks are float64; expected integers"),
    ],
)
def test_malformed_lists_are_refused(lists, message):
    with pytest.raises(ContractError, match=message):
        Judged.join(pd.DataFrame(lists, columns=["query_id", "item_id", "rank"]), gains(q="a"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("q", "a", -1.0)], r"gains: query q, item a gains -1.0; expected >= 0"),
        ([("q", "a", np.nan)], r"gains: query q, item a gains nan; expected >= 0"),
        ([("q", "a", 1.0), ("q", "a", 1.0)], "gains: query q has item a twice"),
    ],
)
def test_malformed_gains_are_refused(rows, message):
    with pytest.raises(ContractError, match=message):
        Judged.join(ranked(q="a"), pd.DataFrame(rows, columns=["query_id", "item_id", "gain"]))


def test_rank_may_repeat_over_queries():
    assert recall_at_k(Judged.join(ranked(q="a", r="a"), gains(q="a", r="a")), k=1).tolist() == [1.0, 1.0]


codes = st.lists(st.integers(0, 12), unique=True, max_size=10).map(lambda found: np.array(found, np.int64))
worlds = st.lists(st.tuples(codes, codes), min_size=1, max_size=6)


def frames(world) -> tuple[pd.DataFrame, pd.DataFrame]:
    lists = [(f"q{row}", str(c), rank) for row, (items, _) in enumerate(world) for rank, c in enumerate(items, 1)]
    wanted = [(f"q{row}", str(c), 1.0) for row, (_, found) in enumerate(world) for c in found]
    wanted += [(f"q{row}", "never listed", 0.0) for row in range(len(world))]
    return (
        pd.DataFrame(lists, columns=["query_id", "item_id", "rank"]).astype({"rank": int}),
        pd.DataFrame(wanted, columns=["query_id", "item_id", "gain"]),
    )


def of_lists(world) -> Judged:
    return Judged.of_lists([f"q{row}" for row in range(len(world))], *map(list, zip(*world, strict=True)))


@settings(deadline=None, max_examples=60)
@given(world=worlds, k=st.integers(1, 15))
def test_every_metric_lies_between_zero_and_one(world, k):
    for values in all_metrics(of_lists(world), [k]).values():
        known = values[~np.isnan(values)]
        assert ((known >= 0) & (known <= 1 + 1e-12)).all()


@settings(deadline=None, max_examples=40)
@given(world=worlds, k=st.integers(1, 15), seed=st.integers(0, 9))
def test_order_of_the_rows_does_not_matter(world, k, seed):
    lists, wanted = frames(world)
    shuffled = Judged.join(lists.sample(frac=1, random_state=seed), wanted.sample(frac=1, random_state=seed))
    for name, values in all_metrics(Judged.join(lists, wanted), [k]).items():
        np.testing.assert_allclose(all_metrics(shuffled, [k])[name], values)


@settings(deadline=None, max_examples=40)
@given(world=worlds, k=st.integers(1, 15))
def test_codes_and_frames_give_the_same_values(world, k):
    by_frames = all_metrics(Judged.join(*frames(world)), [k])
    for name, values in all_metrics(of_lists(world), [k]).items():
        np.testing.assert_allclose(values, by_frames[name])


@settings(deadline=None, max_examples=60)
@given(world=worlds, k=st.integers(1, 14))
def test_recall_hit_rate_and_reciprocal_rank_never_fall_with_k(world, k):
    judged = of_lists(world)
    for metric in (recall_at_k, hit_rate_at_k, reciprocal_rank_at_k):
        shorter, longer = (metric(judged, k=size).dropna() for size in (k, k + 1))
        assert (longer >= shorter).all()


@settings(deadline=None, max_examples=60)
@given(world=worlds)
def test_membership_of_all_rows_at_once_is_that_of_each_row(world):
    lists, sets = map(list, zip(*world, strict=True))
    for found, items, wanted in zip(are_in(lists, sets), lists, sets, strict=True):
        assert found.tolist() == [code in set(wanted.tolist()) for code in items.tolist()]


def test_lists_without_their_sets_are_refused():
    with pytest.raises(ContractError, match="1 lists and 0 sets"):
        are_in([np.array([1])], [])


def test_mean_squared_error_is_the_mean_of_squares():
    assert mean_squared_error(np.array([0.8, 0.4]), np.array([1.0, 0.0])) == pytest.approx((0.2**2 + 0.4**2) / 2)


def test_log_loss_is_the_mean_negative_log_likelihood():
    assert log_loss(np.array([0.8, 0.4]), np.array([1.0, 0.0])) == pytest.approx(-(log(0.8) + log(0.6)) / 2)


def test_log_loss_of_a_certain_mistake_is_large_and_finite():
    assert log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(-log(1e-15))


@pytest.mark.parametrize("measure", [mean_squared_error, log_loss, calibration])
def test_scores_that_are_no_probabilities_are_refused(measure):
    with pytest.raises(ContractError, match=r"1 of 2 are outside \[0, 1\], the first is 1.5.*binary:logistic"):
        measure(np.array([0.5, 1.5]), np.array([0.0, 1.0]))


def test_calibration_compares_each_bins_mean_with_its_share_of_positives():
    found = calibration(np.array([0.1, 0.3, 0.6, 0.8]), np.array([0.0, 1.0, 1.0, 1.0]), bins=2)
    assert found.predicted == pytest.approx(((0.1 + 0.3) / 2, (0.6 + 0.8) / 2))
    assert found.observed == (1 / 2, 1.0)
    assert found.counts == (2, 2)
    assert found.error == pytest.approx((2 * abs(0.2 - 0.5) + 2 * abs(0.7 - 1.0)) / 4)


def test_calibration_keeps_tied_probabilities_in_one_bin():
    labels = np.array([1.0, 1.0, 0.0, 0.0])  # split by position, the bins would be off by 0.5 each
    found = calibration(np.full(4, 0.5), labels, bins=2)
    assert found.counts == (4,)
    assert found.error == 0.0


def test_calibration_of_fewer_rows_than_bins_has_a_bin_per_row():
    assert calibration(np.array([0.2, 0.9]), np.array([0.0, 1.0]), bins=10).counts == (1, 1)


def test_calibration_of_nothing_is_nan():
    found = calibration(np.empty(0), np.empty(0))
    assert found.counts == ()
    assert np.isnan(found.error)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40),
    bins=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_calibration_does_not_depend_on_the_rows_order(rows, bins, seed):
    p, y = np.array([row[0] / 10 for row in rows]), np.array([float(row[1]) for row in rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    found, shuffled = calibration(p, y, bins=bins), calibration(p[order], y[order], bins=bins)
    assert sum(found.counts) == len(rows)
    assert found.counts == shuffled.counts
    assert found.error == pytest.approx(shuffled.error)
    assert 0 <= found.error <= 1


def test_coverage_counts_distinct_items_over_the_catalogue():
    assert catalogue_coverage([np.array([0, 1]), np.array([1, 2])], items=6) == 3 / 6


def test_coverage_without_lists_is_zero_and_without_catalogue_nan():
    assert catalogue_coverage([], items=6) == 0.0
    assert np.isnan(catalogue_coverage([], items=0))


def test_novelty_is_the_mean_self_information_in_bits():
    assert novelty([np.array([0, 1])], np.array([0.5, 0.125])).tolist() == [(1 + 3) / 2]


def test_item_that_nobody_took_is_half_as_popular_as_the_least_popular():
    assert novelty([np.array([1])], np.array([0.25, 0.0])).tolist() == [3.0]  # -log2(0.25 / 2)


def test_novelty_of_an_empty_list_is_nan():
    assert np.isnan(novelty([np.empty(0, int)], np.array([0.5]))).all()


def test_diversity_is_the_share_of_pairs_of_different_categories():
    lists = [np.array([0, 1, 2])]  # pairs: same, different, different
    assert intra_list_diversity(lists, np.array([7, 7, 8])).tolist() == pytest.approx([2 / 3])


def test_diversity_leaves_items_of_unknown_category_out():
    found = intra_list_diversity([np.array([0, 1, 2, 3])], np.array([7, 8, -1, -1]))
    assert found.tolist() == [1.0]


def test_diversity_of_a_list_of_one_is_nan():
    assert np.isnan(intra_list_diversity([np.array([0])], np.array([7]))).all()


def test_label_is_as_people_write_it():
    assert [metric_label(key) for key in ("ndcg_at_10", "hit_rate_at_5")] == ["NDCG@10", "Hit rate@5"]


def test_miscalibration_is_the_divergence_of_the_lists_categories_from_the_historys():
    codes = np.array([0, 0, 1, -1])
    lists = [np.array([0, 2]), np.array([0, 1]), np.array([3]), np.array([0])]
    known = [np.array([1, 2]), np.array([1, 2]), np.array([0]), np.array([], int)]
    weights = [np.ones(len(items)) for items in known]
    skewed = 0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005)  # shares (0.99 + 0.005, 0.005)
    found = miscalibration(lists, known, weights, codes)
    assert found[:2] == pytest.approx([0, skewed])
    assert np.isnan(found[2:]).all()


def test_popularity_lift_is_the_ratio_of_means_minus_one():
    share = np.array([0.4, 0.2, 0.1])
    lists, known = [np.array([0, 1]), np.array([0])], [np.array([1, 2]), np.array([], int)]
    weights = [np.array([3.0, 1.0]), np.array([])]
    assert popularity_lift(lists, known, weights, share) == pytest.approx(0.3 / 0.175 - 1)  # (3*0.2 + 0.1) / 4
    assert np.isnan(popularity_lift(lists, [np.array([], int)] * 2, [np.array([])] * 2, share))


def test_exposure_gini_goes_from_equal_to_one_item():
    assert exposure_gini([np.array([0, 1]), np.array([2, 3])], items=4) == pytest.approx(0)
    assert exposure_gini([np.array([0]), np.array([0])], items=4) == pytest.approx(3 / 4)  # 1 - 1/n
    assert np.isnan(exposure_gini([], items=4))
