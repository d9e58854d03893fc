import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from components.retrieval.neighbours import best_per_row, strongest_link, walk
from tests.components.retrieval.builders import item_table, query

ITEMS = item_table(4)
NEIGHBOURS = sp.csr_array(np.array([[0, 2, 1, 0], [0, 0, 0, 3], [0, 0, 0, 1], [0, 0, 0, 0]], np.float32))


def test_tie_at_the_border_goes_to_the_smaller_column():
    kept = best_per_row(sp.csr_array(np.array([[1, 1, 1, 2]], np.float32)), 2)
    assert kept.toarray().tolist() == [[1, 0, 0, 2]]


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(1, 6))
def test_kept_values_are_the_largest_of_each_row(rows, k):
    matrix = np.array(rows, np.float32)
    kept = best_per_row(sp.csr_array(matrix), k).toarray()
    for before, after in zip(matrix, kept, strict=True):
        assert sorted(after[after > 0]) == sorted(np.sort(before[before > 0])[::-1][:k])


def test_walk_sums_over_the_history_and_leaves_the_known_out():
    scored = walk(NEIGHBOURS, query(ITEMS, ("a", 1.0, 0.0, 0.0), ("b", 4.0, 0.0, 0.0)), k=5)
    assert scored.item_nums.tolist() == [3, 2]  # b, which a leads to as well, is known
    assert np.allclose(scored.scores, [np.sqrt(4) * 3, 1.0 * 1])


def test_strongest_link_names_the_item_that_leads_there_most():
    asked = query(ITEMS, ("a", 1.0, 0.0, 0.0), ("b", 1.0, 0.0, 0.0), ("c", 1.0, 0.0, 0.0))
    assert strongest_link(NEIGHBOURS, asked, 3) == 1
    assert strongest_link(NEIGHBOURS, asked, 0) is None


def test_empty_history_leads_nowhere():
    assert len(walk(NEIGHBOURS, query(ITEMS), k=5).item_nums) == 0
