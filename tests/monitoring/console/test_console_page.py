"""What the operator's page says of a state folder."""

import json
import re
import subprocess
import sys
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest

from components.artifacts.registry import open_registry
from monitoring import history
from monitoring.console.page import console_page, summary, write_console
from monitoring.console.state import ModelState, read_states
from monitoring.verdict import Check, Group, State
from tests.monitoring.console.homes import FRESH, MODEL, NOW, WEEK, eventful, verdict


@pytest.fixture
def registered(tmp_path: Path, bundle: tuple[Path, str]) -> Path:
    """A state folder with a champion and nothing else."""
    registry = open_registry(tmp_path)
    registry.publish(MODEL, bundle[0], None, now=NOW)
    registry.point(MODEL, "champion", bundle[1], reason="first of all", now=NOW)
    return tmp_path


def state_of(home: Path, **later: float) -> ModelState:
    (found,) = read_states(home, now=NOW + timedelta(**later))
    return found


def page_of(home: Path) -> str:
    return console_page(home, now=NOW, files="files/", people="users")


def text_of(page: str) -> str:
    """What people read."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.partition("</head>")[2])))  # no-break spaces too


def test_model_that_was_never_judged_is_not_green_and_says_what_to_do(registered):
    state = state_of(registered)
    assert state.state is State.INSUFFICIENT
    assert "no window of it was judged yet: `recsys monitor run` judges one" in state.sentence
    assert "first of all" in text_of(page_of(registered))


def test_verdict_of_the_champion_is_the_models_state(registered, bundle):
    history.append(registered, verdict(FRESH, bundle_id=bundle[1]))
    assert state_of(registered).state is State.OK
    assert state_of(registered).sentence.startswith("2026-03-02 to 2026-03-08: ")


def test_verdict_of_another_bundle_is_not_the_champions(registered):
    history.append(registered, verdict(FRESH, bundle_id="b-before"))
    assert state_of(registered).state is State.LEARNING
    assert "was not judged yet. Of b-before, " in state_of(registered).sentence


def test_good_verdict_that_was_forgotten_is_stale_two_days_after_the_next_was_due(registered, bundle):
    history.append(registered, verdict(FRESH, bundle_id=bundle[1]))
    assert state_of(registered, days=7 + 2).state is State.OK
    assert state_of(registered, days=7 + 2, seconds=1).state is State.STALE
    assert state_of(registered, days=10).sentence.startswith("Nothing was judged for 10 days: `recsys monitor run` ")


def test_model_without_a_champion_is_named_where_it_was_judged(tmp_path):
    assert state_of(eventful(tmp_path)).sentence == "There is no champion: train one with `recsys train run`."


def test_empty_folder_says_so(tmp_path):
    assert "No model is registered or was judged" in page_of(tmp_path)
    assert list(tmp_path.iterdir()) == []  # to look changes nothing


def test_page_has_the_seven_cards_in_their_order(tmp_path):
    titles = re.findall(r"<h3[^>]*>([^<]+)</h3>", page_of(eventful(tmp_path)))
    assert titles == ["Data and freshness", "Quality", "Business", "Drift", "Experiments", "Canary", "Retraining"]


def test_business_card_has_each_figure_its_goal_and_a_line_of_what_has_one(tmp_path):
    home = eventful(tmp_path)
    path = home / "monitoring" / "kpis" / f"{MODEL}.json"
    path.parent.mkdir(parents=True)
    weeks = [
        {"name": name, "definition": "d", "start": (NOW - (age + 1) * WEEK).isoformat(), "end": (NOW - age * WEEK).isoformat(),
         "users": 900, "value": 0.03 + age / 100, "low": 0.02, "high": 0.04, "bundles": ["b-old"]}
        for name in ("ctr", "conversion") for age in (1, 0)
    ]  # fmt: skip
    path.write_text(json.dumps({"format_version": 1, "kpis": weeks}))
    missed = Check("kpi:ctr", Group.BUSINESS, State.WARN, "ctr 0.03: surely below the goal of 0.05", 0.03, 0.05)
    history.append(home, verdict(FRESH, missed, weeks=1))
    card = page_of(home).partition('aria-labelledby="business"')[2].partition("</section>")[0]
    assert "surely below the goal of 0.05" in card
    assert card.count("2026-03-02 to 2026-03-08</p>") == 1  # of both figures
    assert "2026-03-02 to 2026-03-08</p><ul><li><b>ctr</b> 0.03 (0.02 to 0.04)</li><li><b>conversion</b>" in card
    assert card.count("<svg") == 1  # of what has a goal


def test_cards_say_what_moved_where_to_what_is_waited_for_and_how_far_the_canary_is(tmp_path):
    said = text_of(page_of(eventful(tmp_path)))
    assert "user_sessions_90d ↑ higher, 40 % of the importance, index 1.25 over 0.10" in said
    assert "users' lists, at training → now: missing: 3.1 % → 9.4 %" in said
    assert "the outcomes of 12 users are known after 7 days" in said
    assert "9,000 impressions of 900 users, 2026-03-02 to 2026-03-08" in said
    assert "410 users at the champion, primary metric 0.1; 401 at the canary, +0.012" in said
    assert "b-new is at ramp 5% of the users (steps 5% → 25% → 50%), since 2026-03-09 00:00 UTC" in said


def test_timeline_has_every_decision_the_skipped_and_the_blocked_too_the_newest_first(tmp_path):
    timeline = page_of(eventful(tmp_path)).partition('class="timeline"')[2]
    acts = re.findall(r'class="act ([^"]+)"', timeline)
    assert [act for act in acts if act in {"launch", "blocked", "skip"}] == ["launch", "blocked", "skip"]
    assert "freshness:feedback is STALE: there is no feedback at all" in timeline
    assert "advance" in acts


def test_launch_opens_to_what_is_known_of_it_afterwards(tmp_path):
    timeline = page_of(eventful(tmp_path)).partition('class="timeline"')[2]
    (facts,) = re.findall(r"<details><summary>before and after</summary>(.*?)</details>", timeline)
    said = text_of(f"</head>{facts}")
    assert "decided 2026-03-09 00:00 launch: drift:features failed: 1 feature with 40 %" in said
    assert "with users rollout spring is ramp 5%" in said
    assert "next recsys rollout status" in said


def test_quiet_checks_are_folded_and_loud_ones_are_open(tmp_path):
    page = page_of(eventful(tmp_path)).partition('class="timeline"')[0]
    folded = "".join(re.findall(r"<details>.*?</details>", page))
    assert "freshness:feedback" in folded
    assert "drift:features" not in folded


def test_only_reports_that_are_there_are_linked(tmp_path):
    links = re.findall(r'href="(files/[^"]+)"', page_of(eventful(tmp_path)))
    assert set(links) == {"files/monitoring/reports/20260302T000000Z-20260309T000000Z-b-old/report.html"}
    for link in links:
        assert (tmp_path / link.removeprefix("files/")).exists()


def test_file_links_reports_from_wherever_it_lies(tmp_path):
    home = eventful(tmp_path / "home")
    for path in (home / "console.html", tmp_path / "elsewhere" / "page.html"):
        write_console(home, path, now=NOW)
        (link,) = set(re.findall(r'href="([^"]+report.html)"', path.read_text()))
        assert (path.parent / link).exists()
        assert "<form" not in path.read_text()  # nobody would answer it


def test_names_from_the_data_are_text_and_nothing_else(tmp_path):
    page = page_of(eventful(tmp_path, name="<script>alert(1)</script>"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_page_needs_nothing_from_elsewhere(tmp_path):
    page = page_of(eventful(tmp_path))
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in page


def test_same_folder_and_moment_give_the_same_bytes(tmp_path):
    assert page_of(eventful(tmp_path)) == page_of(tmp_path)


def test_losses_of_several_windows_are_a_line(tmp_path):
    for weeks, loss in ((-1, 0.02), (0, 0.08)):
        known = Check("quality:ndcg", Group.QUALITY, State.OK, "NDCG@10 is 0.3", loss, 0.1)
        history.append(tmp_path, verdict(known, weeks=weeks))
    page = page_of(tmp_path)
    (points,) = re.findall(r'<polyline points="([^"]+)"', page)
    assert len(points.split()) == 2  # one a window


def test_summary_is_one_line_per_model(tmp_path):
    states = read_states(eventful(tmp_path), now=NOW)
    assert summary(states) == "recommender: INSUFFICIENT There is no champion: train one with `recsys train run`."


def test_builder_writes_the_page_and_imports_nothing_that_renders_or_trains(tmp_path):
    code = (
        "import sys, runpy; sys.argv[1:] = [sys.argv[1]]\n"
        "try: runpy.run_module('monitoring.console', run_name='__main__')\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "assert not {'kfp', 'evidently', 'kserve', 'feast'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(eventful(tmp_path))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Recommender console" in done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("monitoring/kpis/recommender.json", "kpis/recommender.json: not as this version writes them"),
        ("monitoring/decisions.db", "decisions.db: cannot be read or written"),
        ("rollouts/spring.json", "spring.json: not as this version writes it"),
        ("registry/recommender/aliases.json", "the registry's aliases cannot be read"),
    ],
)
def test_damaged_file_is_named_on_the_page_is_never_green_and_hides_nothing_else(tmp_path, name, said):
    path = eventful(tmp_path) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{ damaged" * 20)
    (state,) = read_states(tmp_path, now=NOW)
    text = text_of(page_of(tmp_path))
    assert state.state is State.ERROR
    assert said in text
    assert text.count(said) == 1
    assert f"Not everything could be read: {state.unread[0]}" in summary((state,))
    assert "1 feature with 40 % of the ranker's importance moved" in text
    assert "Retraining" in text


def test_newest_verdict_that_is_damaged_is_an_error_that_says_how_to_repair_it(registered, bundle):
    path = history.append(registered, verdict(FRESH, bundle_id=bundle[1]))
    path.write_text(path.read_text()[:100])
    assert state_of(registered).state is State.ERROR
    assert "2026-03-08 cannot be read" in state_of(registered).sentence
    assert "judge that window again" in text_of(page_of(registered))
