"""All systems on the same queries: figures with intervals over users, of all items and of items new to the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.moments import Moment
from benchmarks.quality.systems.popularity import users_per_item
from components.artifacts.errors import ContractError
from components.evaluate_bundle.config import EvaluationConfig
from components.evaluate_bundle.evaluation import CatalogueFacts, Evaluation, Lists, evaluate_lists
from components.ranking.metrics import are_in

ItemNums = NDArray[np.integer]
MONTH_DAYS = 30.0


@dataclass(frozen=True)
class Answers:
    """The answers of every system at one cut, by item_num of the cut's own item table.

    Attributes:
        moment: The cut.
        systems: System to one list per query.
        pools: The product's candidates of each query.
    """

    moment: Moment
    systems: Mapping[str, Sequence[ItemNums]]
    pools: Sequence[ItemNums]


@dataclass(frozen=True)
class Comparison:
    """The same figures twice.

    Attributes:
        everything: All relevant items count.
        new: Only items that the user's history does not hold count, and known ones are taken out of every list.
    """

    everything: Evaluation
    new: Evaluation


def compare(answers: Sequence[Answers], singles: Sequence[str], config: EvaluationConfig) -> Comparison:
    """Measure every system.

    Args:
        answers: One per cut, ascending.
        singles: Names of the systems that the best single one is chosen from.
        config: Cut-offs, intervals.

    Raises:
        ContractError: There is no query, or none with a new item.
    """
    lists, facts = _joined(answers)
    fresh = new_to_user(lists)
    if not fresh.query_ids:
        raise ContractError("no query has a relevant item that is new to its user: only `everything` can be measured.")
    return Comparison(
        evaluate_lists(lists, facts, config, singles),
        evaluate_lists(fresh, facts, config, singles),
    )


def _joined(answers: Sequence[Answers]) -> tuple[Lists, CatalogueFacts]:
    """The cuts' lists by one code per item: item tables of different cuts may number differently."""
    tables = [one.moment.known.items for one in answers]
    relevant = [item for one in answers for items in one.moment.relevant for item in items]
    ids = sorted({*(str(item) for table in tables for item in table.item_ids), *relevant})
    code_of = {item_id: code for code, item_id in enumerate(ids)}
    lists = Lists()
    for one in answers:
        _add(lists, one, code_of)
    last, codes = answers[-1].moment.known, _codes(answers[-1].moment, code_of)
    recent = last.log.within(MONTH_DAYS)
    categories, shares = np.full(len(ids), -1, np.int32), np.zeros(len(ids))
    categories[codes] = last.items.category_codes
    shares[codes] = users_per_item(recent) / max(len(np.unique(recent.user_nums)), 1)
    first = answers[0].moment
    is_cold = np.isnan(first.known.items.feature("item_age_days"))
    lists.cold_items = _codes(first, code_of)[is_cold]
    return lists, CatalogueFacts(categories, shares)


def _codes(moment: Moment, code_of: Mapping[str, int]) -> NDArray[np.int64]:
    """Code of each item_num, shape (items,)."""
    return np.array([code_of[item_id] for item_id in moment.known.items.item_ids], np.int64)


def _add(lists: Lists, answers: Answers, code_of: Mapping[str, int]) -> None:
    moment, codes = answers.moment, _codes(answers.moment, code_of)
    for query, relevant, pool in zip(moment.queries, moment.relevant, answers.pools, strict=True):
        lists.query_ids.append(f"{query.user_id}@{moment.cut.date()}")
        lists.users.append(query.user_id)
        lists.cuts.append(str(moment.cut.date()))
        lists.history_sizes.append(len(query.history))
        lists.relevant.append(np.array([code_of[item] for item in relevant], np.int64))
        lists.known.append(codes[query.history.item_nums])
        lists.known_weights.append(query.decayed)
        lists.pools.append(codes[pool])
    for name, ranked in answers.systems.items():
        lists.systems.setdefault(name, []).extend(codes[items] for items in ranked)


def new_to_user(lists: Lists) -> Lists:
    """The queries with a relevant item that their user's history does not hold, known items taken out everywhere."""
    relevant = _without(lists.relevant, lists.known)
    rows = [row for row, items in enumerate(relevant) if len(items)]

    def of(values: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        return [values[row] for row in rows]

    return replace(
        lists,
        query_ids=[lists.query_ids[row] for row in rows],
        users=[lists.users[row] for row in rows],
        cuts=[lists.cuts[row] for row in rows],
        history_sizes=[lists.history_sizes[row] for row in rows],
        relevant=of(relevant),
        known=of(lists.known),
        known_weights=[lists.known_weights[row] for row in rows],
        pools=of(_without(lists.pools, lists.known)),
        systems={name: of(_without(ranked, lists.known)) for name, ranked in lists.systems.items()},
    )


def _without(lists: Sequence[NDArray[np.int64]], removed: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    return [items[~gone] for items, gone in zip(lists, are_in(lists, removed), strict=True)]
