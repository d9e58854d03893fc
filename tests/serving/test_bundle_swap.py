"""Another champion is taken over while requests are answered, and what cannot be served is refused."""

import gc
import re
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.item_snapshot import publish_items
from components.artifacts.registry import CHALLENGER, CHAMPION, open_registry
from components.materialize_features.materialize import newest_snapshot
from feature_repo.schema import ITEM_STATS
from pipelines.server_process import RunningServer, server
from serving.bundle_source import BundleSource
from serving.live_recommender import LiveRecommender
from serving.protocol import RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.serving.bundles import HIDDEN, MODEL, damage, own_home, publish_changed, publish_other
from tests.serving.conftest import SERVED_FROM
from tests.serving.test_exploration import OneUser
from tests.toy_world import moment

CLIENTS = 4


@pytest.fixture
def home(trained, tmp_path) -> Path:
    return own_home(trained, tmp_path)


def live_of(home: Path, bundle: str = "champion") -> LiveRecommender:
    """Of a state folder, in this process, for one known user."""
    settings = Settings(home=home, bundle=bundle, accept_request_time=True)
    source = BundleSource(settings)
    opened = source.open_checked()
    known = next(request for request in opened.golden if request.user_id)
    return LiveRecommender(Recommender(opened, OneUser(known.row), None, settings), source)


def promote(home: Path, bundle_id: str) -> None:
    open_registry(home).point(MODEL, CHAMPION, bundle_id, reason="test", now=moment(17))


def shown(live: LiveRecommender) -> set[str]:
    answer = live.recommend(RecommendationRequest(user_id="u2", k=40, request_time=SERVED_FROM))
    assert answer.bundle_id == live.bundle.manifest.bundle_id
    return {item.item_id for item in answer.items}


def test_another_champion_answers_and_a_rollback_brings_the_first_back(trained, home, tmp_path):
    live = live_of(home)
    other = publish_other(trained, home, tmp_path / "other")
    assert not live.swap()  # published is not promoted
    promote(home, other)
    assert live.swap()
    assert HIDDEN not in shown(live)
    promote(home, open_registry(home).former_champion(MODEL).bundle_id)
    assert live.swap()
    assert live.bundle.manifest.bundle_id == trained.run.bundle_id
    assert HIDDEN in shown(live)
    assert not live.swap()


def test_bundle_that_has_answered_is_freed(trained, home, tmp_path):
    live = live_of(home)
    before = weakref.ref(live.bundle.model)
    promote(home, publish_other(trained, home, tmp_path / "other"))
    assert live.swap()
    gc.collect()
    assert before() is None


def test_another_champion_brings_the_newest_item_features_with_it(trained, home, tmp_path):
    live = live_of(home)
    publish_items(home, newest_snapshot(trained.home, ITEM_STATS, SERVED_FROM))
    promote(home, publish_other(trained, home, tmp_path / "other"))
    assert live.swap()
    assert live.items_as_of == SERVED_FROM
    assert not live.refresh() or live.items_as_of == SERVED_FROM


def of_other_features(trained: Any, home: Path, _folder: Path) -> str:
    return publish_changed(home, trained.run.bundle, "b-0000000features", {"schema_hash": "000000000000"})


def of_another_xgboost(trained: Any, home: Path, _folder: Path) -> str:
    return publish_changed(home, trained.run.bundle, "b-00000000xgboost", {"xgboost": "2.1.4"})


def of_a_later_xgboost(trained: Any, home: Path, _folder: Path) -> str:
    return publish_changed(home, trained.run.bundle, "b-000000later_xgb", {"xgboost": "3.99.0"})


def answered_otherwise(trained: Any, home: Path, folder: Path) -> str:
    golden = load_bundle(trained.run.bundle).golden
    shifted = [replace(request, scores=[score + 0.4 for score in request.scores]) for request in golden]
    return publish_other(trained, home, folder, golden=shifted)


def without_golden_requests(trained: Any, home: Path, folder: Path) -> str:
    return publish_other(trained, home, folder, golden=[])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (of_other_features, "trained on features 000000000000"),
        (of_another_xgboost, r"trained with xgboost 2\.1\.4, this is 3\."),
        (of_a_later_xgboost, r"trained with xgboost 3\.99\.0, this is 3\."),
        (answered_otherwise, "golden request of user .* is answered with scores"),
        (without_golden_requests, "no golden request"),
    ],
)
def test_bundle_that_would_answer_wrongly_is_refused_and_the_old_one_goes_on(trained, home, tmp_path, make, reason):
    live = live_of(home)
    before = live.bundle
    bundle_id = make(trained, home, tmp_path / "made")
    promote(home, bundle_id)
    assert not live.swap()
    assert live.bundle is before
    assert live.refused.bundle_id == bundle_id
    assert re.search(reason, live.refused.reason)
    assert shown(live)


