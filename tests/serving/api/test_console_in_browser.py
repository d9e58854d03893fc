"""The console as people use it: in a real browser, wide and narrow, light and dark, with the keyboard alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.browser import Page, browser
from tests.loopback import QuietHandler, answering
from tests.monitoring.console.homes import eventful
from tests.serving.api.doors import door, make_key
from tests.serving.api.test_console import PORTRAIT, REPORT

TAB, ENTER = ("Tab", 9), ("Enter", 13)
MOST_TABS = 40
FOCUSED = "document.activeElement.tagName + ' ' + document.activeElement.textContent"
"""What the keyboard is at."""


@dataclass(frozen=True)
class Operator:
    """A browser, and the address at which it is let in: the key stands in it as a password."""

    page: Page
    url: str


@pytest.fixture(scope="module")
def operator(tmp_path_factory) -> Iterator[Operator]:
    home = eventful(tmp_path_factory.mktemp("console"))
    secret = make_key(home, "console", "operate")["authorization"].removeprefix("Bearer ")

    class Server(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PORTRAIT.encode())

    with answering(Server) as behind, door(home, behind, rate_burst=10_000) as url, browser() as page:
        yield Operator(page, f"http://ann:{secret}@{urlsplit(url).netloc}")


def tab_to(page: Page, wanted: str, *, what: str = FOCUSED) -> None:
    for _ in range(MOST_TABS):
        page.press(*TAB)
        if wanted in str(page.value(what)):
            return
    raise AssertionError(f"{wanted} is not reached with the tabulator")


@pytest.mark.parametrize("path", ["/console", "/console/users?user_id=u1"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_page_fits_asks_for_nothing_elsewhere_and_is_complained_of_by_nobody(operator, path, width, dark, tmp_path):
    page = operator.page
    page.requested.clear()
    page.complaints.clear()
    page.open(operator.url + path, width=width, dark=dark)
    assert page.value("document.documentElement.scrollWidth") <= width
    background = page.value("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(11, 18, 32)") == dark
    assert {urlsplit(one).hostname for one in page.requested if not one.startswith("data:")} == {"127.0.0.1"}
    assert page.complaints == []
    page.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_cards_stand_beside_each_other_on_a_desk_and_below_each_other_on_a_phone(operator):
    columns = "new Set([...document.querySelectorAll('.card')].map(card => card.getBoundingClientRect().left)).size"
    for width, expected in ((1280, 3), (390, 1)):
        operator.page.open(f"{operator.url}/console", width=width)
        assert operator.page.value("document.querySelectorAll('.card').length") == 7
        assert operator.page.value(columns) == expected


def test_no_hole_gapes_below_a_short_card_beside_a_tall_one(operator):
    gap = """Math.max(...[...document.querySelectorAll('.card')].map(card => card.getBoundingClientRect()).map((one, _, all) =>
        Math.min(...all.filter(other => other.left === one.left && other.top >= one.bottom).map(other => other.top - one.bottom)))
        .filter(Number.isFinite))"""
    operator.page.open(f"{operator.url}/console", width=1280)
    assert operator.page.value(gap) == 12  # as between all of them


def test_keyboard_alone_opens_what_is_folded_and_follows_a_report(operator):
    page = operator.page
    page.open(f"{operator.url}/console", width=1280)
    tab_to(page, "quiet: 1")
    assert not page.value("document.querySelector('details').open")
    page.press(*ENTER)
    assert page.value("document.querySelector('details').open")
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"  # the place is seen
    tab_to(page, "report of the window")
    page.press(*ENTER)
    page.wait_for("document.title === 'Report'")
    assert page.value("location.pathname") == REPORT


def test_a_user_is_asked_for_by_keyboard_and_the_way_back_leads_to_the_console(operator):
    page = operator.page
    page.open(f"{operator.url}/console", width=390)
    page.press(*TAB)
    assert page.value(FOCUSED).startswith("INPUT")
    page.call("Input.insertText", text="u1")
    page.press(*ENTER)
    page.wait_for("document.title === 'User u1'")
    assert "a rule of the shop excludes it" in page.value("document.body.innerText")
    tab_to(page, "Console")
    page.press(*ENTER)
    page.wait_for("document.title === 'Recommender console'")


def test_candidate_is_taken_back_from_the_page(operator):
    """The browser itself says that the form is the page's own, which the door asks for."""
    page = operator.page
    page.open(f"{operator.url}/console", width=390)
    tab_to(page, "INPUT", what="document.activeElement.name === 'reason' && 'INPUT'")
    page.call("Input.insertText", text="complaints")
    tab_to(page, "Take it back")
    page.press(*ENTER)
    page.wait_for("document.body && document.body.innerText.includes('No candidate is on its way')")
    assert "complaints (test, on the console)" in page.value("document.body.innerText")
    assert page.value("location.pathname") == "/console"


def test_words_can_be_told_from_their_ground_in_light_and_dark(operator):
    """WCAG 2.1 asks for a contrast of 4.5 to 1; the badges have the least."""
    for dark in (False, True):
        operator.page.open(f"{operator.url}/console", width=1280, dark=dark)
        assert operator.page.value(LEAST_CONTRAST) >= 4.5


LEAST_CONTRAST = """
(() => {
  const part = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number)
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b) }
  const ground = element => { const colour = getComputedStyle(element).backgroundColor
    return colour === 'rgba(0, 0, 0, 0)' ? ground(element.parentElement) : colour }
  const contrast = element => { const word = light(getComputedStyle(element).color), below = light(ground(element))
    return (Math.max(word, below) + 0.05) / (Math.min(word, below) + 0.05) }
  return Math.min(...[...document.querySelectorAll('.state, .sub, .act, time, a, p, li, summary, button')].map(contrast))
})()
"""
