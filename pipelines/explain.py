"""Why a user is shown what, from the feature store as of a day: `recsys model explain`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.cuts import parse_moment
from components.artifacts.errors import NotFoundError
from components.artifacts.registry import open_registry
from components.point_in_time.queries import queries_at, refreshed_items_at
from components.ranking.two_stage import Ranking
from components.retrieval.query import Query
from serving.explanations import explain, words_of
from serving.protocol import Explanation

LEAST_SHARE = 0.02
"""Topics that moved the score by less than this share of all that moved it are not told."""


@dataclass(frozen=True, slots=True)
class ExplainedItem:
    """One item: where it stands, and why, line by line."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer in one sentence, then its items."""

    sentence: str
    items: tuple[ExplainedItem, ...]


def explain_user(
    home: Path, model_name: str, bundle: str, user_id: str, *, item: str | None, as_of: str | None, k: int
) -> Explained:
    """Explain the first k items of a user's list, or one item wherever it stands.

    Raises:
        NotFoundError: No such bundle, or the catalogue has no such item.
    """
    trained = load_bundle(open_registry(home).version(model_name, bundle).folder)
    moment = parse_moment(as_of or trained.manifest.facts.as_of)
    items = refreshed_items_at(home, trained.model.items, cut=moment)
    loaded = trained.with_items(items)
    [query] = queries_at(home, [user_id], items, cut=moment)
    ranking = loaded.model.rank(query)
    listed = loaded.policy.arrange(query, ranking, k=max(k, 1)).ranking
    known = f"{len(query.history)} items in the history" if len(query.history) else "nothing is known"
    sentence = f"{loaded.manifest.bundle_id}, user {user_id} as of {moment.date()}: {known}, {len(ranking)} candidates."
    if item is None:
        return Explained(sentence, _explained(loaded, listed, [f"{place}." for place in range(1, len(listed) + 1)]))
    if item not in items.num_of:
        raise NotFoundError(f"item {item!r}: the bundle's catalogue has none of that id, among {len(items):,}.")
    row, place = _find(loaded, query, ranking, listed, items.num_of[item])
    return Explained(sentence, _explained(loaded, row, [place]))


def _find(bundle: Bundle, query: Query, ranking: Ranking, listed: Ranking, item_num: int) -> tuple[Ranking, str]:
    """The item's row, and where it stands in words."""
    shown = np.flatnonzero(listed.item_nums == item_num)
    if len(shown):
        return listed.take(shown), f"{shown[0] + 1}."
    found = np.flatnonzero(ranking.item_nums == item_num)
    if len(found):
        ahead = float(listed.scores[-1] - ranking.scores[found[0]]) if len(listed) else 0.0
        return ranking.take(found), f"Rank {found[0] + 1} of the candidates, {ahead:.2f} behind the last one shown:"
    unnamed = bundle.model.score(query, np.array([item_num], np.int32))
    return unnamed, "Not a candidate, for no source named it:"


def _explained(bundle: Bundle, top: Ranking, places: Sequence[str]) -> tuple[ExplainedItem, ...]:
    explanations = explain(bundle.model.ranker, top, words_of(bundle, top.item_nums))
    margins = bundle.model.ranker.log_odds(top.scores)
    rows = zip(places, top.item_nums.tolist(), margins.tolist(), explanations, strict=True)
    return tuple(_item(bundle, place, num, margin, one) for place, num, margin, one in rows)


def _item(bundle: Bundle, place: str, item_num: int, margin: float, explanation: Explanation) -> ExplainedItem:
    items = bundle.model.items
    title = items.table["title"][item_num].as_py() or ""
    sources = ", ".join(f"{source.retriever} {source.rank}" for source in explanation.sources) or "none"
    moved = sum(abs(topic.contribution) for topic in explanation.topics)
    told = [topic for topic in explanation.topics if abs(topic.contribution) >= LEAST_SHARE * moved]
    return ExplainedItem(
        f"{place} {items.item_ids[item_num]} {title}".rstrip(),
        (
            f"log-odds {margin:.2f}, of which {explanation.base:+.2f} before anything is known; named by: {sources}",
            *(f"{topic.contribution:+.2f}  {topic.sentence} ({topic.name})" for topic in told),
        ),
    )
