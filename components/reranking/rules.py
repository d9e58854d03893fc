"""The business rules of one catalogue, ready to be asked: conditions become masks over the items once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.reranking.config import Bounds, RulesConfig, When, Which
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from feature_repo.schema import ITEM_ID, SECONDS_PER_DAY, USER_NUMERIC

log = logging.getLogger(__name__)

USER_NAMES = tuple(spec.name for spec in USER_NUMERIC)


@dataclass(frozen=True)
class Boosted:
    """One boost: its items, the logarithm of its factor, when it holds, what the user reads."""

    items: NDArray[np.bool_]
    log_factor: float
    when: When
    reason: str


@dataclass(frozen=True)
class Rules:
    """Rules with their masks over the items.

    Attributes:
        config: As declared.
        items: The catalogue.
        excluded: Mask of shape (n_items,) and when it holds, one per rule.
        boosted: One per rule.
    """

    config: RulesConfig
    items: ItemTable
    excluded: Sequence[tuple[NDArray[np.bool_], When]]
    boosted: Sequence[Boosted]

    @classmethod
    def of(cls, config: RulesConfig, items: ItemTable) -> Self:
        """Look the conditions up in a catalogue; a rule that finds nothing there is logged, for it may be misspelt."""
        excluded = [(mask_of(rule.items, items), rule.when) for rule in config.exclude]
        boosted = [
            Boosted(mask_of(rule.items, items), float(np.log(rule.factor)), rule.when, rule.reason)
            for rule in config.boost
        ]
        masks = {"exclude": [mask for mask, _ in excluded], "boost": [one.items for one in boosted]}
        idle = [f"{name}.{place}" for name, found in masks.items() for place, one in enumerate(found) if not one.any()]
        idle += [f"pin.{place}" for place, pin in enumerate(config.pin) if pin.item_id not in items.num_of]
        if idle:
            log.warning("rules %s: no item of the catalogue is meant; is the value misspelt?", ", ".join(idle))
        return cls(config, items, excluded, boosted)

    def permits(self, query: Query, item_nums: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the items may be shown, shape (n,)."""
        permitted = ~self.excludes(query, item_nums)
        if self.config.already_bought.hide:
            permitted &= ~np.isin(item_nums, self._taken(query))
        return permitted

    def excludes(self, query: Query, item_nums: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the items a rule excludes, shape (n,); what was bought already is no rule's word on the item."""
        excluded = np.zeros(len(item_nums), bool)
        for mask, when in self.excluded:
            if holds(when, query):
                excluded |= mask[item_nums]
        return excluded

    def _taken(self, query: Query) -> NDArray[np.int32]:
        days, history = self.config.already_bought.within_days, query.history
        if days is None:
            return history.item_nums
        return history.item_nums[history.last_seconds > query.now_seconds - days * SECONDS_PER_DAY]

    def boosts(self, query: Query, item_nums: NDArray[np.int32]) -> tuple[NDArray[np.float64], dict[int, str]]:
        """What is added to each item's log-odds, shape (n,), and item_num to reason where it was moved up."""
        added, notes = np.zeros(len(item_nums)), {}
        for rule in self.boosted:
            if holds(rule.when, query):
                meant = rule.items[item_nums]
                added[meant] += rule.log_factor
                if rule.log_factor > 0:
                    notes.update(dict.fromkeys(item_nums[meant].tolist(), rule.reason))
        return added, notes

    def pins(self, query: Query) -> dict[int, tuple[int, str]]:
        """Position from 0 to (item_num, reason); the first rule has a position, and an item one position."""
        found: dict[int, tuple[int, str]] = {}
        for pin in self.config.pin:
            item_num, place = self.items.num_of.get(pin.item_id), pin.position - 1
            is_free = place not in found and item_num not in {num for num, _ in found.values()}
            if item_num is not None and is_free and holds(pin.when, query):
                found[place] = (item_num, pin.reason)
        return found


def mask_of(which: Which, items: ItemTable) -> NDArray[np.bool_]:
    """The items that are meant, shape (n_items,)."""
    mask = np.ones(len(items), bool)
    for column, values in (
        (ITEM_ID, which.item_ids),
        ("department", which.departments),
        ("category", which.categories),
        ("brand", which.brands),
    ):
        if values:
            mask &= pc.is_in(items.table[column], pa.array(values, pa.string())).to_numpy().astype(bool)
    for name, bounds in which.features.items():
        mask &= _within(items.feature(name), bounds)
    return mask


def holds(when: When, query: Query) -> bool:
    """Whether a rule holds in a request."""
    now = query.now_seconds
    if when.since is not None and now < when.since.timestamp():
        return False
    if when.until is not None and now >= when.until.timestamp():
        return False
    if when.store_ids and query.store_id not in when.store_ids:
        return False
    return _is_in_segment(when.user, query)


def _is_in_segment(segment: Mapping[str, Bounds], query: Query) -> bool:
    return all(bool(_within(query.user_features[USER_NAMES.index(name)], one)) for name, one in segment.items())


def _within(values: NDArray[np.float32] | np.float32, bounds: Bounds) -> NDArray[np.bool_]:
    least = -np.inf if bounds.at_least is None else bounds.at_least
    most = np.inf if bounds.at_most is None else bounds.at_most
    return np.asarray((values >= least) & (values <= most))
