"""Made-up answers of four systems to a few dozen users: what each of them is worth is known."""

import numpy as np

from components.evaluate_bundle.config import CHAMPION, POPULARITY, TWO_STAGE, EvaluationConfig
from components.evaluate_bundle.evaluation import CatalogueFacts, Evaluation, Lists, evaluate_lists

USERS, ITEMS = 30, 40
CUTS = ("2017-10-30", "2017-11-06")
CONFIG = EvaluationConfig(ks=(5, 10, 20), list_length=20, draws=200, cold_history=2)
UNLISTED = ITEMS + 5
"""Code of an item that no item table has."""


def made_up_lists(
    *, systems: tuple[str, ...] = (TWO_STAGE, POPULARITY, "covisitation", "content"), with_probabilities: bool = False
) -> Lists:
    """Each user's two queries have two relevant items: one that the user knows, one that is new.

    two_stage has both first, popularity both at the ranks 9 and 10, covisitation the new one first, content none.
    Even users are cold (history of 1), odd ones warm (history of 4). Item 39 is cold, and relevant to user 0.
    """
    lists = Lists(cold_items=np.array([39]))
    for cut in CUTS:
        for user in range(USERS):
            known, fresh = user % 10, 39 if user == 0 else 10 + user % 10
            wanted, others = np.array([known, fresh]), np.array([c for c in range(ITEMS) if c not in (known, fresh)])
            answers = {
                TWO_STAGE: [known, fresh, *others],
                POPULARITY: [*others[:8], known, fresh, *others[8:]],
                "covisitation": [fresh, *others],
                "content": others,
                CHAMPION: [known, *others[:9], fresh, *others[9:]],
            }
            lists.query_ids.append(f"u{user}@{cut}")
            lists.users.append(f"u{user}")
            lists.cuts.append(cut)
            lists.history_sizes.append(4 if user % 2 else 1)
            lists.relevant.append(wanted)
            lists.known.append(np.array([known, *others[20:23]] if user % 2 else [known]))
            lists.known_weights.append(np.ones(len(lists.known[-1]), np.float32))
            lists.pools.append(np.array([known, *others[:9]]))
            lists.probabilities.extend([np.array([0.75, 0.25])] if with_probabilities else [])
            lists.labels.append(np.array([True, False]))
            for system in systems:
                lists.systems.setdefault(system, []).append(np.asarray(answers[system], np.int64))
    return lists


def facts() -> CatalogueFacts:
    """Every item is taken by a quarter of the users; categories alternate."""
    return CatalogueFacts(np.arange(ITEMS, dtype=np.int32) % 2, np.full(ITEMS, 0.25))


def made_up_evaluation(lists: Lists | None = None, *, champion: str = "") -> Evaluation:
    """The figures of the made-up answers."""
    return evaluate_lists(
        lists or made_up_lists(),
        facts(),
        CONFIG,
        ("covisitation", "content"),
        champion=champion or "no champion yet",
    )
