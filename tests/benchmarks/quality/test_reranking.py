"""The price of variety, measured on the toy world."""

import json

import pytest

from benchmarks.quality.moments import TrainedCut, asked_moment, read_interactions
from benchmarks.quality.reranking import METHODS, STRENGTHS, measure, write
from components.artifacts.bundle import load_bundle


@pytest.fixture(scope="module")
def asked(trained):
    cut = TrainedCut(trained.config, trained.home, load_bundle(trained.run.bundle), 1.0)
    return cut, asked_moment(cut, read_interactions(cut))


def test_curve_begins_at_the_ranking_and_ends_with_more_variety(asked, tmp_path):
    settings = measure(*asked)
    assert len(settings) == 1 + len(METHODS) * len(STRENGTHS)
    first, by_name = settings[0], {one.name: one for one in settings}
    assert first.name == "as ranked"
    assert (first.difference.mean, first.difference.low, first.difference.high) == (0, 0, 0)
    assert by_name["mmr 0.9"].figures["diversity"].mean > first.figures["diversity"].mean
    nearest = by_name["calibrated 0.9"].figures["miscalibration_nats"].mean
    assert nearest < first.figures["miscalibration_nats"].mean
    write(settings, *asked, tmp_path)
    content = json.loads((tmp_path / "reranking.json").read_text())
    assert content["queries"] == len(asked[1].queries)
    assert f"{first.figures['ndcg_at_10'].mean:.4f}" in (tmp_path / "RERANKING.md").read_text()
    assert "calibrated" in (tmp_path / "reranking.html").read_text()
