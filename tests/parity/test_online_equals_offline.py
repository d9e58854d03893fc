"""What a request reads online is what training reads offline for the same moment."""

import math
import threading
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from components.artifacts.cuts import seconds
from components.artifacts.tables import Tables, write_tables
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.materialize_features.materialize import materialize_features
from components.point_in_time.queries import item_table_at, user_rows_at
from components.ranking.feature_matrix import feature_matrix
from components.retrieval.candidates import fuse
from components.retrieval.history import extend_history
from components.retrieval.query import build_query
from components.retrieval.retriever import Scored
from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS, USER_HISTORY
from feature_repo.store import apply, open_store
from serving.online_features import UserReader
from tests.serving.rows import as_lists
from tests.toy_world import USERS, moment, toy_tables

NOW = moment(12)
IDS = [f"u{number}" for number in range(USERS)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    write_tables(toy_tables(), folder / "events")
    compute_features(folder / "events", folder / "offline", [moment(11), NOW], config=FeaturesConfig())
    apply(folder)
    materialize_features(folder, end=NOW)
    return folder


def write_history(home, user_id: str, row, at: int) -> None:
    values = {feature.name: row[feature.name] for feature in USER_HISTORY.features}
    rows = OnlineRows(home).of_entity([USER_HISTORY])
    rows.update([user_id], lambda _id, _there: {USER_HISTORY.name: OnlineRow(values, at)})


def same(online, offline) -> bool:
    if isinstance(offline, np.ndarray):
        return offline.tolist() == list(online)
    if offline is None or (isinstance(offline, float) and math.isnan(offline)):
        return online is None
    return online == offline


def test_every_feature_of_every_user_is_the_same_online_and_offline(home):
    reader = UserReader(home)
    differing = []
    for user_id, offline in zip(IDS, user_rows_at(home, IDS, cut=NOW), strict=True):
        online = reader.read(user_id, now_seconds=seconds(NOW))
        assert online.status == "ok"
        features = {name: value for name, value in offline.items() if name != "user_id"}
        differing += [(user_id, name) for name, value in features.items() if not same(online.row.get(name), value)]
        assert set(online.row) <= set(features)
    assert differing == []


def test_history_extended_live_is_the_history_of_the_next_batch(home, tmp_path):
    events = toy_tables().interactions
    time = events["event_timestamp"]
    week = events.filter(pc.and_(pc.greater_equal(time, moment(11)), pc.less(time, NOW)))
    rows = dict(zip(IDS, user_rows_at(home, IDS, cut=moment(11)), strict=True))
    for event in week.to_pylist():
        at = seconds(event["event_timestamp"])
        rows[event["user_id"]] |= extend_history(
            rows[event["user_id"]], item_id=event["item_id"], seconds=at, weight=event["weight"]
        )
    for user_id, batch in zip(IDS, user_rows_at(home, IDS, cut=NOW), strict=True):
        for feature in USER_HISTORY.features:
            live = rows[user_id][feature.name]
            if "decayed" in feature.name:
                assert np.allclose(live, batch[feature.name], rtol=1e-5)
            else:
                assert list(live) == batch[feature.name].tolist(), (user_id, feature.name)


def test_events_that_arrive_in_any_order_give_the_history_of_the_batch(home):
    events = toy_tables().interactions
    before = events.filter(pc.and_(pc.less(events["event_timestamp"], NOW), pc.equal(events["user_id"], "u4")))
    arrived = np.random.default_rng(0).permutation(before.num_rows)
    row: dict[str, object] = {}
    for event in before.take(arrived).to_pylist():
        at = seconds(event["event_timestamp"])
        row = extend_history(row, item_id=event["item_id"], seconds=at, weight=event["weight"])
    batch = user_rows_at(home, ["u4"], cut=NOW)[0]
    assert row["user_history_item_ids"] == batch["user_history_item_ids"].tolist()
    for feature in USER_HISTORY.features[1:]:
        assert np.allclose(row[feature.name], batch[feature.name], rtol=1e-6), feature.name


def test_context_from_feast_is_the_context_in_the_rankers_matrix(home):
    names = ["context_hour", "context_weekday", "context_is_promoted"]
    asked = seconds(NOW) + 13 * 3600
    items = item_table_at(home, toy_tables().items, cut=NOW)
    every = Scored(np.arange(len(items.item_ids), dtype=np.int32), np.zeros(len(items.item_ids), np.float32))
    candidates = fuse({RETRIEVERS[0]: every})
    matrix = feature_matrix(build_query("u1", {}, items, now_seconds=asked), candidates, items)
    entities = pd.DataFrame({"item_id": items.item_ids[candidates.item_nums].astype(str), "request_seconds": asked})
    entities["event_timestamp"] = pd.Timestamp(NOW)
    features = [f"request_context_features:{name}" for name in names]
    found = open_store(home).get_historical_features(entity_df=entities, features=features).to_df()
    found = found.set_index("item_id").loc[entities["item_id"], names].to_numpy()
    columns = matrix[:, [RANKER_FEATURE_NAMES.index(name) for name in names]]
    assert columns[:, 2].sum() == 1  # the week's one promotion
    assert np.array_equal(found, columns)


def test_threads_that_read_and_write_side_by_side_see_whole_rows(home):
    reader, now, wrong = UserReader(home), seconds(NOW), []

    def work(first: int) -> None:
        for user_id in IDS[first::4]:
            known = reader.read(user_id, now_seconds=now)
            write_history(home, user_id, known.row, now)
            if as_lists(reader.read(user_id, now_seconds=now)) != as_lists(known):
                wrong.append(user_id)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_live_row_survives_an_older_snapshot_and_gives_way_to_a_newer_one(home):
    reader, later = UserReader(home), seconds(NOW + timedelta(days=1))
    row = extend_history(reader.read("u1", now_seconds=later).row, item_id="live", seconds=later, weight=1.0)
    write_history(home, "u1", row, later)
    kept = {done.view: done.kept for done in materialize_features(home, end=NOW)}
    assert kept["user_history"] == 1
    assert reader.read("u1", now_seconds=later).row["user_history_item_ids"][0] == "live"
    tables = toy_tables()
    write_tables(Tables(tables.interactions, tables.items, tables.users, tables.promotions), home / "events")
    compute_features(home / "events", home / "offline", [moment(14)], config=FeaturesConfig())
    materialize_features(home, end=moment(14))
    assert "live" not in reader.read("u1", now_seconds=seconds(moment(14))).row["user_history_item_ids"]
