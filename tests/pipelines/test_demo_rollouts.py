"""What the demo's rollouts begin with; tests/e2e runs them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts.cuts import parse_moment
from feature_repo.store import apply, open_store
from pipelines.demo import REPLAYED_WEEKS
from pipelines.demo_rollouts import APART, DAYS, HOUSEHOLDS, TRIALS, rollout_config, shop_home


def test_rollouts_fit_into_the_replayed_weeks_and_each_trial_is_configured_by_its_name():
    names = [trial.name for trial in TRIALS]
    assert list(DAYS) == list(HOUSEHOLDS) == names
    assert set(APART) <= set(names)
    assert 1 + sum(DAYS.values()) <= 7 * (REPLAYED_WEEKS + 1)  # the first day is the champion's alone


def test_only_the_worse_candidate_may_have_nothing_of_the_champions_lists():
    judged_apart = {name for name, changes in APART.items() if "least_overlap" in changes}
    assert judged_apart == {"worse"}
    assert rollout_config().least_overlap > 0


def test_shop_knows_no_later_snapshot_and_reads_its_own(tmp_path: Path):
    home = tmp_path / "demo"
    apply(home)
    snapshots = home / "offline" / "user_stats"
    snapshots.mkdir(parents=True)
    for day in ("20171106", "20171113", "20171120"):
        pq.write_table(pa.table({"user_id": ["1"]}), snapshots / f"{day}T000000Z.parquet")
    (home / "logs").mkdir()

    folder = shop_home(home, parse_moment("2017-11-13"))
    assert folder == home / "shop"
    kept = sorted(path.name for path in (folder / "offline" / "user_stats").iterdir())
    assert kept == ["20171106T000000Z.parquet", "20171113T000000Z.parquet"]
    assert not (folder / "logs").exists()
    source = open_store(folder).get_feature_view("user_stats").batch_source.path
    assert Path(source).is_relative_to(folder), source
