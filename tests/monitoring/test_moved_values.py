"""Which values moved, in words."""

from dataclasses import replace

from monitoring.moved_values import moved_values, own_past
from monitoring.stability_index import bin_name
from monitoring.verdict import FeatureFinding, State
from tests.monitoring.test_stability_index import bins_of

FINDING = FeatureFinding(
    name="user_sessions_90d", state=State.WARN, importance=0.4, score=0.2, threshold=0.1, threshold_source="noise",
    direction="up", reference_median=1.0, current_median=2.0, reference_null_share=0.0, current_null_share=0.0,
    null_threshold=0.05, out_of_range_share=0.0, users=900, reason="moved", edges=(3.0, 12.0),
    reference_shares=(0.5, 0.269, 0.2, 0.031), current_shares=(0.5, 0.206, 0.2, 0.094),
)  # fmt: skip


def test_values_are_told_by_what_they_add_to_the_index_until_they_make_up_half_of_it():
    # missing: (.094 - .031) ln(.094 / .031) = .070; 3 to 12: (.269 - .206) ln(.269 / .206) = .017; the others did not move
    assert moved_values(FINDING) == "missing: 3.1 % → 9.4 %"


def test_three_values_are_told_at_most():
    spread = replace(
        FINDING, edges=(1.0, 2.0, 3.0), reference_shares=(0.2,) * 5, current_shares=(0.3, 0.3, 0.1, 0.1, 0.2)
    )
    # .1 ln(.2 / .1) = .069 twice, .1 ln(.3 / .2) = .041 twice: half of .220 is made up by two
    assert moved_values(spread) == "2 to 3: 20 % → 10 %; 3 or more: 20 % → 10 %"
    even_spread = replace(spread, current_shares=(0.1, 0.1, 0.1, 0.1, 0.6))
    assert moved_values(even_spread).count("→") == 1  # .4 ln 3 = .439 of .716
    many = replace(
        FINDING, edges=tuple(map(float, range(1, 9))), reference_shares=(0.1,) * 10, current_shares=(0.15, 0.05) * 5
    )
    assert moved_values(many).count("→") == 3


def test_nothing_moved_and_nothing_measured_say_nothing():
    assert moved_values(replace(FINDING, current_shares=FINDING.reference_shares)) == ""
    assert moved_values(replace(FINDING, reference_shares=(), current_shares=())) == ""
    assert own_past(FINDING) == ""  # its own windows are too few


def test_bin_that_is_furthest_from_its_own_past_is_told_with_what_was_usual():
    known = replace(FINDING, moved_bin=1, moved_bin_z=5.07, moved_bin_usual=0.31)
    assert own_past(known) == "3 to 12: usually 31 %, now 21 % (5.1 standard errors)"


def test_flag_has_a_bin_of_its_one_value_and_one_above_it():
    flag = [0.0] * 50 + [1.0] * 51  # quantiles of 101 values are values
    bins = bins_of(flag)
    assert [bin_name(bins.upper_edges, place) for place in range(bins.size)] == [
        "under 0",
        "0 to 1",
        "1",
        "over 1",
        "missing",
    ]
