"""The real server process: KServe's protocols, the public routes, bad input. The traps are those of KServe 0.21."""

import asyncio
import time
from datetime import timedelta

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.artifacts.bundle import load_bundle
from feature_repo.schema import RANKER_FEATURE_NAMES
from pipelines.server_process import ServerFailedError, server
from serving.metrics import STAGES
from serving.prediction_log import read_impressions
from serving.protocol import SHADOW_PATH
from tests.serving.conftest import SERVED_FROM
from tests.toy_world import likes

AT = SERVED_FROM.isoformat()


def ask(client: httpx.Client, **values) -> httpx.Response:
    return client.post("/v1/recommendations", json={"user_id": "u2", "request_time": AT, **values})


def items(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


def test_ready_means_that_the_golden_requests_were_answered(client, trained):
    answer = client.get("/readyz").json()
    as_of = answer.pop("as_of"), answer.pop("items_as_of")
    assert answer == {"ready": True, "bundle_id": trained.run.bundle_id, "variant": "stable", "refused": None}
    assert as_of == (trained.config.as_of + "T00:00:00+00:00", SERVED_FROM.isoformat())  # materialised before the start
    assert client.get("/healthz").json() == {"status": "alive"}


def test_metrics_tell_rate_stages_users_and_what_answers(client, trained):
    def read() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    route, of_nobody = '{route="/v1/recommendations",status="200"}', '{user_status="missing"}'
    before = read()
    assert items(ask(client, user_id="nobody"))
    after = read()
    for name in (
        f"recsys_server_requests_total{route}",
        f"recsys_server_users_total{of_nobody}",
        *(f'recsys_server_stage_duration_seconds_count{{stage="{stage}"}}' for stage in STAGES),
    ):
        assert after[name] - before.get(name, 0) == 1, name
    served = f'{{bundle_id="{trained.run.bundle_id}",scorer="compiled",variant="stable"}}'
    assert after[f"recsys_server_bundle_info{served}"] == 1
    assert after["recsys_server_items_as_of_timestamp_seconds"] == SERVED_FROM.timestamp()
    assert after["recsys_server_requests_in_flight"] == 1  # the one that reads this


def test_known_user_gets_items_of_the_own_kind_with_reasons(client, trained):
    answer = ask(client, k=5).json()
    assert answer["user_status"] == "ok"
    assert answer["bundle_id"] == trained.run.bundle_id
    assert [item["position"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert all(likes("u2", item["item_id"]) for item in answer["items"])
    assert answer["items"][0]["reason"].startswith("You bought it ")
    for name in ("score", "probability"):
        values = [item[name] for item in answer["items"]]
        assert values == sorted(values, reverse=True), name
    assert 0 < values[-1] <= values[0] < 1


@pytest.mark.parametrize("how", ["get", "post"])
def test_copied_request_is_answered_alike_and_leaves_no_impressions(client, trained, how):
    asked = {"user_id": "u2", "k": 7, "request_time": (SERVED_FROM + timedelta(days=3)).isoformat()}
    rest = {"json": asked} if how == "post" else {"params": asked}
    copied, shown = (getattr(client, how)(path, **rest) for path in (SHADOW_PATH, "/v1/recommendations"))
    assert items(shown) == items(copied)
    end, logged = time.monotonic() + 10, set()
    while shown.json()["query_id"] not in logged:
        assert time.monotonic() < end
        logged = set(
            read_impressions(trained.home, SERVED_FROM, SERVED_FROM + timedelta(days=4))["query_id"].to_pylist()
        )
    assert copied.json()["query_id"] not in logged  # it was asked before


def test_unknown_user_gets_what_is_popular_and_is_told_so(client):
    answer = ask(client, user_id="nobody", k=5).json()
    assert answer["user_status"] == "missing"
    assert len(answer["items"]) == 5
    assert {item["reason"] for item in answer["items"]} == {"Popular now"}


def test_unknown_user_in_a_store_gets_what_is_popular_there(client):
    answer = ask(client, user_id="nobody", store_id="s1", k=3).json()
    assert {item["reason"] for item in answer["items"]} == {"Popular in store s1 now"}


def test_a_store_that_nobody_sold_in_is_not_said_to_have_favourites(client):
    answer = ask(client, user_id="nobody", store_id="elsewhere", k=3).json()
    assert {item["reason"] for item in answer["items"]} == {"Popular now"}


def test_features_that_are_too_old_are_told_apart(client):
    late = (SERVED_FROM + timedelta(days=5000)).isoformat()
    assert ask(client, request_time=late).json()["user_status"] == "expired"


def test_get_and_post_give_the_same_items(client):
    got = client.get("/v1/recommendations", params={"user_id": "u2", "k": 4, "request_time": AT})
    assert items(got) == items(ask(client, k=4))


def test_filters_hold_together(client):
    shown = ask(client, k=6, filters={"departments": ["Odd"], "exclude_item_ids": ["i1"]}).json()["items"]
    assert len(shown) == 6
    assert {item["department"] for item in shown} == {"Odd"}
    assert "i1" not in {item["item_id"] for item in shown}


def test_known_items_can_be_left_out(client):
    known = {item["item_id"] for item in ask(client, k=40).json()["items"] if item["reason"].startswith("You bought")}
    fresh = items(ask(client, k=5, filters={"exclude_known": True}))
    assert known
    assert not known & set(fresh)


def test_query_string_takes_repeated_filters(client):
    params = [("user_id", "u2"), ("department", "Even"), ("department", "Odd"), ("request_time", AT), ("k", "3")]
    assert len(items(client.get("/v1/recommendations", params=params))) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "body.user_id: missing"),
        ({"user_id": 5}, "body.user_id: Input should be a valid string"),
        ({"user_id": "u1", "k": 0}, "body.k: .*greater than or equal to 1"),
        ({"user_id": "u1", "k": 10_000}, "k: 10000, expected at most 100"),
        ({"user_id": "u1", "colour": "red"}, "body.colour: there is no such field"),
        ({"user_id": "u1", "request_time": "yesterday"}, "body.request_time: .*valid datetime"),
        ({"user_id": "x" * 300}, "body.user_id: .*at most 256"),
        ([1, 2], "body: expected an object, got list"),
    ],
)
def test_malformed_request_is_a_400_that_says_what_is_wrong(client, body, message):
    import re

    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 400
    assert re.search(message, response.json()["error"]), response.text


