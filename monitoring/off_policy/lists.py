"""What the estimators see: lists as they were shown and taken, and how likely each policy was to show them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from feature_repo.schema import USER_ID
from monitoring.windows import LABEL

Matrix = NDArray[np.float64]
"""Shape (n_lists, k): one value per list and position."""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """How likely a policy is to show the logged items where they were shown.

    Attributes:
        at_position: Of the item at its position, over all lists that the policy may show.
        given_above: The same, given the logged items above it.
    """

    at_position: Matrix
    given_above: Matrix


@dataclass(frozen=True, slots=True)
class LoggedLists:
    """Shown lists of one length.

    Attributes:
        users: Whose, shape (n_lists,): lists of one user are no independent evidence.
        rewards: What came of each item.
        logged: Of the policy that showed them; all above 0.
    """

    users: tuple[str, ...]
    rewards: Matrix
    logged: Probabilities

    def __post_init__(self) -> None:
        """Refuse what no estimator can use.

        Raises:
            ContractError: A propensity is not in (0, 1].
        """
        for name, values in (
            ("propensity", self.logged.at_position),
            ("conditional_propensity", self.logged.given_above),
        ):
            wrong = values[~((values > 0) & (values <= 1 + 1e-6))]
            if len(wrong):
                raise ContractError(
                    f"{name}: {len(wrong):,} of {values.size:,} logged values are not in (0, 1], for example {wrong[0]}. "
                    "Leave out the days that another program wrote."
                )

    @property
    def k(self) -> int:
        """Positions."""
        return int(self.rewards.shape[1])

    def __len__(self) -> int:
        return len(self.users)


def full_lists(impressions: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """The first k positions of the lists that are as long, a list's rows side by side, the top first."""
    top = impressions[impressions["position"] <= k].sort_values(["event_timestamp", "query_id", "position"])
    return top[top.groupby("query_id")["position"].transform("size") == k].reset_index(drop=True)


def logged_lists(rows: pd.DataFrame, *, k: int) -> LoggedLists:
    """The lists of `full_lists`, with labels as rewards.

    Raises:
        ContractError: A propensity is not in (0, 1].
    """
    at_position = rows["propensity"].to_numpy(float)
    given_above = rows["conditional_propensity"].fillna(rows["propensity"]).to_numpy(float)  # older logs: both are 1
    return LoggedLists(
        users=tuple(rows[USER_ID].iloc[::k]),
        rewards=rows[LABEL].to_numpy(float).reshape(-1, k),
        logged=Probabilities(at_position.reshape(-1, k), given_above.reshape(-1, k)),
    )
