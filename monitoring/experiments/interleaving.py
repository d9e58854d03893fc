"""A quick first look at two rankers: one list drawn from both, and whose items the users take.

Team draft: in each round a coin says which ranker picks first, then each picks its best item that is not in the list yet
and gets the click on it. Every user meets both rankers at the same moment, so that what differs between users cancels out:
simulated rankers of which two in ten items differ were told apart by 200 users as surely as by 800 of an A/B test (one
look at each). It tells which list is preferred, not by how much a metric would grow: a canary that wins here still has to
pass its rollout.

Source:
    Radlinski, Kurup & Joachims, CIKM 2008 (team draft); Chapelle, Joachims, Radlinski & Yue, TOIS 30(1), 2012 (users
    needed, and credit per user rather than per click).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from monitoring.experiments.sample_ratio import sample_ratio_p

CONCENTRATION = 20.0
"""Of the alternatives around no preference: six in ten users for one ranker is a usual win."""


class Team(IntEnum):
    """Whose pick an item is."""

    STABLE = 0
    CANARY = 1


@dataclass(frozen=True, slots=True)
class Drafted:
    """One list of two rankers.

    Attributes:
        item_ids: Best first, each once.
        teams: Of each item.
    """

    item_ids: tuple[str, ...]
    teams: tuple[Team, ...]


@dataclass(frozen=True, slots=True)
class Preference:
    """What the users took.

    Attributes:
        stable: Users who took more of stable's picks.
        canary: Users who took more of the canary's.
        undecided: Users who took as many of both, none included.
        p_value: Of no preference; holds at every look, so one may look whenever one likes.
    """

    stable: int
    canary: int
    undecided: int
    p_value: float

    @property
    def canary_share(self) -> float:
        """Of the users with a preference, those for the canary; one half where nobody has one."""
        decided = self.stable + self.canary
        return self.canary / decided if decided else 0.5


def team_draft(stable: Sequence[str], canary: Sequence[str], *, k: int, rng: np.random.Generator) -> Drafted:
    """The first k items of both, drawn in turns.

    A ranker that has no item left leaves its turns to the other.

    Args:
        stable: Item ids, best first, each once.
        canary: The same of the other ranker.
        k: Length of the list; shorter where the rankers name fewer items.
        rng: Throws the coins: one per round, of two picks.
    """
    rankings, item_ids, teams = (stable, canary), list[str](), list[Team]()
    for first in rng.integers(2, size=k):
        for team in (Team(first), Team(1 - first)):
            pick = next((item for item in rankings[team] if item not in item_ids), None)
            if pick is not None and len(item_ids) < k:
                item_ids.append(pick)
                teams.append(team)
    return Drafted(tuple(item_ids), tuple(teams))


def credit(drafted: Drafted, taken: Iterable[str]) -> int:
    """The canary's picks among what was taken, less stable's; items that were not in the list count for nobody."""
    team_of = dict(zip(drafted.item_ids, drafted.teams, strict=True))
    return sum(1 if team_of[item] is Team.CANARY else -1 for item in set(taken) if item in team_of)


def preference(of_users: Mapping[str, Iterable[int]]) -> Preference:
    """Over users: one voice each, however many lists they saw.

    Without a preference a user with one leans either way with probability 1/2, by the coins alone, so the voices are a
    binomial; the test is the one of the sample ratio.

    Args:
        of_users: User to the `credit` of each of his lists.
    """
    sums = [sum(of_user) for of_user in of_users.values()]
    stable, canary = sum(one < 0 for one in sums), sum(one > 0 for one in sums)
    p_value = float(sample_ratio_p(np.array([stable, canary], float), (0.5, 0.5), concentration=CONCENTRATION))
    return Preference(stable, canary, len(sums) - stable - canary, p_value)
