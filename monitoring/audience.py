"""Who was served: how many users are new, and whether users that were known have been lost.

A user of whom nothing is known has no features, which is no fault of the data; a user who was known at training and
is unknown now is one.
"""

import pandas as pd

from feature_repo.schema import USER_ID
from monitoring.config import AudienceConfig
from monitoring.verdict import Check, Group, State, percent

STATUS = "user_status"
UNKNOWN = ("missing", "new")
"""No row at all, or only live events since the last snapshot."""
UNANSWERED = ("store_error", "expired")


def audience_checks(reference: pd.DataFrame, current: pd.DataFrame, config: AudienceConfig) -> list[Check]:
    """New users, lost users, requests that the store did not answer; users weigh the same."""
    statuses = current.groupby(USER_ID)[STATUS].last()
    unknown, unanswered = statuses.isin(UNKNOWN), statuses.isin(UNANSWERED)
    known_before = statuses.index.isin(reference[USER_ID].unique())
    lost = float(unknown[known_before].mean()) if known_before.any() else 0.0
    return [_unknown(float(unknown.mean()), config), _lost(lost, config), _unanswered(float(unanswered.mean()), config)]


def is_known(current: pd.DataFrame) -> pd.Series:
    """Rows of users whose features ought to be there."""
    return ~current[STATUS].isin(UNKNOWN) if STATUS in current else pd.Series(data=True, index=current.index)


def _unknown(share: float, config: AudienceConfig) -> Check:
    state = State.WARN if share > config.unknown_share else State.OK
    reason = f"{percent(share)} of the users are new to the feature store, {percent(config.unknown_share)} are accepted"
    return Check("audience:new_users", Group.WINDOW, state, reason, share, config.unknown_share)


def _lost(share: float, config: AudienceConfig) -> Check:
    state = State.FAIL if share > config.lost_share else State.OK
    reason = f"{percent(share)} of the users who were known at training are unknown to the feature store now"
    return Check("audience:lost_users", Group.NULLS, state, reason, share, config.lost_share)


def _unanswered(share: float, config: AudienceConfig) -> Check:
    state = State.FAIL if share > config.unanswered_share else State.OK
    reason = f"{percent(share)} of the users got an answer without their features: too old, or the store failed"
    return Check("audience:unanswered", Group.FRESHNESS, state, reason, share, config.unanswered_share)
