"""What a user said of items, kept so that events may come in any order: of each item the newest verdict holds."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

VERDICT_IDS, VERDICTS, VERDICT_SECONDS = (
    "user_verdict_item_ids",
    "user_verdicts",
    "user_verdict_last_seconds",
)
MOST_VERDICTS = 1000
"""Items that a user's verdicts are kept of; what has the least to say goes first, then what is oldest."""


class Verdict(IntEnum):
    """What a user thinks of an item, the worst first."""

    HIDDEN = -2
    DISLIKED = -1
    NEUTRAL = 0


def extend_verdicts(row: Mapping[str, Any], *, item_id: str, verdict: Verdict, seconds: int) -> dict[str, Any]:
    """The three features with one verdict more; an older one of the same item changes nothing, of two at once the worse
    holds.

    Args:
        row: The features so far; absent or None where the user said nothing yet.
        item_id: Of what.
        verdict: What; NEUTRAL takes back what was said before.
        seconds: Unix time of it.
    """
    said = dict(
        zip(_list(row, VERDICT_IDS), zip(_list(row, VERDICT_SECONDS), _list(row, VERDICTS), strict=True), strict=True)
    )
    before = said.get(item_id)
    if before is None or (seconds, -verdict) > (before[0], -before[1]):
        said[item_id] = (seconds, float(verdict))
    kept = sorted(said.items(), key=lambda entry: (entry[1][1], -entry[1][0], entry[0]))[:MOST_VERDICTS]
    return {
        VERDICT_IDS: [item_id for item_id, _ in kept],
        VERDICTS: [verdict for _, (_, verdict) in kept],
        VERDICT_SECONDS: [at for _, (at, _) in kept],
    }


def unwanted(row: Mapping[str, Any]) -> Sequence[str]:
    """Items that the user does not want to see."""
    pairs = zip(_list(row, VERDICT_IDS), _list(row, VERDICTS), strict=True)
    return [item_id for item_id, verdict in pairs if verdict < Verdict.NEUTRAL]


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    return [] if value is None else list(value)
