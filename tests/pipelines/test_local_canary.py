"""A rollout on this machine: real servers and a real door, from the dark to stable and back."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Phase, aborted, advanced, promoted, started
from pipelines.local_canary import LocalTarget
from pipelines.server_process import free_ports
from pipelines.stack import CANARY, down, running, up
from serving.api.assignment import CANARY as CANARY_ARM
from serving.api.assignment import assign, read_experiments
from tests.serving.bundles import MODEL, own_home, publish_other
from tests.toy_world import moment

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Servers outlive the handle that started them: `recsys up` and `recsys rollout` return while they run."""
USERS = [f"u{number}" for number in range(60)]


def because(reason: str) -> Cause:
    return Cause("test", moment(18), reason, {})


@dataclass(frozen=True)
class Shop:
    """A running door with its server, and a candidate beside the champion."""

    home: Path
    door: httpx.Client
    stable: str
    candidate: str

    @property
    def book(self) -> RolloutBook:
        return RolloutBook(self.home, LocalTarget(self.home, MODEL))

    def bundles(self) -> dict[str, str]:
        """User to the bundle that answered; every request gets an answer."""
        answers = {user: self.door.get("/v1/recommendations", params={"user_id": user, "k": 5}) for user in USERS}
        assert {answer.status_code for answer in answers.values()} == {200}
        assert not any("x-recsys-fallback" in answer.headers for answer in answers.values())
        return {user: answer.json()["bundle_id"] for user, answer in answers.items()}

    def treated(self) -> set[str]:
        return {user for user, bundle in self.bundles().items() if bundle == self.candidate}


@pytest.fixture
def shop(trained, tmp_path) -> Iterator[Shop]:
    home = own_home(trained, tmp_path)
    candidate = publish_other(trained, home, tmp_path / "other")
    front, behind = free_ports(2)
    try:
        up(home, {"http_port": behind, "grpc_port": 0, "refresh_seconds": 0.2}, {"port": front, "rate_burst": 10_000})
        with httpx.Client(base_url=f"http://127.0.0.1:{front}", timeout=30.0) as client:
            yield Shop(home, client, trained.run.bundle_id, candidate)
    finally:
        down(home)


def test_candidate_goes_from_the_dark_over_growing_groups_of_users_to_stable(shop):
    rollout = started("spring", stable=shop.stable, candidate=shop.candidate, cause=because("try"), steps=(0.25, 0.5))
    shop.book.start(rollout)
    (canary,) = running(shop.home, (CANARY,))
    assert httpx.get(f"{canary.url}/readyz").json()["bundle_id"] == shop.candidate
    assert shop.treated() == set()  # in the dark

    shop.book.act("spring", lambda one: advanced(one, because("no harm")))
    first = shop.treated()
    expected = {u for u in USERS if assign(read_experiments(shop.home), u, {})[0].arm == CANARY_ARM}
    assert first == expected
    assert 0 < len(first) < len(USERS) / 2

    shop.book.act("spring", lambda one: advanced(one, because("no harm")))
    assert first < shop.treated()  # who was treated stays treated

    canary.process().kill()
    shop.book.act("spring", lambda one: one)
    (again,) = running(shop.home, (CANARY,))
    assert again.pid != canary.pid  # what died is started again

    after = shop.book.act("spring", lambda one: promoted(one, because("ctr is better")))
    assert after.phase is Phase.PROMOTED
    assert set(shop.bundles().values()) == {shop.candidate}
    assert running(shop.home, (CANARY,)) == []
    move = open_registry(shop.home).history(MODEL)[-1]
    assert (move.alias, move.bundle_id, move.reason) == (CHAMPION, shop.candidate, "rollout spring: ctr is better")


def test_aborted_candidate_is_gone_and_everybody_has_the_champion(shop):
    rollout = started("bad", stable=shop.stable, candidate=shop.candidate, cause=because("try"), steps=(0.5,))
    shop.book.start(rollout)
    shop.book.act("bad", lambda one: advanced(one, because("no harm")))
    assert shop.treated()
    shop.book.act("bad", lambda one: aborted(one, because("guardrail errors")))
    assert set(shop.bundles().values()) == {shop.stable}
    assert running(shop.home, (CANARY,)) == []


def test_rules_that_up_was_given_hold_at_the_candidate_too(trained, tmp_path):
    home = own_home(trained, tmp_path)
    candidate = publish_other(trained, home, tmp_path / "other")
    front, behind = free_ports(2)
    question = {"params": {"user_id": "u2", "k": 5}}
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: {pin: [{item_id: i1, position: 1, reason: Our pick}]}\n")
    try:
        up(home, {"http_port": behind, "grpc_port": 0, "rules_file": str(rules)}, {"port": front})
        rollout = started(
            "spring", stable=trained.run.bundle_id, candidate=candidate, cause=because("try"), steps=(0.5,)
        )
        RolloutBook(home, LocalTarget(home, MODEL)).start(rollout)
        for part in running(home, ("server", CANARY)):
            first = httpx.get(f"{part.url}/v1/recommendations", **question).json()["items"][0]
            assert (part.name, first["item_id"], first["reason"]) == (part.name, "i1", "Our pick")
    finally:
        down(home)
