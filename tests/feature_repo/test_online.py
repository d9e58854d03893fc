"""One entity's rows in one exchange, on both stores: Feast reads what is written so, and what it wrote is read."""

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.online import EntityRows, OnlineRows
from feature_repo.online_values import OnlineRow, Rows, key_bytes
from feature_repo.schema import USER_HISTORY, USER_ID, USER_PROFILE, VIEWS
from feature_repo.store import apply, open_store
from feature_repo.store_config import ONLINE_STORE_URL

USER_VIEWS = [spec for spec in VIEWS if spec.entity == USER_ID]
LATER = 1_700_000_000
PROFILE = {"user_age_years": 30.5, "user_income_usd": None, "user_household_size": 2.0, "user_segment": "näher, 'x'"}
HISTORY = {
    "user_history_item_ids": ["a", ""],
    "user_history_counts": [1.5, 2.0],
    "user_history_first_seconds": [1, 2**40],
    "user_history_last_seconds": None,
    "user_history_decayed_counts": [],
}


@pytest.fixture(params=["sqlite", "redis"])
def home(request, tmp_path, monkeypatch) -> Path:
    """A state folder whose online store is empty."""
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        server.empty()
        monkeypatch.setenv(ONLINE_STORE_URL, server.url)
    apply(tmp_path)
    return tmp_path


def rows_of(home: Path) -> EntityRows:
    return OnlineRows(home).of_entity(USER_VIEWS)


def both(_entity_id: str, _there: Rows) -> dict[str, OnlineRow]:
    return {USER_PROFILE.name: OnlineRow(PROFILE, LATER), USER_HISTORY.name: OnlineRow(HISTORY, LATER + 1)}


def test_rows_come_back_with_types_nulls_and_times_and_absent_ones_are_none(home):
    rows = rows_of(home)
    rows.update(["u"], both)
    found = rows.read("u")
    assert found == {
        "user_profile": OnlineRow(PROFILE, LATER),
        "user_stats": None,
        "user_history": OnlineRow(HISTORY, LATER + 1),
        "user_category_affinity": None,
    }
    assert set(rows.read("nobody").values()) == {None}


def test_lists_of_numbers_as_arrays_are_the_lists(home):
    rows, arrays = rows_of(home), OnlineRows(home).of_entity(USER_VIEWS, as_arrays=True)
    rng = np.random.default_rng(0)
    for whole in [
        [],
        [0],
        [127, 128],  # one byte and two
        [128, 127],
        [1, 2**14 + 1],  # one and three: four in all, as two of two
        [2**35 - 1, 2**28],
        [2**62, -1, -(2**63)],  # what is negative takes ten
        rng.integers(2**28, 2**35, 300).tolist(),  # times: five each
    ]:
        numbers = rng.standard_normal(len(whole)).astype(np.float32).tolist()
        values = {**HISTORY, "user_history_first_seconds": whole, "user_history_counts": numbers}
        rows.update(["u"], lambda _id, _there, values=values: {USER_HISTORY.name: OnlineRow(values, LATER)})
        found = arrays.read("u")[USER_HISTORY.name].values
        assert (found["user_history_first_seconds"].dtype, found["user_history_counts"].dtype) == (np.int64, np.float32)
        assert found["user_history_first_seconds"].tolist() == whole
        assert found["user_history_counts"].tolist() == numbers
        assert found["user_history_item_ids"] == HISTORY["user_history_item_ids"]
        assert found["user_history_last_seconds"] is None


def test_feast_reads_what_is_written_here(home):
    rows_of(home).update(["u"], both)
    names = [f"{spec.name}:{feature.name}" for spec in (USER_PROFILE, USER_HISTORY) for feature in spec.features]
    found = open_store(home).get_online_features(features=names, entity_rows=[{USER_ID: "u"}]).to_dict()
    empty_is_none = {name: value or None for name, value in {**PROFILE, **HISTORY}.items()}  # Feast's own way to say []
    assert {name: values[0] or None for name, values in found.items() if name != USER_ID} == empty_is_none


def test_what_feast_writes_is_read_here(home):
    frame = pd.DataFrame({USER_ID: ["u"], "event_timestamp": [pd.Timestamp(LATER, unit="s", tz="UTC")]})
    for name, value in PROFILE.items():
        frame[name] = [value]
    open_store(home).write_to_online_store(USER_PROFILE.name, frame)
    assert rows_of(home).read("u")["user_profile"] == OnlineRow(PROFILE, LATER)


def test_what_is_stored_is_byte_by_byte_what_feast_stores(home, request):
    OnlineRows(home).write(USER_HISTORY, {"feast": OnlineRow(HISTORY, LATER)})
    rows_of(home).update(["own"], lambda _id, _there: {USER_HISTORY.name: OnlineRow(HISTORY, LATER)})
    assert stored(home, request, "own") == stored(home, request, "feast") != {}


def stored(home: Path, request, user_id: str) -> dict[object, object]:
    """All that the store holds of a user."""
    if "redis" in request.node.name:
        with request.getfixturevalue("redis").client() as client:
            return client.hgetall(key_bytes(USER_ID, user_id) + b"recsys")
    with sqlite3.connect(home / "feast" / "online.db") as connection:
        names = "feature_name, value, value_text, event_ts, created_ts"
        sql = f'SELECT {names} FROM "recsys_user_history" WHERE entity_key = ?'
        found = {row[0]: row[1:] for row in connection.execute(sql, (key_bytes(USER_ID, user_id),))}
    connection.close()
    return found


def test_a_row_that_is_not_changed_stays_and_a_failing_change_writes_nothing(home):
    rows = rows_of(home)
    rows.update(["u"], both)
    rows.update(["u"], lambda _id, there: {USER_PROFILE.name: OnlineRow({**PROFILE, "user_age_years": 31.0}, LATER)})
    assert rows.read("u")["user_history"] == OnlineRow(HISTORY, LATER + 1)

    def fail(entity_id: str, there: Rows) -> dict[str, OnlineRow]:
        if entity_id == "v":
            raise ValueError("no")
        return {USER_PROFILE.name: OnlineRow(PROFILE, LATER + 9)}

    with pytest.raises(ValueError, match="no"):
        rows.update(["u", "v"], fail)
    assert rows.read("u")["user_profile"].values["user_age_years"] == 31.0


def test_trap_redis_drops_a_value_of_the_same_moment_and_this_does_not(home):
    online = OnlineRows(home)
    for age in (30.0, 31.0):
        online.write(USER_PROFILE, {"u": OnlineRow({"user_age_years": age}, LATER)})
        assert rows_of(home).read("u")["user_profile"].values["user_age_years"] == age


def test_updates_of_the_same_user_by_several_connections_are_all_kept(home):
    def count(_entity_id: str, there: Rows) -> dict[str, OnlineRow]:
        row = there[USER_PROFILE.name]
        age = 0.0 if row is None else row.values["user_age_years"]
        return {USER_PROFILE.name: OnlineRow({"user_age_years": age + 1}, LATER)}

    def work() -> None:
        own = rows_of(home)
        for _ in range(25):
            own.update(["u"], count)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows_of(home).read("u")["user_profile"].values["user_age_years"] == 3 * 25
