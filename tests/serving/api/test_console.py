"""The operator's pages at the door: who may see them, what of the state folder they reach, and what they cost."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from components.deploy_canary.book import read_rollouts
from components.deploy_canary.rollout import Phase
from serving.api.console_act import FORM
from tests.loopback import QuietHandler, answering
from tests.monitoring.console.homes import MODEL, eventful
from tests.serving.api.doors import door, make_key

REPORT = "/console/files/monitoring/reports/20260302T000000Z-20260309T000000Z-b-old/report.html"
PORTRAIT = """{"user_id": "u1", "user_status": "ok", "bundle_id": "b-old", "variant": "stable", "known_items": 0, "known": [],
"event_timestamp": "2026-03-09T00:00:00Z", "recommended": [], "candidates": 9, "left_out":
[{"item_id": "i1", "title": "<b>Milk</b>", "rank": 1, "reason": "a rule of the shop excludes it"}]}"""


def basic(bearer: dict[str, str]) -> dict[str, str]:
    """A key as a browser brings it, when somebody has typed it as the password."""
    secret = bearer["authorization"].removeprefix("Bearer ")
    return {"authorization": f"Basic {base64.b64encode(f'ann:{secret}'.encode()).decode()}"}


ABORT = {"name": "spring", "act": "abort", "reason": "complaints"}


@dataclass(frozen=True)
class Console:
    """A door with keys on a state folder in which much has happened, and a client whose key may see it."""

    home: Path
    client: httpx.Client
    stranger: httpx.Client


@pytest.fixture(scope="module")
def console(tmp_path_factory) -> Iterator[Console]:
    home = eventful(tmp_path_factory.mktemp("console"))
    (home / "secret.html").write_text("not for the console")
    headers = basic(make_key(home, "console"))

    class Server(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200 if "user_id=u1" in self.path else 400)
            self.end_headers()
            self.wfile.write(
                PORTRAIT.encode() if "user_id=u1" in self.path else b'{"error": "query.user_id: missing."}'
            )

    with (
        answering(Server) as behind,
        door(home, behind, rate_burst=10_000) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60.0) as client,
        httpx.Client(base_url=url, timeout=60.0) as stranger,
    ):
        yield Console(home, client, stranger)


def test_page_asks_a_browser_for_a_key_and_takes_it_as_the_password(console):
    refused = console.stranger.get("/console")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="recsys"')
    assert "the key as the password" in refused.json()["error"]
    page = console.client.get("/console")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "Recommender console" in page.text


def test_programs_bring_the_key_as_everywhere_else(console):
    assert console.stranger.get("/console", headers=make_key(console.home, "console")).status_code == 200


def test_key_without_the_scope_sees_nothing_of_it(console):
    headers = make_key(console.home, "recommend", "events", "explain", "metrics")
    for path in ("/console", REPORT, "/console/users?user_id=u1", "/v1/portraits?user_id=u1"):
        refused = console.stranger.get(path, headers=headers)
        assert refused.status_code == 403, path
        assert "lacks the scope console" in refused.json()["error"]


def test_password_of_a_browser_opens_no_other_route(console):
    """A page elsewhere could make a browser send it along, so it may only look."""
    headers = basic(make_key(console.home))
    for path in ("/v1/recommendations?user_id=u1", "/v1/portraits?user_id=u1", "/metrics"):
        refused = console.stranger.get(path, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="recsys"')


@pytest.mark.parametrize("given", ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"no colon").decode()])
def test_what_is_no_password_is_refused(console, given):
    assert console.stranger.get("/console", headers={"authorization": given}).status_code == 401


def test_pages_run_no_script_and_are_kept_by_nobody(console):
    for path in ("/console", "/console/users?user_id=u1"):
        headers = console.client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
        assert "script-src" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


def test_reports_are_reached_and_run_in_a_sandbox(console):
    report = console.client.get(REPORT)
    assert "The whole report" in report.text
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts")


@pytest.mark.parametrize(
    "path",
    [
        "secret.html", "keys.json", "monitoring/decisions.db", "monitoring/reports/gone/report.html",
        "monitoring/reports/%2e%2e/%2e%2e/secret.html", "experiments/..%2f..%2fsecret.html", "experiments/%2e%2e/report.html",
        "/etc/passwd", "registry/recommender/versions/../../report.html",
    ],
)  # fmt: skip
def test_nothing_else_of_the_state_folder_is_reached(console, path):
    assert console.client.get(f"/console/files/{path}").status_code in {400, 404}


def test_link_that_leads_out_of_the_state_folder_is_not_followed(console, tmp_path):
    (tmp_path / "report.html").write_text("elsewhere")
    (console.home / "monitoring" / "reports" / "linked").symlink_to(tmp_path)
    assert console.client.get("/console/files/monitoring/reports/linked/report.html").status_code == 404


def test_one_user_is_a_page_of_the_servers_answer_and_its_refusal_stays_one(console):
    page = console.client.get("/console/users", params={"user_id": "u1"}).text
    assert "&lt;b&gt;Milk&lt;/b&gt;" in page
    assert "a rule of the shop excludes it" in page
    refused = console.client.get("/console/users")
    assert (refused.status_code, refused.json()) == (400, {"error": "query.user_id: missing."})


def test_page_is_kept_for_seconds_and_made_anew_after_them(console, tmp_path):
    before = console.client.get("/console").text
    assert console.client.get("/console").text == before  # made at the same moment
    home = eventful(tmp_path)
    with door(home, "http://127.0.0.1:9", console_seconds=0.001) as url:
        assert "spring" in httpx.get(f"{url}/console", timeout=60.0).text
        (home / "rollouts" / "spring.json").unlink()
        assert "spring" not in httpx.get(f"{url}/console", timeout=60.0).text


def test_builder_that_fails_is_a_503_and_its_words_stay_in_the_log(tmp_path):
    name = f"99999999T999999Z-{'0' * 16}.json"  # no moment: nothing of this platform has written it
    (eventful(tmp_path) / "monitoring" / "verdicts" / MODEL / name).write_text("{")
    with door(tmp_path, "http://127.0.0.1:9") as url:
        refused = httpx.get(f"{url}/console", timeout=60.0)
    assert (refused.status_code, refused.json()["error"]) == (
        503,
        "console: it could not be written; the door's log says why.",
    )
    assert "99999999T999999Z" in (tmp_path / "door.log").read_text()


@pytest.mark.parametrize(
    ("settings", "said"), [({"console_seconds": 0}, "turned off"), ({}, "none of registry, monitoring")]
)
def test_door_that_is_told_so_or_has_no_state_has_no_console(tmp_path, settings, said):
    with door(tmp_path, "http://127.0.0.1:9", **settings) as url:
        refused = httpx.get(f"{url}/console")
    assert refused.status_code == 404
    assert said in refused.json()["error"]


@pytest.fixture
def operated(tmp_path) -> Iterator[httpx.Client]:
    """A door on a state folder with a rollout, and a client whose key may see and act."""
    home = eventful(tmp_path / "home")
    headers = basic(make_key(home, "console", "operate", name="ann"))
    with (
        door(home, "http://127.0.0.1:9") as url,
        httpx.Client(base_url=url, headers=headers, timeout=60.0) as client,
    ):
        yield client


def test_candidate_is_taken_back_with_the_reason_and_by_whom_on_record(operated, tmp_path):
    assert 'value="abort"' in operated.get("/console").text
    origin = {"origin": str(operated.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    done = operated.post("/console/rollouts", data=ABORT, headers=origin)
    assert (done.status_code, done.headers["location"]) == (303, "../console")
    (rollout,) = read_rollouts(tmp_path / "home")
    assert rollout.phase is Phase.ABORTED
    assert rollout.records[-1].cause.reason == "complaints (ann, on the console)"
    page = operated.get("/console").text  # at once, though the page before is seconds old
    assert "No candidate is on its way" in page
    assert 'value="abort"' not in page


def test_act_that_the_command_refuses_says_why(console):
    headers = basic(make_key(console.home, "operate"))
    refused = console.stranger.post("/console/rollouts", data=ABORT | {"name": "--help"}, headers=headers)
    assert refused.status_code == 400
    assert "rollout --help: not in" in refused.json()["error"]


@pytest.mark.parametrize(
    "elsewhere", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_form_of_another_sites_page_is_refused_though_the_browser_sends_the_password(console, elsewhere):
    headers = basic(make_key(console.home, "operate")) | elsewhere
    refused = console.stranger.post("/console/rollouts", data=ABORT, headers=headers)
    assert refused.status_code == 403
    assert "not the console's own" in refused.json()["error"]
    assert read_rollouts(console.home)[0].phase is Phase.RAMP


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"data": {**ABORT, "act": "promote"}}, 400, "form: act: Input should be 'pause', 'resume' or 'abort'"),
        ({"data": {**ABORT, "reason": ""}}, 400, "form: reason"),
        ({"data": {**ABORT, "colour": "red"}}, 400, "form: colour"),
        ({"content": b"name=a&name=b", "headers": {"content-type": FORM}}, 400, "a field is given twice"),
        ({"content": b"\xff=1", "headers": {"content-type": FORM}}, 400, "form: "),
        ({"content": b"x" * 5000, "headers": {"content-type": FORM}}, 413, "body"),
        ({"json": ABORT}, 415, "content-type"),
    ],
)
def test_malformed_act_is_refused_and_nothing_is_done(console, form, status, said):
    headers = basic(make_key(console.home, "operate")) | form.get("headers", {})
    refused = console.stranger.post("/console/rollouts", **{**form, "headers": headers})
    assert refused.status_code == status
    assert said in refused.json()["error"]


def test_whoever_may_only_look_has_no_forms_and_cannot_act(console):
    page = console.client.get("/console").text
    assert "read only" in page
    assert "<button name" not in page
    refused = console.client.post("/console/rollouts", data=ABORT)
    assert refused.status_code == 403
    assert "lacks the scope operate" in refused.json()["error"]