def test_body_that_is_no_json_and_unknown_query_parameters_are_refused(client):
    assert "not JSON" in client.post("/v1/recommendations", content=b"{").json()["error"]
    response = client.get("/v1/recommendations", params={"user": "u1"})
    assert response.status_code == 400
    assert "no parameter user; there are brand, category" in response.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/v1/recommendations", "/v1/events", "/v1/models/recommender:predict", "/v2/models/recommender/infer"],
)
def test_trap_body_over_the_limit_is_a_413_of_kserves_routes_too(client, path):
    response = client.post(path, content=b" " * 1_100_000)
    assert response.status_code == 413
    assert "over 1,000,000 bytes" in response.json()["error"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/json;charset=UTF-8", None])
def test_v1_trap_a_content_type_with_a_charset_or_none_at_all_is_no_500(client, content_type):
    headers = {"content-type": content_type} if content_type else {}
    request = client.build_request(
        "POST", "/v1/models/recommender:predict", content=b'{"instances": [{"user_id": "u2", "k": 3}]}', headers=headers
    )
    if not content_type:
        request.headers.pop("content-type", None)
    answer = client.send(request)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"][0]["items"]) == 3


@pytest.mark.parametrize(
    ("model", "tensor"),
    [
        ("ranker", {"name": "features", "shape": [2, 2], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}),
        ("ranker", {"name": "features", "shape": [0, 2], "datatype": "FP32", "data": []}),
        ("ranker", {"name": "features", "shape": [1, 1], "datatype": "BYTES", "data": ["x"]}),
        ("recommender", {"name": "user_id", "shape": [0], "datatype": "BYTES", "data": []}),
        ("recommender", {"name": "user_id", "shape": [2], "datatype": "BYTES", "data": ["u1"]}),
        ("recommender", {"name": "k", "shape": [1], "datatype": "INT64", "data": [3]}),
    ],
)
def test_v2_trap_wrong_or_empty_tensors_are_no_500(client, model, tensor):
    response = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    assert response.status_code == 400, response.text
    assert client.post(f"/v2/models/{model}/infer", json={"inputs": []}).status_code == 400


def test_recommendations_take_get_and_post_only(client):
    response = client.put("/v1/recommendations", json={})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


def test_v1_answers_each_instance(client):
    body = {"instances": [{"user_id": "u2", "k": 3, "request_time": AT}, {"user_id": "u3", "k": 2, "request_time": AT}]}
    predictions = client.post("/v1/models/recommender:predict", json=body).json()["predictions"]
    assert [len(one["items"]) for one in predictions] == [3, 2]
    assert [item["item_id"] for item in predictions[0]["items"]] == items(ask(client, k=3))


@pytest.mark.parametrize("body", [{}, {"instances": []}, {"instances": "u1"}, {"instances": [{"user": "u1"}]}])
def test_v1_trap_malformed_instances_are_a_400_and_not_kserves_500(client, body):
    for model in ("recommender", "ranker"):
        response = client.post(f"/v1/models/{model}:predict", json=body)
        assert response.status_code == 400, response.text


def test_ranker_scores_rows_as_the_bundle_does(client, trained):
    ranker = load_bundle(trained.run.bundle).model.ranker
    rows = np.random.default_rng(0).random((3, len(RANKER_FEATURE_NAMES))).astype(np.float32)
    rows[0, 0] = np.nan
    instances = [[None if value != value else value for value in row] for row in rows.tolist()]
    answer = client.post("/v1/models/ranker:predict", json={"instances": instances}).json()
    assert np.allclose(answer["predictions"], ranker.score(rows))


def test_ranker_trap_rows_of_another_width_are_a_400(client):
    response = client.post("/v1/models/ranker:predict", json={"instances": [[1.0, 2.0]]})
    assert response.status_code == 400
    assert f"expected rows of {len(RANKER_FEATURE_NAMES)} numbers" in response.json()["error"]


def v2_request(users: list[str], k: int):
    from kserve import InferInput, InferRequest

    user_input = InferInput("user_id", [len(users)], "BYTES")
    user_input.set_data_from_numpy(np.array([user.encode() for user in users], dtype=object), binary_data=False)
    k_input = InferInput("k", [1], "INT64")
    k_input.set_data_from_numpy(np.array([k]), binary_data=False)
    return InferRequest(model_name="recommender", infer_inputs=[user_input, k_input])


def test_v2_rest_and_grpc_answer_the_same(running, trained):
    from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig
    from kserve.constants.constants import PredictorProtocol

    async def both():
        rest = InferenceRESTClient(config=RESTConfig(protocol=PredictorProtocol.REST_V2))
        grpc = InferenceGRPCClient(url=f"127.0.0.1:{running.grpc_port}")
        answers = [
            await rest.infer(running.url, v2_request(["u2", "nobody"], 3), model_name="recommender"),
            await grpc.infer(v2_request(["u2", "nobody"], 3)),
        ]
        await grpc.close()
        await rest.close()
        return answers

    rest, grpc = asyncio.run(both())
    for answer in (rest, grpc):
        assert answer.parameters["bundle_id"] == trained.run.bundle_id or str(answer.parameters["bundle_id"])
        by_name = {output.name: output.as_numpy() for output in answer.outputs}
        assert by_name["item_id"].shape == (2, 3)
        assert by_name["score"].shape == by_name["probability"].shape == (2, 3)
    assert [[as_text(value) for value in row] for row in rest.outputs[0].as_numpy()] == [
        [as_text(value) for value in row] for row in grpc.outputs[0].as_numpy()
    ]


def as_text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_v2_request_without_user_ids_is_a_400(client):
    body = {"inputs": [{"name": "customer", "shape": [1], "datatype": "BYTES", "data": ["u1"]}]}
    response = client.post("/v2/models/recommender/infer", json=body)
    assert response.status_code == 400
    assert "expected user_id BYTES" in response.json()["error"]


def test_v2_filters_hold_for_all_users(client):
    def tensor(name, *values):
        return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": list(values)}

    inputs = [tensor("user_id", "u2", "u3"), tensor("filters", '{"departments": ["Odd"]}')]
    answer = client.post("/v2/models/recommender/infer", json={"inputs": inputs}).json()
    shown = next(output["data"] for output in answer["outputs"] if output["name"] == "item_id")
    assert shown
    assert all(int(item_id[1:]) % 2 == 1 for item_id in shown if item_id)
    wrong = client.post("/v2/models/recommender/infer", json={"inputs": [inputs[0], tensor("filters", "{")]})
    assert wrong.status_code == 400
    assert "filters: not JSON" in wrong.json()["error"]


def test_v2_ranker_takes_a_tensor(client, trained):
    rows = np.zeros((2, len(RANKER_FEATURE_NAMES)), np.float32)
    body = {
        "inputs": [{"name": "features", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}]
    }
    answer = client.post("/v2/models/ranker/infer", json=body).json()
    assert np.allclose(answer["outputs"][0]["data"], load_bundle(trained.run.bundle).model.ranker.score(rows))


def test_v1_takes_json_that_is_declared_as_a_form_as_curl_does(client):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    path = "/v1/models/recommender:predict"
    answer = client.post(path, content=b'{"instances": [{"user_id": "u2", "k": 3}]}', headers=headers)
    assert len(answer.json()["predictions"][0]["items"]) == 3
    refused = client.post(path, content=b"{", headers=headers)
    assert refused.status_code == 400
    assert "body: not JSON" in refused.json()["error"]


def test_trap_models_cannot_be_unloaded_over_http(client):
    assert client.post("/v2/repository/models/recommender/unload").status_code >= 400
    assert items(ask(client))


def test_events_change_the_next_answer_and_posting_them_again_changes_nothing(client):
    def reasons() -> dict[str, str]:
        later = (SERVED_FROM + timedelta(hours=2)).isoformat()
        shown = ask(client, user_id="u44", k=40, request_time=later).json()["items"]
        return {item["item_id"]: item["reason"] for item in shown}

    events = [
        {
            "event_id": f"live-{minute}",
            "user_id": "u44",
            "item_id": "i31",  # of the other kind: this user never took it
            "interaction_type": "purchase",
            "event_timestamp": (SERVED_FROM + timedelta(hours=1, minutes=minute)).isoformat(),
        }
        for minute in range(5)
    ]
    assert not reasons().get("i31", "").startswith("You bought")
    assert client.post("/v1/events", json={"events": events}).json() == {"accepted": 5, "duplicates": 0}
    assert reasons()["i31"].startswith("You bought it 5 times, last today")
    assert client.post("/v1/events", json={"events": events}).json() == {"accepted": 0, "duplicates": 5}
    assert reasons()["i31"].startswith("You bought it 5 times, last today")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_timestamp": "2024-01-01T00:00:00"}, "expected an offset"),
        ({"weight": -1}, "greater than or equal to 0"),
        ({"event_id": ""}, "at least 1 character"),
        ({"interaction_type": "rating"}, "body.events.1: a rating needs rating."),
        ({"user_id": 7}, "body.events.1.user_id: Input should be a valid string (given: 7)."),
        (
            {"event_timestamp": "2999-01-01T00:00:00Z"},
            "event 'e9': event_timestamp 2999-01-01T00:00:00+00:00 lies after",
        ),
    ],
)
def test_malformed_event_is_refused_whole(client, change, message):
    event = {"event_id": "e9", "user_id": "u1", "item_id": "i1", "interaction_type": "click", "event_timestamp": AT}
    response = client.post("/v1/events", json={"events": [event, event | change]})
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_no_events_at_all_are_refused_and_a_wrong_one_is_told_alone(client):
    assert client.post("/v1/events", json={"events": []}).json() == {"error": "body.events: expected at least 1."}
    wrong = {"event_id": "e9", "user_id": "u1", "item_id": "i1", "interaction_type": "rating", "event_timestamp": AT}
    answer = client.post("/v1/events", json={"events": [wrong]}).json()
    assert answer == {"error": "body.events.0: a rating needs rating."}


