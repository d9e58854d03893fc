"""What was answered to a query, told again from the log: the features are logged, so the reasons are those of then."""

import numpy as np
import pyarrow as pa

from components.artifacts.bundle import Bundle
from components.ranking.feature_matrix import CANDIDATE
from components.ranking.two_stage import Ranking
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, RANKER_FEATURE_NAMES
from serving.explanations import explain, words_of
from serving.protocol import ShownItem, ShownResponse, UnknownError
from serving.similar import labels_of


def shown_answer(bundle: Bundle, query_id: str, rows: pa.Table) -> ShownResponse:
    """The answer and what moved each item's score.

    Args:
        bundle: The one that answers now.
        query_id: The query.
        rows: Its impressions, best first.

    Raises:
        UnknownError: There are none, or another bundle gave the answer: its scores are not this one's to explain.
    """
    if rows.num_rows == 0:
        raise UnknownError(f"query {query_id!r}: not in the log; it was never answered here, or is older than the log.")
    shown = rows.to_pylist()
    first = shown[0]
    if first["bundle_id"] != bundle.manifest.bundle_id:
        raise UnknownError(
            f"query {query_id!r}: bundle {first['bundle_id']} answered it, this server has "
            f"{bundle.manifest.bundle_id} and cannot explain another's scores. Ask a server with that bundle."
        )
    top = _ranking(bundle, rows)
    explained = explain(bundle.model.ranker, top, words_of(bundle, top.item_nums))
    items = tuple(
        ShownItem(
            **{name: row[name] for name in (ITEM_ID, "position", "score", "retriever")},
            **labels,
            explanation=why,
        )
        for row, labels, why in zip(shown, labels_of(bundle.model, top.item_nums), explained, strict=True)
    )
    facts = ("user_id", "user_status", "bundle_id", "variant", "policy", EVENT_TIMESTAMP)
    return ShownResponse(query_id=query_id, items=items, **{name: first[name] for name in facts})


def _ranking(bundle: Bundle, rows: pa.Table) -> Ranking:
    """The list as the ranker saw it."""
    matrix = np.stack([rows[name].to_numpy() for name in RANKER_FEATURE_NAMES], axis=1).astype(np.float32)
    num_of = bundle.model.items.num_of
    return Ranking(
        np.array([num_of[item_id] for item_id in rows[ITEM_ID].to_pylist()], np.int32),
        rows["score"].to_numpy().astype(np.float32),
        matrix[:, CANDIDATE.start : CANDIDATE.stop : 2],
        np.ascontiguousarray(matrix),
    )
