"""A process killed at random points while a client posts: what was acknowledged is there, and nothing is there twice."""

import json
import os
import random
from collections import Counter

import pytest

from components.artifacts.day_logs import FEEDBACK_FOLDER
from feature_repo.online import OnlineRows
from feature_repo.schema import USER_HISTORY
from feature_repo.store import apply
from feature_repo.store_config import ONLINE_STORE_URL
from serving.feedback import FeedbackLog
from tests.serving.event_process import Client, made, process_on

KILLS = int(os.environ.get("RECSYS_TEST_KILLS", "6"))  # more by hand: what is rare shows after hundreds
EVENTS, USERS, ITEMS, TOGETHER = 50 * KILLS, 7, 11, 5


@pytest.fixture(params=["sqlite", "redis"])
def home(request, tmp_path, monkeypatch):
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        server.empty()
        monkeypatch.setenv(ONLINE_STORE_URL, server.url)
    apply(tmp_path)
    return tmp_path


def logged(home) -> list[dict]:
    """Every whole line of the log, repeated ones too."""
    lines = [
        line for path in (home / FEEDBACK_FOLDER).glob("*.jsonl") for line in path.read_bytes().split(b"\n") if line
    ]
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue  # what a kill cut off
    return whole


def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(home):
    events = made(EVENTS, USERS, ITEMS)
    requests = [events[start : start + TOGETHER] for start in range(0, EVENTS, TOGETHER)]
    variables = {ONLINE_STORE_URL: os.environ.get(ONLINE_STORE_URL, "")}
    client = Client(process_on(home, variables), KILLS, random.Random(os.getpid()))
    client.post(requests)

    times = Counter(event["event_id"] for event in logged(home))
    assert set(times) == client.acknowledged == {event["event_id"] for event in events}
    assert set(times.values()) == {1}
    log = FeedbackLog(home)
    assert log.count_waiting() == 0
    assert log.append_all([[]]) == [[]]
    log.close()

    counts = Counter((event["user_id"], event["item_id"]) for event in events)
    rows = OnlineRows(home).of_entity([USER_HISTORY])
    for user in {user for user, _ in counts}:
        row = rows.read(user)[USER_HISTORY.name]
        assert row is not None
        found = dict(zip(row.values["user_history_item_ids"], row.values["user_history_counts"], strict=True))
        assert found == {item: float(count) for (own, item), count in counts.items() if own == user}
