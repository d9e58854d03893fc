"""CPU of a user's row by how it is read and written: in one exchange, view by view, by Feast's own client, on each store."""

import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow, Rows, key_bytes
from feature_repo.schema import USER_HISTORY, USER_ID, VIEWS, Dtype
from feature_repo.store import apply, open_store
from feature_repo.store_config import StoreConfig
from pipelines.server_process import free_ports

RESULTS = Path(__file__).parent / "results"
USERS, FEAST_USERS, WRITES = 500, 100, 100
HISTORY, CATEGORIES = 150, 30
"""Items and categories of a user: what a household of the Complete Journey has after some months."""
SNAPSHOT_SECONDS = 1_700_000_000
USER_VIEWS = [spec for spec in VIEWS if spec.entity == USER_ID]
REFERENCES = [f"{spec.name}:{feature.name}" for spec in USER_VIEWS for feature in spec.features]


def main() -> None:
    """Measure, print, write."""
    warnings.simplefilter("ignore")
    measured = {"sqlite": _measured(StoreConfig())}
    if shutil.which("redis-server"):
        with _redis() as url:
            measured["redis"] = _measured(StoreConfig(online_url=url), floors=True)
    else:
        print("redis-server is not installed (`make servers`): SQLite only")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "online_store.json").write_text(json.dumps({"cpu_milliseconds": measured}, indent=1) + "\n")
    for store, values in measured.items():
        print(store)
        for name, value in values.items():
            print(f"  {name:<60} {value:8.3f} ms CPU")


def _measured(stores: StoreConfig, *, floors: bool = False) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        apply(home, stores)
        online, store = OnlineRows(home, stores), open_store(home, stores)
        rows, users = online.of_entity(USER_VIEWS), [f"u{number}" for number in range(USERS)]
        rows.update(users, _made())
        frame = pd.DataFrame([_history_row(user) for user in users[:WRITES]])
        one_by_one = [frame.iloc[[place]] for place in range(WRITES)]
        values = {
            "read: all views in one exchange": per_call(rows.read, users),
            "read: view by view, Feast's provider": per_call(
                lambda user: [online.read(spec, [user]) for spec in USER_VIEWS], users
            ),
            "read: Feast's get_online_features": per_call(
                lambda user: store.get_online_features(features=REFERENCES, entity_rows=[{USER_ID: user}]).to_dict(),
                users[:FEAST_USERS],
            ),
            "write: read, change and write the history as one step": per_call(
                lambda user: rows.update([user], lambda _id, there: {USER_HISTORY.name: there[USER_HISTORY.name]}),
                users[:WRITES],
            ),
            "write: Feast's write_to_online_store": per_call(
                lambda row: store.write_to_online_store(USER_HISTORY.name, row), one_by_one
            ),
            "write: Feast's push": per_call(lambda row: store.push("user_history_push", row), one_by_one[:30]),
        }
        return values | (_floors(online, users) if floors else {})


def _floors(online: OnlineRows, users: Sequence[str]) -> dict[str, float]:
    """What the exchange alone costs, and what a packed row would."""
    rows = online.of_entity(USER_VIEWS)
    client, fields = rows._client, rows._fields  # type: ignore[attr-defined]
    keys = [key_bytes(USER_ID, user) + b"recsys" for user in users]
    content = b"".join(value or b"" for value in client.hmget(keys[0], fields))
    for user in users:
        client.set(f"packed:{user}", content)
    return {
        "floor: HMGET of the same fields, not decoded": per_call(lambda key: client.hmget(key, fields), keys),
        f"floor: GET of one value of as many bytes ({len(content):,})": per_call(
            lambda user: client.get(f"packed:{user}"), users
        ),
    }


def per_call(call: Callable[..., object], arguments: Sequence[object]) -> float:
    """Mean CPU milliseconds of a call, after a warm-up."""
    for argument in arguments[:10]:
        call(argument)
    began = time.process_time()
    for argument in arguments:
        call(argument)
    return round((time.process_time() - began) / len(arguments) * 1e3, 4)


def _made() -> Callable[[str, Rows], Mapping[str, OnlineRow]]:
    rng = np.random.default_rng(0)

    def value(dtype: Dtype, length: int) -> object:
        if dtype is Dtype.FLOAT32:
            return float(rng.random())
        if dtype is Dtype.STRING:
            return "text"
        if dtype is Dtype.FLOAT32_LIST:
            return rng.random(length).tolist()
        if dtype is Dtype.INT64_LIST:
            return rng.integers(SNAPSHOT_SECONDS, size=length).tolist()
        return [f"{number:07}" for number in rng.integers(10**6, size=length)]

    def made(_user_id: str, _there: Rows) -> Mapping[str, OnlineRow]:
        rows = {}
        for spec in USER_VIEWS:
            length = HISTORY if spec is USER_HISTORY else CATEGORIES
            values = {feature.name: value(feature.dtype, length) for feature in spec.features}
            rows[spec.name] = OnlineRow(values, SNAPSHOT_SECONDS)
        return rows

    return made


def _history_row(user: str) -> dict[str, object]:
    row = _made()(user, {})[USER_HISTORY.name]
    return {USER_ID: user, "event_timestamp": pd.Timestamp(SNAPSHOT_SECONDS + 1, unit="s", tz="UTC"), **row.values}


@contextmanager
def _redis() -> Iterator[str]:
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def _wait(port: int) -> None:
    from redis import Redis
    from redis.exceptions import ConnectionError as NotThereError

    client, end = Redis(port=port), time.monotonic() + 10
    while True:
        try:
            client.ping()
        except NotThereError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            client.close()
            return