def test_impressions_hold_what_was_shown_with_its_features(client, trained):
    answer = ask(client, user_id="u10", k=100).json()
    end = time.monotonic() + 10
    rows = []
    while not rows and time.monotonic() < end:
        table = read_impressions(trained.home, SERVED_FROM, SERVED_FROM + timedelta(days=1))
        rows = [row for row in table.to_pylist() if row["query_id"] == answer["query_id"]]
    assert [row["item_id"] for row in rows] == [item["item_id"] for item in answer["items"]]
    assert [row["position"] for row in rows] == list(range(1, len(answer["items"]) + 1))
    model = load_bundle(trained.run.bundle).model
    matrix = np.array([[row[name] for name in RANKER_FEATURE_NAMES] for row in rows], np.float32)
    # The blend for users of whom little is known moves items, and the scores stay with the places.
    assert np.allclose(np.sort(model.ranker.score(matrix)), np.sort([row["score"] for row in rows]))
    assert {row["bundle_id"] for row in rows} == {trained.run.bundle_id}


def test_server_without_the_replay_setting_refuses_a_requests_time(trained):
    with (
        server(trained.home, log_impressions=False, grpc_port=0) as process,
        httpx.Client(base_url=process.url) as client,
    ):
        response = ask(client)
    assert response.status_code == 400
    assert "this server answers for now only" in response.json()["error"]


def test_server_with_a_damaged_bundle_does_not_start_and_says_why(trained, tmp_path):
    import shutil

    broken = shutil.copytree(trained.run.bundle, tmp_path / "broken")
    table = pq.read_table(broken / "reference.parquet")
    pq.write_table(table.slice(1), broken / "reference.parquet")
    with (
        pytest.raises(ServerFailedError, match=r"exit code 4: bundle .* damaged.*reference\.parquet.*Its log") as ended,
        server(trained.home, bundle=str(broken)),
    ):
        pass
    assert ended.value.exit_code == 4


def test_server_stops_clean_and_logs_no_traceback_for_a_clients_mistake(trained):
    with server(trained.home, accept_request_time=True) as own:
        assert httpx.post(f"{own.url}/v1/models/recommender:predict", json={}).status_code == 400
        assert httpx.post(f"{own.url}/v1/models/nobody:predict", json={"instances": [1]}).status_code == 404
    written = own.log.read_text()
    assert "Traceback" not in written
    assert "400" in written
