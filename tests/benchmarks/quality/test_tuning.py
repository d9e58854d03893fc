import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality.tuning import Subject, main, measure, newest, parser, setting
from benchmarks.quality.tuning_report import Gap, Result, Run, curves_svg, markdown, verdict
from components.artifacts.errors import NotFoundError
from components.tuning.search_space import Float

SPACE = {"x": Float(-1.0, 1.0)}


def subject() -> Subject:
    return Subject(
        "toy",
        "score",
        SPACE,
        {"x": -0.9},
        lambda params, _report: -((params["x"] - 0.3) ** 2),
        lambda params: params["x"],
    )


def result(tpe: list[float], random: list[float], default: float = 0.5) -> Result:
    runs = [
        Run(sampler, seed, (default, value), {}, value, 0, 1.0)
        for sampler, values in (("tpe", tpe), ("random", random))
        for seed, value in enumerate(values)
    ]
    return Result("toy", "score", default, default, tuple(runs))


def test_both_samplers_begin_with_the_defaults_and_have_the_same_budget():
    found = measure(subject(), trials=6, seeds=2, clock=lambda: 0.0)
    assert [(run.sampler, run.seed) for run in found.runs] == [("tpe", 0), ("random", 0), ("tpe", 1), ("random", 1)]
    assert {len(run.best_so_far) for run in found.runs} == {6}
    assert [run.best_so_far[0] for run in found.runs] == [pytest.approx(-(1.2**2))] * 4
    assert (found.default_validation, found.default_test) == (pytest.approx(-(1.2**2)), -0.9)
    for run in found.runs:
        assert list(run.best_so_far) == sorted(run.best_so_far)
        assert run.test == run.params["x"]


def test_what_a_pruned_trial_told_on_its_way_is_no_score():
    """Early values are of another scale here, as those of a logistic stage are, which thinned rows judge."""

    def objective(params, report):
        for step in range(20, 40):
            report(step, 10 + params["x"])
        return params["x"]

    found = measure(replace(subject(), objective=objective), trials=12, seeds=1, clock=lambda: 0.0)
    assert sum(run.pruned for run in found.runs) > 0
    assert max(max(run.best_so_far) for run in found.runs) <= 1.0


def test_interval_of_the_seeds_is_students():
    """Mean 0.2, standard deviation 0.1, five seeds: 2.776 * 0.1 / sqrt(5) = 0.124."""
    gap = Gap.of(np.array([0.1, 0.2, 0.3, 0.2 - np.sqrt(0.01), 0.2 + np.sqrt(0.01)]))
    assert gap.mean == pytest.approx(0.2)
    assert gap.high - gap.mean == pytest.approx(2.776 * 0.1 / np.sqrt(5), abs=1e-3)
    assert np.isnan(Gap.of(np.array([0.1])).low)


def test_verdict_says_plainly_where_random_search_is_as_good():
    same = verdict(result([0.70, 0.69, 0.71], [0.70, 0.71, 0.69]))
    assert "better than the defaults, not surely different from random search" in same
    assert "better than random search" in verdict(result([0.7, 0.7, 0.71], [0.6, 0.6, 0.6]))
    assert "worse than random search" in verdict(result([0.6, 0.6, 0.61], [0.7, 0.7, 0.7]))


def test_every_model_is_searched_on_what_a_training_run_left(trained, tmp_path):
    command = ["--config", str(trained.config_path), "--home", str(trained.home), "--out", str(tmp_path)]
    assert main([*command, "--trials", "2", "--seeds", "2"]) == 0
    models = {one["name"]: one for one in json.loads((tmp_path / "tuning.json").read_text())["models"]}
    assert set(models) == {"user_neighbours", "covisitation", "rp3beta", "popular_in_context", "ranker"}
    assert all(len(one["runs"]) == 4 and 0 < one["default_test"] <= 1 for one in models.values())
    page = (tmp_path / "TUNING.md").read_text()
    assert "| ranker (NDCG@10) |" in page
    assert "searched on the cut of 2024-04-08, judged once more on that\nof 2024-04-15" in page  # weeks 14 and 15


def test_table_shows_the_mean_curve_of_each_sampler(trained):
    options = parser().parse_args(["--trials", "2", "--seeds", "2"])
    page = markdown([result([0.6, 0.8], [0.5, 0.6])], setting(trained.config, options))
    assert "| toy | tpe | 0.5000 | 0.7000 |" in page  # (0.6 + 0.8) / 2
    assert "| toy | random | 0.5000 | 0.5500 |" in page


def test_plot_rises_from_the_default_to_the_best_mean():
    plot = curves_svg([result([0.6, 0.8], [0.5, 0.6])])
    assert plot.count("<polyline") == 2
    assert ">0.7000</text>" in plot  # (0.6 + 0.8) / 2
    assert ">0.5000</text>" in plot


def test_home_without_a_training_is_refused(tmp_path):
    with pytest.raises(
        NotFoundError, match=r"no ingest-events/events among its artifacts. Run `recsys train run` first"
    ):
        newest(tmp_path, "ingest-events/events")
