"""The types of events that are known by name: what each needs, how strongly it speaks for an item, what it changes.

Other types may be posted too: a shop's own names are interactions of weight 1 where nothing else is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.retrieval.verdicts import Verdict

LIKED_FROM, DISLIKED_TO = 4.0, 2.0
"""Stars of five: from the first on a rating speaks for the item, up to the second it keeps it away."""
OWN_WEIGHT = 1.0
"""Of a type that is not named here."""


@dataclass(frozen=True, slots=True)
class EventType:
    """One type.

    Attributes:
        weight: How strongly it speaks for the item where nobody says otherwise; 0: it never does.
        verdict: What the user says of the item with it; None where nothing.
        needs: A field that it must have.
    """

    weight: float = 0.0
    verdict: Verdict | None = None
    needs: str | None = None


TYPES: Mapping[str, EventType] = {
    "purchase": EventType(1.0),
    "add_to_cart": EventType(0.3),
    "click": EventType(0.1),
    "rating": EventType(1.0, needs="rating"),  # by its stars
    "thumbs_up": EventType(0.3, Verdict.NEUTRAL),
    "thumbs_down": EventType(verdict=Verdict.DISLIKED),
    "hide": EventType(verdict=Verdict.HIDDEN),
    "unhide": EventType(verdict=Verdict.NEUTRAL),
    "impression": EventType(),
    "dwell": EventType(needs="dwell_seconds"),
}


def verdict_of(interaction_type: str, rating: float | None) -> Verdict | None:
    """What an event says of its item, None where nothing."""
    if interaction_type == "rating" and rating is not None:
        return Verdict.DISLIKED if rating <= DISLIKED_TO else Verdict.NEUTRAL
    known = TYPES.get(interaction_type)
    return None if known is None else known.verdict


def weight_of(interaction_type: str, rating: float | None, trained: Mapping[str, float]) -> float:
    """How strongly an event speaks for its item where it does not say so itself.

    Args:
        interaction_type: Its type.
        rating: Its stars, where it has any.
        trained: What the types weigh in the data that the bundle was trained on: live events weigh the same.
    """
    known = TYPES.get(interaction_type)
    if interaction_type == "rating" and rating is not None and rating < LIKED_FROM:
        return 0.0
    if known is not None and known.weight == 0:
        return 0.0
    return trained.get(interaction_type, OWN_WEIGHT if known is None else known.weight)


def trained_weights(config: Mapping[str, Any]) -> dict[str, float]:
    """What a bundle's data set says that its types weigh; empty where it maps none."""
    types = (config.get("dataset", {}).get("interactions") or {}).get("types") or {}
    mapped = [*(types.get("mapping") or {}).values(), *([types["constant"]] if types.get("constant") else [])]
    return {one["type"]: float(one["weight"]) for one in mapped if "weight" in one}
