"""What goes with an item, and what was shown: the server's routes for both."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from serving.prediction_log import PredictionLog
from serving.query_id import new_query_id
from tests.serving.conftest import SERVED_FROM
from tests.toy_world import likes

QUESTION = {"user_id": "u2", "k": 3, "request_time": SERVED_FROM.isoformat()}


def test_pages_of_similar_items_join_to_the_whole_list(client):
    whole = client.get("/v1/items/i2/similar", params={"k": 100}).json()
    assert whole["next_cursor"] is None
    assert all(likes("u2", item["item_id"]) for item in whole["items"][:5])  # even goes with even
    pages, cursor = [], {}
    while cursor is not None:
        page = client.get("/v1/items/i2/similar", params={"k": 7, **cursor}).json()
        assert 1 <= len(page["items"]) <= 7
        pages += page["items"]
        cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}
    assert pages == whole["items"]
    assert [item["position"] for item in pages] == list(range(1, len(pages) + 1))
    assert "i2" not in {item["item_id"] for item in pages}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("cursor=zzz", "cursor: not one of this API's"),
        ("cursor=Yi1vdGhlcjoz", "cursor: of bundle 'b-other'"),  # b-other:3
        ("k=0", "query.k: Input should be greater than or equal to 1"),
        ("k=1000", "k: 1000, expected at most 100"),
        ("colour=red", "no parameter colour; there are cursor, k"),
    ],
)
def test_malformed_question_for_similar_items_is_a_400(client, query, message):
    response = client.get(f"/v1/items/i2/similar?{query}")
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_item_of_no_catalogue_is_a_404(client):
    response = client.get("/v1/items/nothing/similar")
    assert response.status_code == 404
    assert "item 'nothing': not in the catalogue of bundle b-" in response.json()["error"]


def test_explanation_tells_what_was_shown_and_why(client):
    shown = client.post("/v1/recommendations", json={**QUESTION, "explain": True}).json()
    told = client.get(f"/v1/explanations/{shown['query_id']}")  # from memory or from the disk
    assert told.status_code == 200, told.text
    told = told.json()
    for name in ("query_id", "user_id", "user_status", "bundle_id", "variant"):
        assert told[name] == shown[name], name
    assert datetime.fromisoformat(told["event_timestamp"]) == SERVED_FROM
    for name in ("item_id", "position", "title", "explanation"):
        assert [item[name] for item in told["items"]] == [item[name] for item in shown["items"]], name


def test_explanation_is_found_on_the_disk_too(client, trained):
    query_id = client.post("/v1/recommendations", json=QUESTION).json()["query_id"]
    folder = trained.home / "logs" / "impressions"
    before, end = set(folder.rglob("*.parquet")), time.monotonic() + 10
    while set(folder.rglob("*.parquet")) <= before and time.monotonic() < end:
        pass  # the log is written every 0.2 s here
    assert client.get(f"/v1/explanations/{query_id}").status_code == 200


def test_query_that_nobody_asked_is_a_404(client):
    for query_id in ("nobody-asked", "0" * 32, "f" * 32, new_query_id()):
        response = client.get(f"/v1/explanations/{query_id}")
        assert response.status_code == 404
        assert "never answered here, or is older than the log" in response.json()["error"]


def test_log_of_live_traffic_looks_at_the_day_of_the_query_only(tmp_path):
    log = PredictionLog(tmp_path)
    asked = datetime(2024, 3, 1, tzinfo=UTC)  # midnight: the request may have begun on the day before
    days = [folder.name for folder in log._folders(int(asked.timestamp()) * 10**9)]
    assert days == ["date=2024-02-29", "date=2024-03-01"]
    later = [folder.name for folder in log._folders(int((asked + timedelta(hours=1)).timestamp()) * 10**9)]
    assert later == ["date=2024-03-01"]
    assert [folder.name for folder in log._folders(2**60 * 10**6)] == ["date=9999-12-31"]


def test_query_ids_rise_with_time_and_differ():
    ids = [new_query_id() for _ in range(100)]
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)
    assert len(set(ids)) == 100
    assert abs(int(ids[0][:12], 16) / 1000 - time.time()) < 60


FIRST_QUESTION = """
import gc, sys
from pathlib import Path
from numba.core.registry import CPUDispatcher
from components.artifacts.bundle import load_bundle
from components.artifacts.registry import open_registry
from serving.online_features import UserReader
from serving.protocol import RecommendationRequest, SimilarRequest
from serving.recommender import Recommender
from serving.settings import Settings

def compiled():
    return {(one.py_func.__qualname__, one.py_func.__module__): len(one.overloads)
            for one in gc.get_objects() if isinstance(one, CPUDispatcher)}

home = Path(sys.argv[1])
recommender = Recommender(load_bundle(open_registry(home).champion("recommender")), UserReader(home), None, Settings(home=home))
recommender.prepare()
recommender.recommend(RecommendationRequest(user_id="u1"))  # as golden requests do before a bundle serves
before = compiled()
recommender.similar(SimilarRequest(item_id="i3"))
print([name for name, count in compiled().items() if count != before.get(name)])
"""


def test_first_who_asks_what_goes_with_an_item_waits_for_no_compiler(trained):
    """In a process of its own: what is compiled in this one was asked for by other tests."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_QUESTION, trained.home], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr + done.stdout
