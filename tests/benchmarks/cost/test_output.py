import math
from dataclasses import replace

import pytest

from benchmarks.cost.output import TOTAL, exponents, markdown, read_results, rows, write_results
from benchmarks.cost.run import SizeResult
from benchmarks.cost.usage import GIB, StepUsage


def result(interactions: int, **seconds: float) -> SizeResult:
    steps = {name: StepUsage(value, 2 * value, int(value * GIB)) for name, value in seconds.items()}
    return SizeResult(interactions, 100, steps, searched=8, ndcg_at_10=0.3, passed=True)


RESULTS = {1_000: result(1_000, ingest=1.0, train=4.0), 10_000: result(10_000, ingest=10.0, train=4.0)}


def test_ten_times_the_seconds_for_ten_times_the_data_is_exponent_one_and_the_same_seconds_zero():
    assert exponents(RESULTS, "ingest") == [pytest.approx(1.0)]
    assert exponents(RESULTS, "train") == [pytest.approx(0.0)]
    # 1 + 4 = 5 s and 10 + 4 = 14 s: log10(14 / 5)
    assert exponents(RESULTS, TOTAL) == [pytest.approx(math.log10(14 / 5))]


def test_peak_of_all_steps_is_the_largest_and_their_seconds_add_up():
    assert rows(RESULTS)[-1] == [TOTAL, "5.0 · 10.0 · 4.00", "14.0 · 28.0 · 10.00", "0.45"]


def test_step_that_a_size_lacks_is_not_run_and_has_no_exponent():
    shown = rows({1_000: result(1_000, ingest=1.0), 10_000: result(10_000, ingest=1.0, tune=3.0)})
    assert shown[1] == ["tune", "not run", "3.0 · 6.0 · 3.00", ""]


def test_search_is_no_part_of_the_sum_and_not_run_where_it_had_no_trial():
    searched = result(1_000, **{"ingest": 2.0, "tune-ranker": 9.0})
    without = replace(searched, searched=0)
    assert rows({1_000: searched})[1:] == [["tune-ranker", "9.0 · 18.0 · 9.00"], [TOTAL, "2.0 · 4.0 · 2.00"]]
    assert rows({1_000: without})[1][1] == "not run"
    assert searched.seconds == 2.0 + 9.0


def test_results_are_read_back_and_the_page_holds_a_plot(tmp_path):
    write_results(RESULTS, tmp_path)
    assert read_results(tmp_path) == RESULTS
    assert (tmp_path / "COST.md").read_text() == markdown(RESULTS)
    assert "Plotly.newPlot" in (tmp_path / "results.html").read_text()


def test_nothing_is_read_where_nothing_was_written(tmp_path):
    assert read_results(tmp_path) == {}
