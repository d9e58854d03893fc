"""The page says what the figures say, needs nothing from elsewhere, and is the same for the same figures."""

import re
from dataclasses import replace

import pytest

from components.artifacts.manifest import BundleFacts, Manifest
from components.evaluate_bundle.config import GateConfig
from components.evaluate_bundle.gate import decide_gate
from components.evaluate_bundle.report import COLOURS, headline, render_report
from tests.components.evaluate_bundle.judged_world import made_up_evaluation, made_up_lists

MEGABYTE = 1_000_000


def manifest(bundle_id: str = "b-0123456789ab") -> Manifest:
    facts = BundleFacts(
        "2017-10-30T00:00:00+00:00", "2017-01-01T00:00:00+00:00", "2017-10-30T00:00:00+00:00", 1_234_567, 0, {}, {}, "c"
    )
    return Manifest(bundle_id, 1, "ranker_v1", "h", (), {}, "3.2.0", facts, {})


def page(found=None, *, min_queries: int = 1, **changes: str) -> str:
    found = found or made_up_evaluation()
    return render_report(manifest(**changes), found, decide_gate(found, GateConfig(min_queries=min_queries)))


@pytest.fixture(scope="module")
def html() -> str:
    return page()


def text_of(html: str) -> str:
    """What a reader sees, without scripts, styles and tags."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL))


def test_headline_and_verdict_come_first(html):
    text = text_of(html)
    assert text.index("on popularity") < text.index("gate passed") < text.index("Every system on the same queries")


def test_headline_compares_with_popularity_and_the_best_retriever():
    found = made_up_evaluation()
    ours, popular, single = (
        found.systems[name]["ndcg_at_10"].mean for name in ("two_stage", "popularity", "covisitation")
    )
    assert headline(found) == (
        f"NDCG@10 {ours:.4f}: {ours / popular - 1:+.1%} on popularity, "
        f"{ours / single - 1:+.1%} on the best single retriever (Co-visitation)"
    )


def test_headline_against_a_popularity_without_any_hit_has_no_ratio():
    lists = made_up_lists(systems=("two_stage", "content"))
    lists.systems["popularity"] = lists.systems.pop("content")
    assert headline(made_up_evaluation(lists)) == "NDCG@10 1.0000: popularity has none"


def test_every_mean_and_interval_stands_in_the_table(html):
    text = text_of(html)
    for metrics in made_up_evaluation().systems.values():
        for one in metrics.values():
            assert f"{one.mean:.4f}" in text
            assert f"{one.low:.4f} to {one.high:.4f}" in text


def test_every_slice_and_difference_stands_on_the_page(html):
    found, text = made_up_evaluation(), text_of(html)
    for name, part in found.slices.items():
        assert name in text
        assert f"{part['queries']:,} queries" in text
    assert f"{found.differences['popularity']['ndcg_at_10'].mean:+.4f}" in text


def test_data_window_champion_and_definitions_stand_at_the_end(html):
    text = text_of(html)
    assert "1,234,567 interactions from 2017-01-01 to 2017-10-30" in text
    assert "no champion yet" in text
    assert "Percentile bootstrap over users" in text


def test_refusal_is_shown_as_one():
    assert "gate refused" in text_of(page(min_queries=10_000))


def test_probability_is_shown_with_its_calibration():
    found = made_up_evaluation(made_up_lists(with_probabilities=True))
    assert "expected calibration error 0.25000 of all candidates and 0.25000 of the first 10" in text_of(page(found))
    assert "no calibration is reported" in text_of(page())


def test_slice_without_queries_is_a_dash():
    lists = made_up_lists()
    lists.cold_items = lists.cold_items[:0]
    assert re.search(r"items that nobody had taken\s+0 queries\s+-", text_of(page(made_up_evaluation(lists))))


def test_figure_that_nobody_knows_is_a_dash_and_nothing_is_plain_nothing():
    found = made_up_evaluation()
    beyond = {
        name: values | {"diversity": float("nan"), "miscalibration_nats": float("nan"), "popularity_lift": -0.001}
        for name, values in found.beyond.items()
    }
    said = text_of(page(replace(found, beyond=beyond)))
    assert re.search(
        r"First 10 items.*Exposure gini\s+Two-stage \(this bundle\)\s+[\d.]+%\s+[\d.]+\s+-\s+-\s+0%\s", said, re.S
    )
    assert not re.search(r"\bnan\b", said)


def test_system_has_one_colour_in_every_chart_and_none_of_anothers(html):
    drawn = {
        name: set(
            re.findall(rf'"(?:line|marker)":\{{"color":"(#\w+)"[^}}]*\}}[^{{}}]*?"name":"{re.escape(name)}"', html)
        )
        for name in ("Two-stage (this bundle)", "Popularity", "Co-visitation", "Content (new items)")
    }
    assert all(len(colours) == 1 for colours in drawn.values()), drawn
    assert len(set.union(*drawn.values())) == len(drawn)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_page_needs_nothing_from_elsewhere_and_brings_plotly_once(html):
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)=["']?https?:""", html)
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert len(html.encode()) < 6 * MEGABYTE


def test_same_figures_give_the_same_page(html):
    assert page() == html


def test_names_are_escaped():
    assert "<b>x" not in page(bundle_id="<b>x")