def test_damaged_bundle_is_refused_until_it_is_mended_and_promoted_again(trained, home, tmp_path):
    live = live_of(home)
    other = publish_other(trained, home, tmp_path / "other")
    promote(home, other)
    damage(home, other)
    assert not live.swap()
    assert "damaged; missing or unexpected none, changed ['ranker.ubj']" in live.refused.reason
    damage(home, other)  # the same bit again
    assert not live.swap()  # not loaded over and over
    assert live.refused is not None
    promote(home, other)
    assert live.swap()
    assert live.refused is None


def test_folder_or_aliases_that_vanish_are_refused(trained, home, tmp_path):
    live = live_of(home)
    other = publish_other(trained, home, tmp_path / "other")
    promote(home, other)
    shutil.rmtree(home / "registry" / MODEL / "versions" / other)
    assert not live.swap()
    assert "manifest.json: no readable manifest" in live.refused.reason
    (home / "registry" / MODEL / "aliases.json").write_text('[{"half": ')
    assert not live.swap()
    assert "the registry's aliases cannot be read" in live.refused.reason
    assert shown(live)


def test_alias_that_was_taken_away_leaves_its_bundle_in_place(trained, home):
    open_registry(home).point(MODEL, CHALLENGER, trained.run.bundle_id, reason="test", now=moment(17))
    live = live_of(home, "challenger")
    promote(home, trained.run.bundle_id)
    assert not live.swap()
    assert live.refused.reason == "challenger points at no bundle any more (became champion)"
    assert shown(live)


def test_bundle_that_is_named_by_its_id_stays(trained, home, tmp_path):
    live = live_of(home, trained.run.bundle_id)
    promote(home, publish_other(trained, home, tmp_path / "other"))
    assert not live.swap()
    assert live.bundle.manifest.bundle_id == trained.run.bundle_id


def test_swaps_under_load_drop_no_request_and_every_answer_is_of_one_bundle(trained, home, tmp_path):
    first, other = trained.run.bundle_id, publish_other(trained, home, tmp_path / "other")
    broken = answered_otherwise(trained, home, tmp_path / "broken")
    with server(home, refresh_seconds=0.1, grpc_port=0, log_impressions=False) as running:
        with asking(running) as clients:
            for bundle_id in (first, other, first):
                promote(home, bundle_id)
                until(clients, lambda wanted=bundle_id: all(one.seen[-1:] == [wanted] for one in clients))
            promote(home, broken)
            until(clients, lambda: state(running)["refused"] is not None)
            promote(home, open_registry(home).former_champion(MODEL).bundle_id)
            until(clients, lambda: state(running)["refused"] is None)
        metrics = httpx.get(f"{running.url}/metrics").text
    assert [one.errors for one in clients] == [[]] * CLIENTS
    assert [one.seen for one in clients] == [[first, other, first]] * CLIENTS
    assert f"bundle {broken} refused, {first} goes on" in running.log.read_text()
    assert 'recsys_server_bundle_swaps_total{outcome="swapped"} 2.0' in metrics
    assert 'recsys_server_bundle_swaps_total{outcome="refused"} 1.0' in metrics


@dataclass
class Client:
    """Asks until it is told to stop.

    Attributes:
        seen: Bundle ids of the answers, each once for every time that it changed.
        errors: What was no answer.
    """

    url: str
    seen: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        with httpx.Client(base_url=self.url, timeout=30.0) as client:
            while not over.is_set():
                try:
                    answer = client.get("/v1/recommendations", params={"user_id": "u2", "k": 40})
                    self.note(answer)
                except httpx.HTTPError as error:
                    self.errors.append(repr(error))

    def note(self, answer: httpx.Response) -> None:
        if answer.status_code != httpx.codes.OK:
            self.errors.append(answer.text)
            return
        bundle_id = answer.json()["bundle_id"]
        if self.seen[-1:] != [bundle_id]:
            self.seen.append(bundle_id)


@contextmanager
def asking(running: RunningServer) -> Iterator[list[Client]]:
    """Clients that ask without a pause until the block ends."""
    clients = [Client(running.url) for _ in range(CLIENTS)]
    over = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = [pool.submit(client.run, over) for client in clients]
        try:
            yield clients
        finally:
            over.set()
    for one in done:
        one.result()


def state(running: RunningServer) -> dict[str, Any]:
    return httpx.get(f"{running.url}/readyz").json()


def until(clients: list[Client], is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, [(one.seen, one.errors[:1]) for one in clients]
