"""The parts of a ranker's training: boosting goes on from one objective to the next."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """Boosting rounds with one objective.

    Attributes:
        objective: XGBoost's name of it.
        rounds: Most rounds; in a finished training, the rounds that were kept.
    """

    objective: str
    rounds: int
