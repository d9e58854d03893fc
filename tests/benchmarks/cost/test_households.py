import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.cost.dataset import dataset_config, write_dataset
from benchmarks.cost.households import MICROSECONDS_PER_WEEK, Lines, RealData, changed, copies
from components.datasets.complete_journey import load_complete_journey
from components.datasets.config import CompleteJourneyConfig, parse_dataset_config
from components.datasets.load import load_dataset, sample

MICROSECONDS_PER_DAY = 86_400 * 1_000_000


@pytest.fixture(scope="module")
def tables():
    return load_complete_journey(CompleteJourneyConfig(adapter="complete_journey"))


@pytest.fixture(scope="module")
def real(tables):
    return RealData.of(tables)


@pytest.fixture(scope="module")
def new(real):
    return changed(real, np.random.default_rng([0, 1]))


def pairs(lines: Lines) -> np.ndarray:
    return lines.households.astype(np.int64) * 1_000_000 + lines.items


def repeat_share(lines: Lines) -> float:
    """Of what a household takes in one of the last twelve weeks, the share that it took in a week before."""
    weeks = (lines.micros - lines.micros.min()) // MICROSECONDS_PER_WEEK
    taken = np.unique(np.stack([pairs(lines), weeks]), axis=1)
    is_repeat = np.concatenate([[False], taken[0, 1:] == taken[0, :-1]])
    return float(is_repeat[taken[1] >= 40].mean())


def gini(counts: np.ndarray) -> float:
    ordered = np.sort(counts)
    places = np.arange(1, len(ordered) + 1)
    return float(2 * (places * ordered).sum() / (len(ordered) * ordered.sum()) - (len(ordered) + 1) / len(ordered))


def shares(codes: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(codes, minlength=size) / len(codes)


def test_new_households_repeat_as_much_as_real_ones(real, new):
    assert repeat_share(real.lines) == pytest.approx(0.47, abs=0.01)
    assert repeat_share(new) == pytest.approx(repeat_share(real.lines), abs=0.01)


def test_popularity_curve_stays_within_a_hundredth_of_gini_and_three_of_the_top(real, new):
    before, after = (np.bincount(lines.items, minlength=len(real.category_of)) for lines in (real.lines, new))
    assert gini(after) == pytest.approx(gini(before), abs=0.01)
    top = [np.sort(counts)[-100:].sum() / counts.sum() for counts in (before, after)]
    assert top[1] == pytest.approx(top[0], abs=0.03)


def test_lines_per_basket_and_per_household_categories_and_stores_are_the_prototypes_own(real, new):
    assert np.array_equal(new.baskets, real.lines.baskets)
    assert np.array_equal(new.households, real.lines.households)
    assert np.array_equal(new.stores, real.lines.stores)
    assert np.array_equal(real.category_of[new.items], real.category_of[real.lines.items])


def test_no_item_stands_twice_on_a_receipt_and_a_household_knows_as_many_as_its_prototype(real, new):
    assert len(np.unique(new.baskets.astype(np.int64) * 1_000_000 + new.items)) == len(new)
    assert len(np.unique(pairs(new))) == len(np.unique(pairs(real.lines)))


def test_new_household_is_no_copy_of_its_prototype(real, new):
    kept = np.isin(pairs(new), pairs(real.lines)).mean()
    assert 0.5 < kept < 0.65
    assert (new.micros == real.lines.micros).mean() < 0.05


def test_hours_and_weekdays_stay_within_half_a_hundredth_and_prices_within_one(real, new):
    hours = [shares(lines.micros // (MICROSECONDS_PER_DAY // 24) % 24, 24) for lines in (real.lines, new)]
    days = [shares(lines.micros // MICROSECONDS_PER_DAY % 7, 7) for lines in (real.lines, new)]
    assert np.abs(hours[1] - hours[0]).max() < 0.005
    assert np.abs(days[1] - days[0]).max() < 0.005
    assert new.money[:, 1].mean() == pytest.approx(real.lines.money[:, 1].mean(), rel=0.01)


def test_baskets_move_as_a_whole_and_stay_within_the_year(real, new):
    moved = new.micros - real.lines.micros
    spread = np.zeros(int(real.lines.baskets.max()) + 1, np.int64)
    spread[real.lines.baskets] = moved
    assert np.array_equal(spread[real.lines.baskets], moved)
    assert new.micros.min() >= real.lines.micros.min()
    assert new.micros.max() <= real.lines.micros.max()


def test_tenth_is_real_households_and_more_than_all_begins_with_the_real_data(real):
    [tenth] = copies(real, 150_000, seed=0)
    assert 0.97 * 150_000 < len(tenth) <= 150_000
    assert np.isin(pairs(tenth), pairs(real.lines)).all()
    whole, part = copies(real, len(real.lines) + 50_000, seed=0)
    assert len(whole) == len(real.lines)
    assert 0.9 * 50_000 < len(part) <= 50_000


def test_written_files_are_read_by_the_tables_adapter_and_are_the_same_for_the_same_seed(tables, tmp_path):
    small = sample(tables, 0.05)
    size = small.interactions.num_rows + 20_000
    written = [write_dataset(small, tmp_path / name, size, seed=3) for name in ("a", "b")]
    assert (tmp_path / "a" / "lines-001.parquet").read_bytes() == (tmp_path / "b" / "lines-001.parquet").read_bytes()
    read = load_dataset(parse_dataset_config(dataset_config(tmp_path / "a", "households")))
    assert read.interactions.num_rows == written[0]
    assert read.items.num_rows == small.items.num_rows
    assert set(read.interactions["user_id"].to_pylist()) == set(read.users["user_id"].to_pylist())
    assert len(read.interactions["event_id"].unique()) == written[0]
    assert pa.types.is_timestamp(pq.read_schema(tmp_path / "a" / "lines-000.parquet").field("at").type)
