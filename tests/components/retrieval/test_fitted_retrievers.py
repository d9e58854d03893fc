import numpy as np
import pytest

from components.artifacts.errors import ConfigError, ContractError
from components.retrieval.config import ContentConfig, RetrieversConfig
from components.retrieval.content import POWERS, Content
from components.retrieval.covisitation import BACKWARD, Covisitation
from components.retrieval.fit import fit_retrievers
from components.retrieval.interaction_log import InteractionLog
from components.retrieval.items import ItemTable
from components.retrieval.popular_in_context import PopularInContext
from components.retrieval.retriever import Retriever
from components.retrieval.rp3beta import Rp3Beta
from components.retrieval.storage import CLASSES, read_retrievers, write_retrievers
from feature_repo.schema import RETRIEVERS
from tests.components.retrieval.builders import CUT, interactions, item_table, query
from tests.toy_world import likes, moment, toy_tables

ITEMS = item_table(4)
COVISITATION = {"window_days": 90.0, "reach": 2, "decay": 0.5, "decay_days": 1e9, "neighbours": 5}
RP3BETA = {"window_days": 90.0, "decay_days": 1e9, "alpha": 1.0, "beta": 0.0, "min_users": 1, "neighbours": 5}


def log(*rows: tuple[str, str, float], **columns: str) -> InteractionLog:
    return InteractionLog.before(interactions(*rows, **columns), ITEMS, CUT)


def test_covisitation_weighs_distance_and_direction():
    fitted = Covisitation.fit(log(("u", "a", 3.0), ("u", "b", 2.0), ("u", "c", 1.0)), **COVISITATION)
    matrix = fitted.neighbours.toarray()
    # forward a-b 1, b-c 1, a-c 0.5; half of each backward; then row^0.5 and column^0.1 are divided by
    rows = {"a": 1 + 0.5, "b": 1 + BACKWARD, "c": BACKWARD * 1 + BACKWARD * 0.5}
    columns = {"a": BACKWARD * 1 + BACKWARD * 0.5, "b": 1 + BACKWARD, "c": 1 + 0.5}
    assert np.isclose(matrix[0, 1], 1.0 / rows["a"] ** 0.5 / columns["b"] ** 0.1)
    assert np.isclose(matrix[0, 2], 0.5 / rows["a"] ** 0.5 / columns["c"] ** 0.1)
    assert np.isclose(matrix[2, 0], BACKWARD * 0.5 / rows["c"] ** 0.5 / columns["a"] ** 0.1)


def test_covisitation_does_not_pair_different_users():
    assert Covisitation.fit(log(("u", "a", 3.0), ("v", "b", 2.0)), **COVISITATION).neighbours.nnz == 0


def test_rp3beta_is_the_probability_of_the_walk():
    fitted = Rp3Beta.fit(log(("u", "a", 1.0), ("u", "b", 1.0), ("v", "b", 1.0), ("v", "c", 1.0)), **RP3BETA)
    # a -> u (1) -> b (1/2); b -> u or v (1/2 each) -> c (1/2)
    assert np.isclose(fitted.neighbours.toarray()[0, 1], 1 * 0.5)
    assert np.isclose(fitted.neighbours.toarray()[1, 2], 0.5 * 0.5)
    assert fitted.neighbours.diagonal().sum() == 0


def test_rp3beta_leaves_items_of_too_few_users_out():
    rows = [("u", "a", 1.0), ("u", "b", 1.0), ("v", "b", 1.0)]
    assert Rp3Beta.fit(log(*rows), **(RP3BETA | {"min_users": 2})).neighbours.nnz == 0


def test_popular_in_a_store_comes_before_popular_everywhere():
    here = interactions(("u", "a", 1.0), ("v", "a", 1.0), ("w", "a", 1.0), ("w", "b", 1.0), store_id="far")
    there = interactions(("x", "c", 1.0), store_id="near")
    import pyarrow as pa

    both = InteractionLog.before(pa.concat_tables([here, there]), ITEMS, CUT)
    fitted = PopularInContext.fit(both, window_days=30.0, decay_days=1e9, smoothing=0.5, length=3)
    assert fitted.retrieve(query(ITEMS, store_id="near"), k=2).item_nums.tolist() == [2, 0]
    assert fitted.retrieve(query(ITEMS, store_id="far"), k=1).item_nums.tolist() == [0]
    assert fitted.retrieve(query(ITEMS, store_id="never seen"), k=1).item_nums.tolist() == [0]
    assert np.allclose(fitted.retrieve(query(ITEMS), k=1).scores, [3 / 5])


CONTENT = ContentConfig(min_users=1).model_dump()
KINDS = {"category": ["milk", "milk", "milk", "bread"], "title": ["x", "y", "z", "w"]}


def content_of(items: ItemTable, *rows: tuple[str, str, float], **changes: float) -> Content:
    return Content.fit(InteractionLog.before(interactions(*rows), items, CUT), items, **{**CONTENT, **changes})


