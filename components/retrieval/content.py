"""New items that read like what the user takes: the way into the lists for items without a past."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from components.retrieval.interaction_log import csr_arrays, csr_from
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Scored, top_k

FIELDS = ("department", "category", "brand", "title", "description")
LABELS = ("department", "category", "brand")
"""Fields whose whole value is a word of its own beside its words."""
DEMAND_WEIGHT = 0.1
"""An item that some users took in its first days comes before one of the same text that nobody took."""


class Content:
    """Cosine of TF-IDF vectors between a user's history and the new items.

    An item is new from its appearance in the catalogue until `new_days` after the first interaction with it.
    Score = cosine * (1 + 0.1 * ln(1 + users in the last 7 days)). Items of one text share one vector.

    Source: Salton & Buckley, Term-weighting approaches in automatic text retrieval, IPM 24(5), 1988.
    """

    name: ClassVar[str] = "content"

    def __init__(
        self,
        vectors: sp.csr_array,
        text_of: NDArray[np.int32],
        new_items: NDArray[np.int32],
        boosts: NDArray[np.float32],
    ) -> None:
        self.vectors, self.text_of, self.new_items, self.boosts = vectors, text_of, new_items, boosts

    @classmethod
    def fit(cls, items: ItemTable, *, new_days: float) -> Self:
        """Read the catalogue's text."""
        texts, text_of = np.unique(_texts(items), return_inverse=True)
        age_days = items.feature("item_age_days")
        has_text = np.array([bool(text.strip()) for text in texts])[text_of]
        is_new = (np.isnan(age_days) | (age_days < new_days)) & has_text
        new_items = np.flatnonzero(is_new).astype(np.int32)
        boosts = 1 + DEMAND_WEIGHT * np.log1p(items.feature("item_users_7d")[new_items])
        return cls(_vectors(texts), text_of.astype(np.int32), new_items, boosts.astype(np.float32))

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """New items that the user does not know."""
        history = query.history
        if len(history) == 0 or len(self.new_items) == 0:
            return Scored(np.empty(0, np.int32), np.empty(0, np.float32))
        weights = np.bincount(
            self.text_of[history.item_nums], history.decayed_to(query.now_seconds), minlength=self.vectors.shape[0]
        )
        profile = weights @ self.vectors
        length = np.linalg.norm(profile)
        if length == 0:
            return Scored(np.empty(0, np.int32), np.empty(0, np.float32))
        cosines = self.vectors @ (profile / length)
        scores = cosines[self.text_of[self.new_items]] * self.boosts
        fits = (scores > 0) & ~np.isin(self.new_items, history.item_nums)
        return top_k(self.new_items[fits], scores[fits].astype(np.float32), k=k)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The texts' vectors, each item's text, the new items."""
        own = {"text_of": self.text_of, "new_items": self.new_items, "boosts": self.boosts}
        return {**csr_arrays(self.vectors), **own}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        return cls(csr_from(arrays), arrays["text_of"], arrays["new_items"], arrays["boosts"])


def _texts(items: ItemTable) -> NDArray[np.str_]:
    """One text per item: the words of its fields, and each label as one word."""
    columns = {name: items.table[name].to_pylist() for name in FIELDS}
    rows = zip(*columns.values(), strict=True)
    return np.array([_text(dict(zip(FIELDS, row, strict=True))) for row in rows], dtype=np.str_)


def _text(fields: dict[str, str | None]) -> str:
    labels = [f"{name}={'_'.join(fields[name].lower().split())}" for name in LABELS if fields[name]]  # type: ignore[union-attr]
    return " ".join([*(value.lower() for value in fields.values() if value), *labels])


def _vectors(texts: NDArray[np.str_]) -> sp.csr_array:
    if not any(text.strip() for text in texts):
        return sp.csr_array(np.zeros((len(texts), 1), np.float32))
    words = r"[^\s,;:()/]+"
    vectorizer = TfidfVectorizer(token_pattern=words, sublinear_tf=True, dtype=np.float32)
    return sp.csr_array(vectorizer.fit_transform(texts))
