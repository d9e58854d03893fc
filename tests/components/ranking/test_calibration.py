import json
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.errors import ContractError
from components.ranking.calibration import ProbabilityMap

MARGINS = np.linspace(-30, 30, 61)


def drawn(true: ProbabilityMap, rows: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and labels that a known map says the odds of."""
    rng = np.random.default_rng(0)
    margins = rng.normal(-2, 2, rows)
    return margins, (rng.random(rows) < true.of(margins)).astype(np.float32)


def test_map_of_the_same_slopes_is_a_logistic_curve():
    [found] = ProbabilityMap(2.0, 2.0, 1.0).of(np.array([0.5]))
    assert found == pytest.approx(1 / (1 + exp(-(2 * 0.5 + 1))))  # ln s - ln(1 - s) is the margin


def test_map_that_generated_the_labels_is_found_again():
    true = ProbabilityMap(1.5, 0.7, -1.0)
    found = ProbabilityMap.fit(*drawn(true))
    assert [found.rise, found.fall, found.intercept] == pytest.approx([1.5, 0.7, -1.0], abs=0.1)


def test_mean_probability_is_the_base_rate_of_the_rows():
    margins, labels = drawn(ProbabilityMap(1.0, 1.0, -3.0))
    assert ProbabilityMap.fit(margins, labels).of(margins).mean() == pytest.approx(labels.mean(), rel=1e-4)


def test_score_that_orders_backwards_gives_everyone_the_base_rate():
    margins, labels = drawn(ProbabilityMap(1.0, 1.0, 0.0))
    found = ProbabilityMap.fit(-margins, labels)
    assert (found.rise, found.fall) == (0.0, 0.0)
    taken, missed = labels.sum() + 0.5, (1 - labels).sum() + 0.5
    assert found.intercept == pytest.approx(log(taken / missed))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_rows_of_one_kind_give_no_certainty(label):
    found = ProbabilityMap.fit(np.array([0.0, 1.0]), np.full(2, label)).of(MARGINS)
    assert found == pytest.approx(np.full(len(MARGINS), (2 * label + 0.5) / 3))  # half a row of each kind


@given(st.floats(0, 5), st.floats(0, 5), st.floats(-10, 10))
def test_probabilities_never_fall_and_lie_between_0_and_1(rise, fall, intercept):
    found = ProbabilityMap(rise, fall, intercept).of(MARGINS)
    assert np.all(np.diff(found) >= -1e-12)
    assert np.all((found >= 0) & (found <= 1))


def test_rows_order_does_not_matter():
    margins, labels = drawn(ProbabilityMap(1.0, 1.0, -1.0), 500)
    there, back = ProbabilityMap.fit(margins, labels), ProbabilityMap.fit(margins[::-1], labels[::-1])
    assert there.of(MARGINS) == pytest.approx(back.of(MARGINS), rel=1e-6)


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(ContractError, match="no candidate to fit on; expected the lists of the validation cut"):
        ProbabilityMap.fit(np.empty(0), np.empty(0))


def test_map_survives_the_disk(tmp_path):
    one = ProbabilityMap(1.25, 0.1, -3.0000000001)
    one.write(tmp_path / "map.json")
    assert ProbabilityMap.read(tmp_path / "map.json") == one


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rise": 1.0, "fall": 1.0}, "no map from scores to probabilities .*intercept"),
        ({"rise": -1.0, "fall": 1.0, "intercept": 0.0}, "expected finite numbers, rise and fall not under 0"),
        ({"rise": 1.0, "fall": float("nan"), "intercept": 0.0}, "expected finite numbers"),
        ({"rise": "much", "fall": 1.0, "intercept": 0.0}, "no map from scores to probabilities"),
    ],
)
def test_broken_map_is_refused(tmp_path, content, message):
    (tmp_path / "map.json").write_text(json.dumps(content))
    with pytest.raises(ContractError, match=message):
        ProbabilityMap.read(tmp_path / "map.json")
