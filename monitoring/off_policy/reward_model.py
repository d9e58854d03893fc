"""What an item's reward would be, learnt from the logged items; never from a user whose lists it is asked about."""

from collections.abc import Callable, Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold


class Regressor(Protocol):
    """What scikit-learn's regressors are."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64]) -> Self:
        """Learn."""
        ...

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """One value per row."""
        ...


def boosted_trees(seed: int) -> Callable[[], Regressor]:
    """Makes the model of choice: it takes missing values, and squared error keeps it a mean."""
    return lambda: HistGradientBoostingRegressor(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=50, random_state=seed
    )


def cross_fitted(
    make: Callable[[], Regressor],
    logged: NDArray[np.float32],
    rewards: NDArray[np.float64],
    users: Sequence[str],
    questions: Sequence[NDArray[np.float32]],
    *,
    folds: int,
) -> list[NDArray[np.float64]]:
    """Predictions of models that were fitted on other users' rows.

    Without that, a model that remembers a reward would remove it from DR's correction, and the intervals would be
    too narrow.

    Args:
        make: Gives a new, unfitted model.
        logged: Features of the shown items, shape (n, m).
        rewards: What came of them, shape (n,).
        users: Whose, n of them.
        questions: Matrices of shape (n, m) whose row i belongs to the same user as row i of `logged`.
        folds: Groups of users, at most as many as there are users.

    Returns:
        One array of shape (n,) per question.

    Source:
        Chernozhukov et al., The Econometrics Journal 21(1), 2018 (cross-fitting).
    """
    answers = [np.empty(len(rewards)) for _ in questions]
    for train, asked in GroupKFold(folds).split(logged, rewards, np.asarray(users)):
        known = ~np.isnan(logged[train]).all(axis=0)  # scikit-learn's trees fail on a column without any value
        model = make().fit(logged[train][:, known], rewards[train])
        for answer, question in zip(answers, questions, strict=True):
            answer[asked] = model.predict(question[asked][:, known])
    return answers
