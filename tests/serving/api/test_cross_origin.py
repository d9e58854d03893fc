"""Pages of other origins: those that are named may ask from the browser, others may not, and nothing is said where none is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from components.artifacts.errors import ConfigError
from serving.api.app import build_app
from serving.api.settings import door_settings
from tests.browser import Page, browser
from tests.loopback import JSON, QuietHandler, answering
from tests.serving.api.doors import door, make_key

SHOP, OTHER = "https://shop.example", "https://other.example"
ASKING = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@contextmanager
def server(asked: list[str]) -> Iterator[str]:
    """Answers recommendations and takes events; notes what it was asked."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            self.say(200, b'{"items": [{"item_id": "a"}]}', JSON | {"x-query-id": "q-1"})

        def do_POST(self) -> None:
            asked.append(f"POST {self.path} {self.rfile.read(int(self.headers['content-length'])).decode()}")
            self.say(200, b'{"accepted": 1}', JSON)

    with answering(Handler) as url:
        yield url


def preflight(url: str, path: str, origin: str) -> httpx.Response:
    return httpx.options(f"{url}{path}", headers={"origin": origin, **ASKING})


def cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def test_named_origin_may_ask_the_public_routes_and_no_others(tmp_path: Path):
    key = make_key(tmp_path)
    with server([]) as behind, door(tmp_path, behind, allowed_origins=SHOP) as url:
        for path in ("/v1/events", "/v1/recommendations", "/v1/items/a%2Fb/similar", "/v1/explanations/q"):
            said = cors(preflight(url, path, SHOP))
            assert said["access-control-allow-origin"] == SHOP
            assert {"authorization", "content-type", "x-api-key"} <= {
                one.strip().lower() for one in said["access-control-allow-headers"].split(",")
            }
            assert "access-control-allow-credentials" not in said
            refused = preflight(url, path, OTHER)
            assert refused.status_code == 400
            assert "access-control-allow-origin" not in refused.headers
        for path in ("/console", "/metrics", "/v1/portraits", "/healthz"):
            assert cors(preflight(url, path, SHOP)) == {}
            assert cors(httpx.get(f"{url}{path}", headers={"origin": SHOP, **key})) == {}
        answer = httpx.get(f"{url}/v1/recommendations?user_id=u", headers={"origin": SHOP, **key})
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert "X-Query-Id" in answer.headers["access-control-expose-headers"]
        nobody = httpx.get(f"{url}/v1/recommendations?user_id=u", headers={"origin": SHOP})
        assert (nobody.status_code, nobody.headers["access-control-allow-origin"]) == (
            401,
            SHOP,
        )  # the page may read why


def test_nothing_is_added_where_no_origin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    assert build_app(door_settings()).user_middleware == []
    with server([]) as behind, door(tmp_path, behind) as url:
        assert preflight(url, "/v1/events", SHOP).status_code == 405
        assert cors(httpx.get(f"{url}/v1/recommendations?user_id=u", headers={"origin": SHOP})) == {}


@pytest.mark.parametrize(
    ("origins", "said"),
    [
        ("*", "name the shop's own origins"),
        (f"{SHOP},*", "name the shop's own origins"),
        ("http://shop.example", "http for this machine alone"),
        (f"{SHOP}/", "without a path"),
        ("https://Shop.example", "as browsers write it"),
        ("https://ann:secret@shop.example", "as browsers write it"),
        ("shop.example", "expected https://HOST"),
        ("null", "expected https://HOST"),
    ],
)
def test_what_is_no_origin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origins: str, said: str):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=said):
        door_settings({"allowed_origins": origins})


def test_origins_of_this_machine_may_speak_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    given = f" {SHOP}:8443 , http://localhost:3000"
    assert door_settings({"allowed_origins": given}).allowed_origins == (f"{SHOP}:8443", "http://localhost:3000")


@contextmanager
def shop_page() -> Iterator[str]:
    """An empty page; its origin is the address."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.say(200, b"<!doctype html><title>Shop</title>", {"Content-Type": "text/html"})

    with answering(Handler) as url:
        yield url


def fetched(page: Page, url: str, options: dict[str, object]) -> object:
    """What a page's fetch comes to: status, the query_id's header and the body, or the name of the error."""
    page.value(
        "window.said = undefined; "
        f"fetch({json.dumps(url)}, {json.dumps(options)})"
        ".then(async answer => window.said = [answer.status, answer.headers.get('x-query-id'), await answer.text()])"
        ".catch(error => window.said = error.name); 0"
    )
    page.wait_for("window.said !== undefined")
    return page.value("window.said")


def test_a_browser_lets_the_shops_page_ask_and_post_and_no_others(tmp_path: Path):
    key, asked = make_key(tmp_path, "recommend", "events"), []
    events = json.dumps({"events": []})
    posting = {
        "method": "POST",
        "headers": key | {"content-type": "application/json"},
        "body": events,
        "keepalive": True,
    }
    with (
        server(asked) as behind,
        shop_page() as shop,
        shop_page() as other,
        door(tmp_path, behind, allowed_origins=shop, fallback_refresh_seconds=3600) as url,
        browser() as page,
    ):
        page.open(shop, width=800)
        list_url = f"{url}/v1/recommendations?user_id=u"
        assert fetched(page, list_url, {"headers": key}) == [200, "q-1", '{"items": [{"item_id": "a"}]}']
        assert fetched(page, f"{url}/v1/events", posting) == [200, None, '{"accepted": 1}']
        assert fetched(page, f"{url}/metrics", {"headers": key}) == "TypeError"
        assert f"POST /v1/events {events}" in asked
        asked.clear()
        page.open(other, width=800)
        assert fetched(page, list_url, {"headers": key}) == "TypeError"
        assert fetched(page, f"{url}/v1/events", posting) == "TypeError"
        assert not [one for one in asked if "events" in one or "user_id" in one]
