"""The OpenAPI document against FastAPI's own model of the standard, and against the routes."""

import json
import re
import subprocess
import sys
from pathlib import Path

from fastapi.openapi.models import OpenAPI

from serving.api.app import build_app
from serving.api.contract import OWN_STATUSES, ROUTES, openapi
from serving.api.settings import DoorSettings
from serving.protocol import LIST_FILTERS, RecommendationRequest

ROOT = Path(__file__).parents[3]


def test_document_is_openapi_and_every_reference_leads_somewhere():
    document = openapi()
    OpenAPI.model_validate(document)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references == set(document["components"]["schemas"]) & references
    assert {"RecommendationResponse", "Explanation", "FeedbackEvent", "ErrorResponse"} <= references


def test_every_route_is_in_the_document_and_nothing_else(tmp_path):
    served = {
        (method, route.path.replace(":path", ""))
        for route in build_app(DoorSettings(home=tmp_path)).routes
        for method in route.methods - {"HEAD"}
    }
    documented = {(method.upper(), path) for path, item in openapi()["paths"].items() for method in item}
    assert served == documented == {(route.method, route.path) for route in ROUTES}


def test_operations_have_names_of_their_own_and_declare_the_parameters_of_their_path():
    operations = [(path, one) for path, item in openapi()["paths"].items() for one in item.values()]
    assert len({one["operationId"] for _, one in operations}) == len(operations)
    for path, one in operations:
        in_path = {given["name"] for given in one.get("parameters", []) if given["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))


def test_every_parameter_of_a_question_may_stand_in_the_query_string(client):
    given = openapi()["paths"]["/v1/recommendations"]["get"]["parameters"]
    names = {one["name"] for one in given}
    refused = client.get("/v1/recommendations", params={"colour": "red"}).json()["error"]
    assert names == set(refused.partition("there are ")[2].rstrip(".").split(", "))
    assert names == {*RecommendationRequest.model_fields, "exclude_known", *LIST_FILTERS.values()} - {"filters"}


def test_only_what_is_nobodys_secret_asks_for_no_key():
    paths = openapi()["paths"]
    open_ = {path for path, item in paths.items() for one in item.values() if "security" not in one}
    assert open_ == {"/healthz", "/readyz", "/openapi.json"}


def test_refusals_of_a_route_are_those_that_it_can_give():
    paths = openapi()["paths"]
    statuses = {path: set(item["get"]["responses"]) for path, item in paths.items() if "get" in item}
    assert statuses["/healthz"] == {"200", "400", "408", "431"}
    assert statuses["/readyz"] == statuses["/healthz"] | {"503"}
    assert statuses["/metrics"] == statuses["/healthz"] | {"401", "403", "429"}
    assert set(paths["/v1/events"]["post"]["responses"]) == {"200", *map(str, OWN_STATUSES)}


def test_headers_that_a_client_may_act_upon_are_documented():
    post = openapi()["paths"]["/v1/recommendations"]["post"]["responses"]
    assert set(post["200"]["headers"]) == {"RateLimit", "RateLimit-Policy", "X-Query-Id", "X-Recsys-Fallback"}
    assert set(post["429"]["headers"]) == set(post["503"]["headers"]) == {"Retry-After"}


def test_every_setting_says_what_it_is():
    assert all(field.description for field in DoorSettings.model_fields.values())


def test_door_starts_without_the_servers_weight():
    heavy = {"kfp", "evidently", "feast", "kserve", "xgboost", "pandas", "numpy", "pyarrow", "fastapi", "opentelemetry"}
    code = f"import sys; import serving.api.__main__; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