def test_content_finds_new_items_of_the_same_kind_and_no_old_ones():
    items = item_table(4, KINDS, item_age_days=[100.0, 5.0, 100.0, None])
    fitted = content_of(items, ("u", "a", 50.0), ("u", "c", 50.0))
    scored = fitted.retrieve(query(items, ("a", 1.0, 1.0, 1.0)), k=5)
    assert scored.item_nums.tolist() == [1]  # c is old, d is another kind
    assert scored.scores[0] > 0


def test_twin_of_a_known_item_is_expected_to_be_taken_as_often_as_its_shrunken_mean():
    """A cosine of 1 to both known items: each power gives (ln 2 + ln 4) / (2 + shrinkage)."""
    items = item_table(3, {"category": ["milk"] * 3, "title": ["x"] * 3}, item_age_days=[90.0, 90.0, None])
    fitted = content_of(items, ("u", "a", 50.0), ("u", "b", 50.0), shrinkage=3.0)
    scored = fitted.retrieve(query(items, ("a", 1.0, 1.0, 1.0), ("b", 3.0, 1.0, 1.0)), k=1)
    assert scored.scores[0] == pytest.approx(len(POWERS) * (np.log(2) + np.log(4)) / (2 + 3))


def test_item_that_too_few_users_know_says_nothing_of_new_ones():
    items = item_table(4, KINDS, item_age_days=[100.0, 5.0, 100.0, None])
    asked = query(items, ("a", 1.0, 1.0, 1.0))
    assert len(content_of(items, ("u", "a", 50.0), min_users=2).retrieve(asked, k=5).item_nums) == 0
    assert len(content_of(items, ("u", "a", 50.0), ("v", "a", 50.0), min_users=2).retrieve(asked, k=5).item_nums) == 1


def test_new_item_with_first_users_comes_before_its_twin_without():
    labels = {"category": ["milk"] * 3, "title": ["x"] * 3}
    items = item_table(3, labels, item_age_days=[90.0, None, 2.0], item_users_30d=[1.0, 0.0, 3.0])
    scored = content_of(items, ("u", "a", 50.0), demand_weight=2.0).retrieve(query(items, ("a", 1, 1, 1)), k=2)
    assert scored.item_nums.tolist() == [2, 1]
    assert scored.scores[0] / scored.scores[1] == pytest.approx(1 + 2 * 3)


def test_content_of_items_without_text_is_empty():
    items = item_table(3)
    fitted = content_of(items, ("u", "a", 50.0))
    assert len(fitted.retrieve(query(items, ("a", 1, 1, 1)), k=5).item_nums) == 0
    again = Content.from_arrays(fitted.arrays())
    assert len(again.retrieve(query(items, ("a", 1, 1, 1)), k=5).item_nums) == 0


@pytest.fixture(scope="module")
def toy() -> tuple[dict[str, Retriever], object]:
    tables = toy_tables()
    import pyarrow as pa

    from components.retrieval.items import FEATURE_NAMES, ItemTable

    ids = tables.items["item_id"]
    values = {name: pa.array([1.0] * len(ids), pa.float32()) for name in FEATURE_NAMES}
    items = ItemTable.build(tables.items, pa.table({"item_id": ids, **values}))
    config = RetrieversConfig(rp3beta={"min_users": 2})
    return fit_retrievers(tables.interactions, items, cut=moment(15), config=config), items


def test_neighbours_in_the_toy_world_are_of_the_same_parity(toy):
    fitted, items = toy
    for name in ("covisitation", "rp3beta"):
        rows, columns = fitted[name].neighbours.nonzero()
        assert len(rows) > 0
        assert all(
            int(items.item_ids[a][1:]) % 2 == int(items.item_ids[b][1:]) % 2 for a, b in zip(rows, columns, strict=True)
        )
    assert likes("u2", "i4")


def test_written_retrievers_are_read_back_equal_and_written_again_give_the_same_bytes(toy, tmp_path):
    fitted, _ = toy
    write_retrievers(fitted, tmp_path / "one")
    again = read_retrievers(tmp_path / "one")
    write_retrievers(again, tmp_path / "two")
    assert set(again) == set(fitted) == set(RETRIEVERS) == set(CLASSES)
    for name in fitted:
        assert (tmp_path / "one" / f"{name}.npz").read_bytes() == (tmp_path / "two" / f"{name}.npz").read_bytes()


def test_object_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "covisitation.npz", indptr=np.array([{}], dtype=object))
    with pytest.raises(ContractError, match="not what this version writes for covisitation"):
        read_retrievers(tmp_path)


def test_retriever_of_another_name_is_refused(tmp_path):
    np.savez(tmp_path / "magic.npz", x=np.zeros(1))
    with pytest.raises(ContractError, match="no retriever of that name; this version knows"):
        read_retrievers(tmp_path)


def test_quota_of_an_unknown_retriever_is_refused():
    with pytest.raises(ConfigError, match=r"magic.*for repeat_purchase, user_neighbours"):
        RetrieversConfig(quotas={"magic": 3})


def test_retriever_without_a_quota_is_not_fitted():
    tables = toy_tables(weeks=4)
    config = RetrieversConfig(quotas={"repeat_purchase": 5})
    fitted = fit_retrievers(tables.interactions, item_table(2), cut=moment(3), config=config)
    assert list(fitted) == ["repeat_purchase"]
