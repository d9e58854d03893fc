"""What goes with an item: the bundle's own item-to-item lists, fused, page by page."""

import base64
import binascii
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle
from components.ranking.two_stage import TwoStageModel
from components.retrieval.candidates import Candidates, fuse
from components.retrieval.content import Content
from components.retrieval.items import READ_COLUMNS
from components.retrieval.query import build_query
from components.retrieval.retriever import Retriever, Scored, top_k
from serving.protocol import InvalidRequestError, SimilarItem, SimilarRequest, SimilarResponse, UnknownError
from serving.reasons import sources_of

LISTS = ("covisitation", "rp3beta", "content")
"""Retrievers that say of one item which others go with it."""


def similar_items(bundle: Bundle, request: SimilarRequest, *, now_seconds: int) -> SimilarResponse:
    """One page of the items that go with an item, best fused first (reciprocal ranks, as candidates are).

    Items that a rule keeps out of every list now are passed over. A cursor counts places in the whole list, so pages
    never overlap; it holds for one bundle, whose lists do not change.

    Raises:
        UnknownError: The bundle has no such item.
        InvalidRequestError: The cursor is none of this bundle's.
    """
    item_num = bundle.model.items.num_of.get(request.item_id)
    if item_num is None:
        raise UnknownError(f"item {request.item_id!r}: not in the catalogue of bundle {bundle.manifest.bundle_id}.")
    start = _place(request.cursor, bundle.manifest.bundle_id)
    found = fuse(_lists(bundle.model, item_num))
    nobody = build_query("", {}, bundle.model.items, now_seconds=now_seconds)
    permitted = bundle.policy.rules.permits(nobody, found.item_nums)
    places = start + np.flatnonzero(permitted[start:])
    page, rest = places[: request.k], places[request.k :]
    labels = labels_of(bundle.model, found.item_nums[page])
    return SimilarResponse(
        item_id=request.item_id,
        bundle_id=bundle.manifest.bundle_id,
        items=tuple(
            _item(bundle.model, found, place, texts) for place, texts in zip(page.tolist(), labels, strict=True)
        ),
        next_cursor=_cursor(bundle.manifest.bundle_id, int(rest[0])) if len(rest) else None,
    )


def labels_of(model: TwoStageModel, item_nums: NDArray[np.int32]) -> list[dict[str, str | None]]:
    """What a person reads of each item."""
    columns = (model.items.texts(name, item_nums) for name in READ_COLUMNS)
    return [dict(zip(READ_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def _lists(model: TwoStageModel, item_num: int) -> Mapping[str, Scored]:
    return {name: _row(model.retrievers[name], item_num) for name in LISTS if name in model.retrievers}


def _row(retriever: Retriever, item_num: int) -> Scored:
    if isinstance(retriever, Content):
        return retriever.alike(item_num)
    neighbours = retriever.neighbours  # type: ignore[attr-defined]  # as both of the others have
    row = slice(neighbours.indptr[item_num], neighbours.indptr[item_num + 1])
    return top_k(neighbours.indices[row].astype(np.int32), neighbours.data[row], k=row.stop - row.start)


def _item(model: TwoStageModel, found: Candidates, place: int, texts: dict[str, str | None]) -> SimilarItem:
    return SimilarItem(
        item_id=str(model.items.item_ids[found.item_nums[place]]),
        position=place + 1,
        sources=sources_of(found.ranks[place]),
        **texts,
    )


def _cursor(bundle_id: str, place: int) -> str:
    return base64.urlsafe_b64encode(f"{bundle_id}:{place}".encode()).decode().rstrip("=")


def _place(cursor: str | None, bundle_id: str) -> int:
    if cursor is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        owner, _, place = text.partition(":")
        number = int(place) if place.isdecimal() and len(place) < 10 else -1
    except (binascii.Error, ValueError):
        owner, number = "", -1
    if number < 0:
        raise InvalidRequestError("cursor: not one of this API's. Send `next_cursor` of the page before, unchanged.")
    if owner != bundle_id:
        raise InvalidRequestError(
            f"cursor: of bundle {owner!r}, and {bundle_id} answers now: its list is another. Begin without a cursor."
        )
    return number
