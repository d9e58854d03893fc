"""A user's history with one event more: the live counterpart of `user_features.user_history`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from feature_repo.schema import DECAY_DAYS, HISTORY_LENGTH, SECONDS_PER_DAY

IDS, COUNTS, FIRSTS, LASTS, DECAYED = (
    "user_history_item_ids",
    "user_history_counts",
    "user_history_first_seconds",
    "user_history_last_seconds",
    "user_history_decayed_counts",
)


def extend_history(row: Mapping[str, Any], *, item_id: str, seconds: int, weight: float) -> dict[str, Any]:
    """The five history features as a batch over the same events would give them.

    Numbers are rounded to what stores hold, so that events one by one, through a store, give the bits of events in one go.

    Events may come late: an older one than the item's last adds its decayed weight and moves no last time. What
    fell off the end of a full history is forgotten here, while the next snapshot still counts it.

    Args:
        row: The features so far; absent or None where the user has no history.
        item_id: The event's item.
        seconds: The event's Unix time.
        weight: How strongly it speaks for the item; 0 changes nothing.
    """
    entries = dict(
        zip(
            _list(row, IDS),
            zip(*(_list(row, name) for name in (COUNTS, FIRSTS, LASTS, DECAYED)), strict=True),
            strict=True,
        )
    )
    if weight > 0:
        entries[item_id] = _joined(entries.get(item_id), seconds, _stored(weight))
    newest_first = sorted(entries.items(), key=lambda entry: (-entry[1][2], entry[0]))[:HISTORY_LENGTH]
    columns = zip(*((key, *values) for key, values in newest_first), strict=True) if newest_first else [()] * 5
    return dict(zip((IDS, COUNTS, FIRSTS, LASTS, DECAYED), map(list, columns), strict=True))


def _joined(entry: tuple[float, int, int, float] | None, seconds: int, weight: float) -> tuple[float, int, int, float]:
    if entry is None:
        return float(weight), seconds, seconds, float(weight)
    count, first, last, decayed = entry
    newest = max(last, seconds)
    total = decayed * _decay(newest - last) + weight * _decay(newest - seconds)
    return _stored(count + weight), int(min(first, seconds)), int(newest), _stored(total)


def _stored(value: float) -> float:
    return float(np.float32(value))


def _decay(seconds: int) -> float:
    return math.exp(-seconds / SECONDS_PER_DAY / DECAY_DAYS)


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    """Python's own numbers, also where the offline store gave an array: numpy would go on counting in float32."""
    value = row.get(name)
    if value is None:
        return []
    return list(value.tolist() if isinstance(value, np.ndarray) else value)
