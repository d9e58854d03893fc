"""Predicted ratings, by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks.quality import ratings
from benchmarks.quality.ratings import PREDICTORS, rating_errors
from components.artifacts.cuts import Cuts, SplitConfig
from components.artifacts.tables import conform
from components.evaluate_bundle.config import EvaluationConfig

CUT = datetime(2024, 3, 1, tzinfo=UTC)
SPLIT = SplitConfig(test_cuts=1)
PREDICTOR = {one.name: one for one in PREDICTORS}


def frame(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])


def test_biases_are_sums_over_number_plus_damping():
    train = frame(("u", "a", 5.0), ("v", "a", 4.0), ("u", "b", 1.0), ("v", "b", 2.0))
    predict = PREDICTOR["biases"].fit(train, {"item_damping": 1.0, "user_damping": 1e9})
    # mean 3; a: (2 + 1) / (2 + 1) = 1; users are damped away
    assert np.allclose(predict(frame(("u", "a", 0.0), ("new", "new", 0.0))), [4.0, 3.0], atol=1e-6)


def test_predictions_stay_on_the_scale():
    train = frame(("u", "a", 5.0), ("u", "b", 5.0), ("v", "b", 1.0), ("v", "c", 1.0))
    predict = PREDICTOR["biases"].fit(train, {"item_damping": 0.1, "user_damping": 0.1})
    assert predict(frame(("u", "a", 0.0)))[0] <= 5.0


def rated(*rows: tuple[str, str, float, float]) -> pa.Table:
    """(user, item, rating, days from the cut) as the canonical table."""
    return conform(
        pa.table(
            {
                "event_id": [str(number) for number in range(len(rows))],
                "user_id": [row[0] for row in rows],
                "item_id": [row[1] for row in rows],
                "event_timestamp": pa.array([CUT + timedelta(days=row[3]) for row in rows], pa.timestamp("us", "UTC")),
                "interaction_type": ["rating"] * len(rows),
                "weight": [1.0] * len(rows),
                "rating": [row[2] for row in rows],
            }
        ),
        "interactions",
    )


def test_error_of_the_mean_is_that_of_the_ratings_after_the_cut(monkeypatch):
    monkeypatch.setattr(ratings, "PREDICTORS", (PREDICTOR["global_mean"],))
    table = rated(("u", "a", 2.0, -20.0), ("u", "b", 4.0, -3.0), ("u", "c", 5.0, 1.0), ("v", "a", 2.0, 2.0))
    found = rating_errors(table, [Cuts(CUT, SPLIT)], EvaluationConfig(draws=100), trials=1, seed=0)
    # mean 3; misses 2 and 1
    assert found.ratings == found.users == 2
    assert found.errors["global_mean"].rmse.mean == pytest.approx(np.sqrt((4 + 1) / 2))
    assert found.errors["global_mean"].mae.mean == pytest.approx((2 + 1) / 2)


def test_data_without_ratings_have_no_rating_errors():
    table = rated(("u", "a", 2.0, -20.0)).set_column(9, "rating", pa.nulls(1, pa.float32()))
    assert table.column_names[9] == "rating"
    assert rating_errors(table, [Cuts(CUT, SPLIT)], EvaluationConfig(), trials=1, seed=0) is None


def test_factorisation_learns_who_likes_what():
    pytest.importorskip("surprise", reason="not installed: make bench-quality", exc_type=ImportError)
    rows = [
        (f"u{user}", f"i{item}", 5.0 if (user + item) % 2 == 0 else 1.0) for user in range(12) for item in range(12)
    ]
    train = frame(*(row for row in rows if row[:2] != ("u0", "i0")))
    predict = PREDICTOR["matrix_factorisation"].fit(
        train, {"n_factors": 5, "n_epochs": 60, "lr_all": 0.02, "reg_all": 0.02}
    )
    assert predict(frame(("u0", "i0", 0.0)))[0] > 4.0
