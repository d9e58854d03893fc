"""From the ranking to the list that is shown: hidden items, boosts, re-ranking, caps, pins, in this order.

The same object answers in the evaluation and in the server, so what is judged is what is served.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from components.ranking.two_stage import Ranking, TwoStageModel
from components.reranking.config import PolicyConfig, RulesConfig
from components.reranking.rerank import calibrated, label_shares, maximal_marginal_relevance, relevance
from components.reranking.rules import Rules
from components.retrieval.items import UNKNOWN
from components.retrieval.query import Query

Permits: TypeAlias = Callable[[NDArray[np.int32]], NDArray[np.bool_]]
"""item_nums to which of them may be shown."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is shown, best first.

    Attributes:
        ranking: The items; scores are the ranker's, so that they need not fall where a rule moved an item.
        notes: item_num to what is said of it, where a rule put it there.
    """

    ranking: Ranking
    notes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ListPolicy:
    """A declared policy over one model's rankings.

    Attributes:
        model: Whose rankings.
        config: As declared.
        rules: Looked up in the model's catalogue.
    """

    model: TwoStageModel
    config: PolicyConfig
    rules: Rules

    @classmethod
    def of(cls, model: TwoStageModel, config: PolicyConfig) -> "ListPolicy":
        """The policy for a model."""
        return cls(model, config, Rules.of(config.rules, model.items))

    @property
    def is_empty(self) -> bool:
        """Whether every list is as ranked."""
        return self.config.reranking.is_off and self.config.rules == RulesConfig()

    @property
    def fixes_places(self) -> bool:
        """Whether a list that is shuffled afterwards would break a rule."""
        return bool(self.config.rules.pin or self.config.rules.cap)

    def arrange(self, query: Query, ranking: Ranking, *, k: int, permits: Permits | None = None) -> Listing:
        """The first k items of the list; fewer where rules leave no more. The first n do not depend on k.

        Args:
            query: The request.
            ranking: All candidates, best first.
            k: Items wanted.
            permits: What the request itself allows; a pin obeys it too.
        """
        permitted = self._permitted(query, ranking.item_nums, permits)
        if not permitted.all():
            ranking = ranking.take(np.flatnonzero(permitted))
        added, notes = self.rules.boosts(query, ranking.item_nums)
        boosted = self.model.ranker.log_odds(ranking.scores) + added
        order = np.argsort(-boosted, kind="stable") if added.any() else np.arange(len(boosted))
        order = order[self._reranked(query, ranking.item_nums[order], boosted[order], k)]
        if self.fixes_places:
            ranking = ranking.take(order)
            return self._with_fixed_places(query, ranking, notes, k, permits)
        return Listing(ranking.take(order[:k]), notes)

    def _permitted(self, query: Query, item_nums: NDArray[np.int32], permits: Permits | None) -> NDArray[np.bool_]:
        permitted = self.rules.permits(query, item_nums)
        return permitted if permits is None else permitted & permits(item_nums)

    def _reranked(
        self, query: Query, item_nums: NDArray[np.int32], scores: NDArray[np.floating], k: int
    ) -> NDArray[np.intp]:
        """Places of all items in their new order."""
        config, everything = self.config.reranking, np.arange(len(item_nums))
        head = everything[: config.depth]
        if config.is_off or len(head) < 2:
            return everything
        # Pins and caps pass over items, so the first k may reach further down.
        relevances, size = relevance(scores[: len(head)]), len(head) if self.fixes_places else min(k, len(head))
        codes = [self.model.items.label_codes[label] for label in config.labels]
        if config.method == "mmr":
            labels = np.stack([one[item_nums[: len(head)]] for one in codes], axis=1)
            order = maximal_marginal_relevance(relevances, labels, strength=config.strength, size=size)
        else:
            taste = taste_of(query, codes[0])
            order = calibrated(relevances, codes[0][item_nums[: len(head)]], taste, strength=config.strength, size=size)
        return np.concatenate([order, everything[len(head) :]])

    def _with_fixed_places(
        self, query: Query, ranking: Ranking, notes: Mapping[int, str], k: int, permits: Permits | None
    ) -> Listing:
        pinned = self.rules.pins(query)
        nums = np.array([num for num, _ in pinned.values()], np.int32)
        allowed = self._permitted(query, nums, permits)
        pinned = {place: pin for (place, pin), stays in zip(pinned.items(), allowed, strict=True) if stays}
        ranking = self._with_items(query, ranking, [num for num, _ in pinned.values()])
        order = self._order(ranking.item_nums, {place: num for place, (num, _) in pinned.items()}, k)
        return Listing(ranking.take(order), {**notes, **dict(pinned.values())})

    def _with_items(self, query: Query, ranking: Ranking, item_nums: list[int]) -> Ranking:
        """The ranking with items at its end that no source named, scored like the others."""
        strange = np.array([num for num in item_nums if num not in set(ranking.item_nums.tolist())], np.int32)
        return ranking.joined(self.model.score(query, strange)) if len(strange) else ranking

    def _order(self, item_nums: NDArray[np.int32], pinned: Mapping[int, int], k: int) -> NDArray[np.intp]:
        """Places in the ranking of the first k: pins at theirs, between them the best that no cap keeps out.

        Where a place is left that nothing may take, the list ends, with the pins that were to come below.
        """
        row_of = {num: row for row, num in enumerate(item_nums.tolist())}
        counts = _Counts(self, pinned)
        free = [num for num in row_of if num not in set(pinned.values())]
        chosen: list[int] = []
        for place in range(k):
            if place in pinned:
                chosen.append(row_of[pinned[place]])
                continue
            found = next((at for at, num in enumerate(free) if counts.has_room(num, place)), None)
            if found is None:
                chosen.extend(row_of[pinned[below]] for below in sorted(pinned) if place < below < k)
                break
            counts.add(free[found])
            chosen.append(row_of[free.pop(found)])
        return np.array(chosen, np.intp)


class _Counts:
    """How many items of each label stand in the list; pins count from the start, so that what is above leaves them room."""

    def __init__(self, policy: ListPolicy, pinned: Mapping[int, int]) -> None:
        codes = policy.model.items.label_codes
        self.caps = [
            (
                cap,
                codes[cap.by],
                Counter(int(codes[cap.by][num]) for place, num in pinned.items() if place < cap.within),
            )
            for cap in policy.config.rules.cap
        ]

    def has_room(self, item_num: int, place: int) -> bool:
        """Whether no cap keeps the item from a place."""
        return all(
            place >= cap.within or codes[item_num] == UNKNOWN or counts[int(codes[item_num])] < cap.most
            for cap, codes, counts in self.caps
        )

    def add(self, item_num: int) -> None:
        """Count an item."""
        for _, codes, counts in self.caps:
            counts[int(codes[item_num])] += 1


def taste_of(query: Query, codes: NDArray[np.int32]) -> NDArray[np.float64]:
    """The user's share of each label by what the history counts today; all 0 where there is no history.

    Args:
        query: The request.
        codes: Label of each item of the catalogue, shape (n_items,).
    """
    weights = query.decayed
    return label_shares(codes[query.history.item_nums], weights, size=int(codes.max(initial=0)) + 1)
