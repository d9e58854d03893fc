"""Before any traffic: logged questions asked again of candidate and champion, and how much of what was taken each would show.

Users saw the champion's lists, and what is shown is taken more often. So the champion is favoured, and only a clear loss
speaks against a candidate; a gain is no proof of anything, which is what the rollout is for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from components.artifacts.bundle import load_bundle
from components.artifacts.feedback import read_feedback
from components.ranking.bootstrap import Interval, paired_difference
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from monitoring.experiments.interleaving import Preference, credit, preference, team_draft
from monitoring.off_policy.lists import full_lists
from monitoring.off_policy.replay import PointInTimeUsers, Question, answers, questions
from serving.prediction_log import read_impressions
from serving.settings import Settings

ASKED = ["query_id", USER_ID, "position", "store_id", "filters", "policy", EVENT_TIMESTAMP]


class ReplayConfig(BaseModel):
    """What is asked again, and what loss is too much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(10, ge=1, description="Items of a list")
    days: int = Field(14, ge=1, description="Of logged questions, up to now")
    lists: int = Field(500, ge=1, description="Most questions that are asked again, drawn by seed")
    least_lists: int = Field(
        100, ge=1, description="Fewest after which a user took something; else nothing is compared"
    )
    within_hours: float = Field(24, gt=0, description="What a user takes so long after a question counts")
    tolerance: float = Field(0.1, ge=0, description="Relative loss that is not held against a candidate")
    draws: int = Field(500, ge=100, description="Bootstrap draws over users")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the interval")
    seed: int = Field(0, description="Of both draws")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Shares of the shown items that were taken.

    Attributes:
        lists: Questions that were asked again and after which the user took something.
        champion: The champion's share; NaN where nothing was compared.
        difference: Candidate less champion, paired, with an interval over users; None where nothing was compared.
        preferred: By lists that were drafted from both; None where nothing was compared.
        is_loss: Whether the candidate surely loses more than is tolerated.
    """

    lists: int
    champion: float
    difference: Interval | None
    preferred: Preference | None
    is_loss: bool

    @property
    def sentence(self) -> str:
        """For people."""
        one, voices = self.difference, self.preferred
        if one is None or voices is None:
            return f"{self.lists:,} logged questions after which something was taken are too few to compare"
        return (
            f"of what the champion shows for {self.lists:,} logged questions {self.champion:.2%} were taken; the "
            f"candidate's share differs by {one.mean:+.2%} ({one.low:+.2%} to {one.high:+.2%}); of lists drafted from both, "
            f"{voices.canary:,} users took more of the candidate's picks and {voices.stable:,} of the champion's "
            f"(p {voices.p_value:.2g})"
        )


def compare_on_logs(
    home: Path, candidate: Path, champion: Path, *, now: datetime, settings: Settings, config: ReplayConfig
) -> Comparison:
    """Ask logged questions again, with users' features as they were then.

    Args:
        home: State folder with logs and snapshots.
        candidate: Folder of the bundle that may be rolled out.
        champion: Folder of the one that answers.
        now: Nothing from here on is read.
        settings: Of the server: what may be shown.
        config: How many, and what loss is too much.

    Raises:
        ContractError: A bundle is damaged.
    """
    asked = _asked(home, now, config)
    taken = _taken(home, asked, now, config)
    asked = [one for one in asked if taken.get(one.query_id)]
    if len(asked) < config.least_lists:
        return Comparison(len(asked), float("nan"), None, None, is_loss=False)
    users = PointInTimeUsers.of(home, asked)
    shown, known = (
        answers(load_bundle(folder), users, asked, settings, k=config.k) for folder in (candidate, champion)
    )
    ours, theirs = _shares(shown, asked, taken), _shares(known, asked, taken)
    rng = np.random.default_rng(config.seed)
    difference = paired_difference(
        ours,
        theirs,
        [one.request.user_id for one in asked],
        rng=rng,
        draws=config.draws,
        confidence=config.confidence,
    )
    allowed = -config.tolerance * float(theirs.mean())
    preferred = preferred_on_logs(shown, known, asked, taken, rng=rng)
    return Comparison(len(asked), float(theirs.mean()), difference, preferred, is_loss=difference.high < allowed)


def preferred_on_logs(
    candidate: NDArray[np.object_],
    champion: NDArray[np.object_],
    asked: Sequence[Question],
    taken: Mapping[str, set[str]],
    *,
    rng: np.random.Generator,
) -> Preference:
    """Whose picks the users took of lists drafted from both; a first look, and no reason to refuse.

    Args:
        candidate: Its item ids for each question, shape (n, k); None where a list is short.
        champion: The same of the champion.
        asked: The questions.
        taken: Query to what its user took.
        rng: Of the drafts.
    """
    of_users: dict[str, list[int]] = {}
    for ours, theirs, one in zip(candidate, champion, asked, strict=True):
        ids = ([item for item in shown if item is not None] for shown in (theirs, ours))
        drafted = team_draft(*ids, k=len(theirs), rng=rng)
        of_users.setdefault(str(one.request.user_id), []).append(credit(drafted, taken[one.query_id]))
    return preference(of_users)


def _asked(home: Path, now: datetime, config: ReplayConfig) -> list[Question]:
    shown = read_impressions(home, now - timedelta(days=config.days), now, columns=ASKED).to_pandas()
    rows = full_lists(shown[shown[USER_ID] != ""], k=config.k)
    found = questions(rows, k=config.k) if len(rows) else []
    order = np.random.default_rng(config.seed).permutation(len(found))[: config.lists]
    return [found[place] for place in np.sort(order)]


def _taken(home: Path, asked: Sequence[Question], now: datetime, config: ReplayConfig) -> Mapping[str, set[str]]:
    """Query to what its user took after it, of whatever was shown."""
    events = read_feedback(home, now - timedelta(days=config.days), now).to_pandas()
    by_user = dict(iter(events[events["weight"] > 0].groupby(USER_ID)))
    within = timedelta(hours=config.within_hours)
    return {one.query_id: _after(by_user.get(one.request.user_id), one, within) for one in asked}


def _after(events: pd.DataFrame | None, question: Question, within: timedelta) -> set[str]:
    moment = question.request.request_time
    if events is None or moment is None:
        return set()
    is_in = (events[EVENT_TIMESTAMP] >= moment) & (events[EVENT_TIMESTAMP] < moment + within)
    return set(events.loc[is_in, ITEM_ID])


def _shares(
    lists: NDArray[np.object_], asked: Sequence[Question], taken: Mapping[str, set[str]]
) -> NDArray[np.float64]:
    """Of each list's items that were taken."""
    hits = [len(taken[one.query_id] & set(shown)) for shown, one in zip(lists, asked, strict=True)]
    return np.asarray(hits, np.float64) / float(lists.shape[1])
