"""New items whose text reads like what the user takes: the way into the lists for items without a past."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.native.compiler import native
from components.retrieval.interaction_log import Counts, SparseMatrix, csr_arrays, csr_from
from components.retrieval.items import UNKNOWN, ItemTable
from components.retrieval.neighbours import best_per_row
from components.retrieval.query import Query
from components.retrieval.retriever import Scored, top_k
from components.retrieval.weighted_sums import positive_sums

FIELDS = ("department", "category", "brand", "title", "description")
LABELS = ("department", "category", "brand")
"""Fields whose whole value is a word of its own beside its words."""
POWERS = (8, 32)
"""Of the cosine in the kernel: the first takes the same kind of item for alike, the second nearly the same item."""
LEAST_COSINE = 0.3
"""Below it the kernel is under 0.0001."""
TEXTS_AT_ONCE = 512
ALIKE = 100
"""New items that are named as going with one item."""


class Content:
    """Kernel regression from the text of known items to new ones.

    An item is new from its appearance in the catalogue until `new_days` after the first interaction with it. It is
    expected to be taken by those who take items that read like it: its score is the mean of what the user does with
    the known items, weighted by a power of the cosine of their TF-IDF vectors, shrunk to 0 where little is alike.

        score(u, c) = sum over powers p of
                      [sum over i of ln(1 + count(u, i)) * cos(i, c)^p] / [sum over i of cos(i, c)^p + shrinkage]

    That is multiplied by 1 + demand_weight * users in the last 30 days: most of a catalogue that nobody ever took is
    not for sale any more, and first users are the only sign of life. Items of one text share one vector.

    Source: Nadaraya, On estimating regression, Theory of Probability and its Applications 9(1), 1964; Salton & Buckley,
        Term-weighting approaches in automatic text retrieval, IPM 24(5), 1988.
    """

    name: ClassVar[str] = "content"

    def __init__(
        self,
        neighbours: sp.csr_array,
        text_of: NDArray[np.int32],
        new_items: NDArray[np.int32],
        new_text_of: NDArray[np.int32],
        boosts: NDArray[np.float32],
    ) -> None:
        self.neighbours, self.text_of = neighbours, text_of
        self.new_items, self.new_text_of, self.boosts = new_items, new_text_of, boosts

    @classmethod
    def fit(
        cls,
        log: Counts,
        items: ItemTable,
        *,
        new_days: float,
        neighbours: int,
        min_users: int,
        shrinkage: float,
        demand_weight: float,
    ) -> Self:
        """Read the catalogue's text, and which items enough users know."""
        texts, places = np.unique(_texts(items), return_inverse=True)
        text_of = places.astype(np.int32)
        has_text = np.array([bool(text.strip()) for text in texts], bool)[text_of]
        age_days = items.feature("item_age_days")
        is_new = (np.isnan(age_days) | (age_days < new_days)) & has_text
        supports = np.bincount(text_of[~is_new & has_text & (log.users_of_items() >= min_users)], minlength=len(texts))
        new_items = np.flatnonzero(is_new).astype(np.int32)
        new_texts, new_text_of = np.unique(text_of[new_items], return_inverse=True)
        matrix = _links(_vectors(texts), supports, new_texts, neighbours=neighbours, shrinkage=shrinkage)
        boosts = 1 + demand_weight * items.feature("item_users_30d")[new_items]
        return cls(matrix, text_of, new_items, np.asarray(new_text_of, np.int32), boosts.astype(np.float32))

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """New items that the user does not know."""
        history = query.history
        if len(history) == 0 or self.neighbours.nnz == 0:
            return Scored(np.empty(0, np.int32), np.empty(0, np.float32))
        weights = np.log1p(history.counts)
        return self._named(self.text_of[history.item_nums], weights, without=history.item_nums, k=k)

    def alike(self, item_num: int) -> Scored:
        """New items whose text reads like one item's, as one interaction with it speaks for them."""
        own = np.array([item_num], np.int32)
        return self._named(self.text_of[own], np.ones(1, np.float32), without=own, k=ALIKE)

    def _named(
        self, texts: NDArray[np.int32], weights: NDArray[np.float32], *, without: NDArray[np.int32], k: int
    ) -> Scored:
        """The new items that some texts speak for."""
        found, scores = positive_sums(self.neighbours, texts, weights)
        named = _spread(found, scores, *self._places_of_text, self.boosts, self.new_items, self._place_of, without)
        return top_k(*named, k=k)

    @cached_property
    def _place_of(self) -> NDArray[np.int32]:
        """Place of each item in `new_items`, UNKNOWN where it is not new."""
        places = np.full(len(self.text_of), UNKNOWN, np.int32)
        places[self.new_items] = np.arange(len(self.new_items), dtype=np.int32)
        return places

    @cached_property
    def _places_of_text(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Places in `new_items` by their text: first of each text, shape (n_texts + 1,), and the places."""
        counts = np.bincount(self.new_text_of, minlength=self.neighbours.shape[1])
        return np.concatenate([[0], np.cumsum(counts)]), np.argsort(self.new_text_of, kind="stable").astype(np.int32)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The links between texts, each item's text, the new items."""
        own = {
            "text_of": self.text_of,
            "new_items": self.new_items,
            "new_text_of": self.new_text_of,
            "boosts": self.boosts,
        }
        return {**csr_arrays(self.neighbours), **own}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        own = (arrays[name] for name in ("text_of", "new_items", "new_text_of", "boosts"))
        return cls(csr_from(arrays), *own)


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
    # A second of CPU, which who reads a bundle does not need.
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = r"[^\s,;:()/]+"
    vectorizer = TfidfVectorizer(token_pattern=words, sublinear_tf=True, dtype=np.float32)
    return sp.csr_array(vectorizer.fit_transform(texts))


def _links(
    vectors: sp.csr_array,
    supports: NDArray[np.int64],
    new_texts: NDArray[np.integer],
    *,
    neighbours: int,
    shrinkage: float,
) -> SparseMatrix:
    """What one interaction with an item of each text (row) says for a new text (column), the best of each column."""
    known = np.flatnonzero(supports)
    if len(known) == 0 or len(new_texts) == 0:
        return sp.csr_array((len(vectors.indptr) - 1, len(new_texts)), dtype=np.float32)
    parts = [
        best_per_row(_kernel(cosines, supports[known], shrinkage), neighbours)
        for cosines in _cosines(vectors[new_texts], vectors[known])
    ]
    found = sp.coo_array(sp.vstack(parts))
    shape = (vectors.shape[0], len(new_texts))
    return sp.coo_array((found.data, (known[found.col], found.row)), shape=shape).tocsr()


def _cosines(new: sp.csr_array, known: sp.csr_array) -> Iterator[sp.csr_array]:
    """Rows of the cosines of new and known texts, those under LEAST_COSINE left out."""
    across = known.T.tocsr()
    for start in range(0, new.shape[0], TEXTS_AT_ONCE):
        cosines = sp.csr_array(new[start : start + TEXTS_AT_ONCE] @ across)
        cosines.data[cosines.data < LEAST_COSINE] = 0
        cosines.eliminate_zeros()
        yield cosines


def _kernel(cosines: sp.csr_array, supports: NDArray[np.int64], shrinkage: float) -> sp.csr_array:
    rows = np.repeat(np.arange(cosines.shape[0]), np.diff(cosines.indptr))
    summed = np.zeros(cosines.nnz, np.float32)
    for power in POWERS:
        values = np.minimum(cosines.data, 1) ** power
        totals = np.bincount(rows, values * supports[cosines.indices], minlength=cosines.shape[0])
        summed += values / (totals[rows] + shrinkage)
    return sp.csr_array((summed, cosines.indices, cosines.indptr), shape=cosines.shape)


@native
def _spread(
    texts: NDArray[np.int32],
    scores: NDArray[np.float32],
    starts: NDArray[np.int64],
    places: NDArray[np.int32],
    boosts: NDArray[np.float32],
    new_items: NDArray[np.int32],
    place_of: NDArray[np.int32],
    without: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The new items of some texts that are not among some items, and their boosted scores, those that are 0 left out."""
    is_known = np.zeros(len(new_items) + 1, np.bool_)  # the last place, -1, is that of items which are not new
    for item_num in without:
        is_known[place_of[item_num]] = True
    size = 0
    for text in texts:
        size += starts[text + 1] - starts[text]
    found, boosted, kept = np.empty(size, np.int32), np.empty(size, np.float32), 0
    for text in range(len(texts)):
        for entry in range(starts[texts[text]], starts[texts[text] + 1]):
            place = places[entry]
            score = scores[text] * boosts[place]
            found[kept], boosted[kept] = new_items[place], score
            kept += score > 0 and not is_known[place]
    return found[:kept], boosted[:kept]
