"""Error of predicted ratings, for data sets that have them: how far simple means and a factorisation come.

The product ranks and predicts no ratings, so it is not among the systems here.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.quality.tune import Found, search
from components.artifacts.cuts import Cuts
from components.evaluate_bundle.config import EvaluationConfig
from components.ranking.bootstrap import Interval, bootstrap_means
from components.tuning.search_space import Float, Int, Params, SearchSpace
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

RATING = "rating"
Predict = Callable[[pd.DataFrame], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Predictor:
    """A way to predict ratings: what may be tuned, the first trial, and how it is fitted."""

    name: str
    label: str
    space: SearchSpace
    initial: Params
    fit: Callable[[pd.DataFrame, Params], Predict]
    needs: str = ""


@dataclass(frozen=True, slots=True)
class RatingError:
    """Of one predictor.

    Attributes:
        rmse: Root of the mean squared error, in rating units.
        mae: Mean absolute error, in rating units.
        found: The search; None where there was nothing to tune.
    """

    rmse: Interval
    mae: Interval
    found: Found | None


@dataclass(frozen=True, slots=True)
class RatingErrors:
    """Of all predictors on the same ratings, those of users and films without a past included."""

    ratings: int
    users: int
    errors: Mapping[str, RatingError]


def rating_errors(
    interactions: pa.Table, cuts: Sequence[Cuts], config: EvaluationConfig, *, trials: int, seed: int
) -> RatingErrors | None:
    """Fit before each test cut, predict what was rated in the horizon after it; None where nothing was rated.

    The search trains before the validation cut of the first split and is judged on the horizon after that.
    """
    frame = _rated(interactions)
    first = cuts[0]
    train, judged = _split(frame, first.validation, first)
    tests = [_split(frame, split.test[0], split) for split in cuts]
    if min(len(train), len(judged), *(len(test) for _, test in tests)) == 0:
        return None
    errors = {one.name: _measure(one, train, judged, tests, config, trials, seed) for one in predictors()}
    users = pd.concat([test[USER_ID] for _, test in tests]).nunique()
    return RatingErrors(sum(len(test) for _, test in tests), int(users), errors)


def _rated(interactions: pa.Table) -> pd.DataFrame:
    rated = interactions.select([USER_ID, ITEM_ID, EVENT_TIMESTAMP, RATING]).filter(pc.is_valid(interactions[RATING]))
    frame: pd.DataFrame = rated.to_pandas()
    return frame.astype({RATING: float})


def _split(frame: pd.DataFrame, cut: datetime, split: Cuts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was rated before the cut, and in the horizon after it."""
    time_of = frame[EVENT_TIMESTAMP]
    return frame[time_of < cut], frame[(time_of >= cut) & (time_of < cut + split.horizon)]


def _measure(
    predictor: Predictor,
    train: pd.DataFrame,
    judged: pd.DataFrame,
    tests: Sequence[tuple[pd.DataFrame, pd.DataFrame]],
    config: EvaluationConfig,
    trials: int,
    seed: int,
) -> RatingError:
    found = None
    if predictor.space:
        found = search(
            predictor.space,
            predictor.initial,
            lambda params: -root_mean_square(_misses(predictor.fit(train, params), judged)),
            trials=trials,
            seed=seed,
        )
    params = found.params if found else predictor.initial
    misses = np.concatenate([_misses(predictor.fit(before, params), after) for before, after in tests])
    users = [user for _, after in tests for user in after[USER_ID]]
    squared, absolute = bootstrap_means(
        np.stack([misses**2, np.abs(misses)], axis=1),
        users,
        rng=np.random.default_rng(config.seed),
        draws=config.draws,
        confidence=config.confidence,
    )
    root = Interval(*(float(np.sqrt(value)) for value in (squared.mean, squared.low, squared.high)))
    return RatingError(root, absolute, found)


def _misses(predict: Predict, after: pd.DataFrame) -> NDArray[np.float64]:
    return np.asarray(predict(after) - after[RATING].to_numpy(), np.float64)


def root_mean_square(misses: NDArray[np.float64]) -> float:
    """The root mean squared error of differences."""
    return float(np.sqrt(np.mean(misses**2)))


def _fit_global_mean(train: pd.DataFrame, _params: Params) -> Predict:
    mean = float(train[RATING].mean())
    return lambda after: np.full(len(after), mean)


def _fit_biases(train: pd.DataFrame, params: Params) -> Predict:
    """mean + item's bias + user's bias, each a sum of residuals over (number + damping); 0 for the unknown.

    Source: Koren, Factorization meets the neighborhood, KDD 2008, section 2.1.
    """
    mean = float(train[RATING].mean())
    of_item = damped_means(train[RATING] - mean, train[ITEM_ID], params["item_damping"])
    residual = train[RATING] - mean - train[ITEM_ID].map(of_item)
    of_user = damped_means(residual, train[USER_ID], params["user_damping"])

    def predict(after: pd.DataFrame) -> NDArray[np.float64]:
        biases = after[ITEM_ID].map(of_item).fillna(0.0) + after[USER_ID].map(of_user).fillna(0.0)
        return _on_scale(mean + biases.to_numpy(np.float64), train)

    return predict


def damped_means(values: "pd.Series[float]", groups: "pd.Series[str]", damping: float) -> "pd.Series[float]":
    """Sum of each group's values over its number plus the damping."""
    grouped = values.groupby(groups)
    return grouped.sum() / (grouped.count() + damping)


def _fit_factorisation(train: pd.DataFrame, params: Params) -> Predict:
    """scikit-surprise's SVD: biases and factors by gradient descent (Koren, Bell & Volinsky, Computer 42(8), 2009)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import surprise  # type: ignore[import-untyped]

    scale = surprise.Reader(rating_scale=(train[RATING].min(), train[RATING].max()))
    ratings = surprise.Dataset.load_from_df(train[[USER_ID, ITEM_ID, RATING]], scale)
    model = surprise.SVD(**params, random_state=0).fit(ratings.build_full_trainset())

    def predict(after: pd.DataFrame) -> NDArray[np.float64]:
        pairs = zip(after[USER_ID], after[ITEM_ID], strict=True)
        return np.array([model.predict(user, item).est for user, item in pairs], np.float64)

    return predict


def _on_scale(predicted: NDArray[np.floating], train: pd.DataFrame) -> NDArray[np.float64]:
    low, high = float(train[RATING].min()), float(train[RATING].max())
    return np.minimum(np.maximum(np.asarray(predicted, np.float64), low), high)


PREDICTORS = (
    Predictor("global_mean", "Global mean", {}, {}, _fit_global_mean),
    Predictor(
        "biases",
        "User and item biases",
        {"item_damping": Float(0.1, 100.0, log=True), "user_damping": Float(0.1, 100.0, log=True)},
        {"item_damping": 5.0, "user_damping": 5.0},
        _fit_biases,
    ),
    Predictor(
        "matrix_factorisation",
        "Matrix factorisation (scikit-surprise)",
        {
            "n_factors": Int(5, 200, log=True),
            "n_epochs": Int(5, 60),
            "lr_all": Float(0.002, 0.02, log=True),
            "reg_all": Float(0.01, 0.3, log=True),
        },
        {"n_factors": 50, "n_epochs": 20, "lr_all": 0.005, "reg_all": 0.05},
        _fit_factorisation,
        needs="surprise",
    ),
)


def predictors() -> tuple[Predictor, ...]:
    """Those whose package is installed."""
    return tuple(one for one in PREDICTORS if not one.needs or find_spec(one.needs) is not None)
