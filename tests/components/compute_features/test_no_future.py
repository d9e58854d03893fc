"""No feature sees an event at or after its moment."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ContractError
from components.artifacts.tables import TRANSFORMATION_LOG, Tables, write_tables
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from tests.toy_world import moment, toy_tables

CUT = moment(10)


def digests(folder, tables: Tables) -> dict[str, str]:
    write_tables(tables, folder / "events")
    manifest = compute_features(folder / "events", folder / "store", [CUT], config=FeaturesConfig())
    return {file.path: file.sha256 for file in manifest.files}


def only(tables: Tables, *, before: bool) -> Tables:
    time = tables.interactions["event_timestamp"]
    kept = pc.less(time, pa.scalar(CUT, time.type)) if before else pc.is_valid(time)
    return Tables(tables.interactions.filter(kept), tables.items, tables.users, tables.promotions)


def test_events_at_or_after_the_cut_change_no_byte_of_any_snapshot(tmp_path):
    tables = toy_tables()
    with_future, without = digests(tmp_path / "a", tables), digests(tmp_path / "b", only(tables, before=True))
    assert with_future == without


def test_event_exactly_at_the_cut_changes_no_byte(tmp_path):
    tables = only(toy_tables(), before=True)
    row = tables.interactions.slice(0, 1).to_pylist()[0] | {"event_id": "at the cut", "event_timestamp": CUT}
    extra = pa.Table.from_pylist([row], schema=tables.interactions.schema)
    more = Tables(pa.concat_tables([tables.interactions, extra]), tables.items, tables.users, tables.promotions)
    assert digests(tmp_path / "a", more) == digests(tmp_path / "b", tables)


def test_order_of_the_events_changes_no_byte(tmp_path):
    tables = toy_tables(weeks=6)
    backwards = tables.interactions.take(pa.array(range(tables.interactions.num_rows - 1, -1, -1)))
    turned = Tables(backwards, tables.items, tables.users, tables.promotions)
    assert digests(tmp_path / "a", tables) == digests(tmp_path / "b", turned)


def test_computing_again_gives_the_same_bytes(tmp_path):
    tables = toy_tables(weeks=12)
    assert digests(tmp_path / "a", tables) == digests(tmp_path / "b", tables)


def test_snapshots_computed_side_by_side_have_the_bytes_of_those_computed_alone(tmp_path):
    cuts = [moment(6), moment(8), moment(10), moment(11)]
    write_tables(toy_tables(weeks=12), tmp_path / "events")
    together = compute_features(tmp_path / "events", tmp_path / "together", cuts, config=FeaturesConfig())
    alone = [
        file
        for cut in cuts
        for file in compute_features(tmp_path / "events", tmp_path / "alone", [cut], config=FeaturesConfig()).files
    ]
    assert sorted(alone, key=lambda file: file.path) == list(together.files)


def test_half_written_snapshot_is_never_seen_by_feasts_glob(tmp_path):
    digests(tmp_path / "a", toy_tables(weeks=3))
    assert {path.suffix for path in (tmp_path / "a" / "store").rglob("*") if path.is_file()} == {".parquet"}
    assert pq.read_metadata(next((tmp_path / "a" / "store" / "item_profile").glob("*.parquet"))).num_rows == 40


def test_a_store_takes_the_snapshots_of_one_data_set(tmp_path):
    def compute(name: str) -> None:
        write_tables(toy_tables(weeks=12), tmp_path / name)
        (tmp_path / name / TRANSFORMATION_LOG).write_text(json.dumps({"dataset": name}))
        compute_features(tmp_path / name, tmp_path / "store", [CUT], config=FeaturesConfig())

    compute("shop")
    compute("shop")
    with pytest.raises(ContractError, match=r"the snapshots are of data set shop, the events of other; .*RECSYS_HOME"):
        compute("other")
