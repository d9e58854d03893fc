"""Weeks that really happened, played through a running server: ask before each visit, then post what was taken.

A click is a purchase that really happened: nobody saw these lists, so what is measured is whether the list held
what the household took on that visit, not whether showing it changed anything.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import httpx
import mmh3

from components.artifacts.errors import ContractError
from pipelines.readiness import verification
from serving.prediction_log import read_impressions

K = 10
CLIENTS = 2
"""So that one asks while the server answers the other; more would only wait."""
LOG_SECONDS, POLL_SECONDS = 60.0, 0.3
BEFORE = timedelta(seconds=1)
"""The question comes so long before the visit's first event."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One basket.

    Attributes:
        user_id: Whose.
        store_id: Where.
        start: First event.
        events: As the server takes them, all of the basket.
    """

    user_id: str
    store_id: str | None
    start: datetime
    events: list[dict[str, Any]]


@dataclass(slots=True)
class Replayed:
    """What a replay did.

    Attributes:
        requests: Questions asked.
        shown: Items shown.
        taken: Shown items that were taken on the visit.
        visits_with_hit: Visits on which at least one shown item was taken.
        events: Events posted.
    """

    requests: int = 0
    shown: int = 0
    taken: int = 0
    visits_with_hit: int = 0
    events: int = 0

    def add(self, part: "Replayed") -> None:
        """Count another replay's too."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(part, name))

    @property
    def hit_share(self) -> float:
        """Share of the shown items that were taken on the visit."""
        return self.taken / self.shown if self.shown else 0.0

    @property
    def hit_rate(self) -> float:
        """Share of the visits with a hit."""
        return self.visits_with_hit / self.requests if self.requests else 0.0

    @property
    def sentence(self) -> str:
        """For a terminal."""
        return (
            f"{self.requests:,} visits: {self.hit_share:.1%} of the shown items were taken on that visit, "
            f"{self.hit_rate:.1%} of the visits took at least one; {self.events:,} events fed back"
        )

    def to_dict(self) -> dict[str, float]:
        """For `recsys demo --json`."""
        counts = {"requests": self.requests, "shown": self.shown, "taken": self.taken, "events": self.events}
        return counts | {"hit_share": round(self.hit_share, 4), "hit_rate": round(self.hit_rate, 4)}


VISITS_SQL = """
SELECT user_id, any_value(store_id), min(event_timestamp) AS start,
       list({'event_id': event_id, 'user_id': user_id, 'item_id': item_id, 'event_timestamp': event_timestamp,
             'interaction_type': interaction_type, 'weight': weight, 'value_usd': value_usd, 'store_id': store_id}
            ORDER BY event_timestamp, event_id)
FROM read_parquet(?) WHERE event_timestamp >= ? AND event_timestamp < ?
GROUP BY user_id, coalesce(session_id, strftime(event_timestamp, '%Y-%m-%d'))
ORDER BY start, user_id
"""


def visits(events: Path, start: datetime, end: datetime) -> Iterator[Visit]:
    """The baskets of [start, end) in the canonical interactions, by time."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        path = str(events / "interactions.parquet")
        for user_id, store_id, began, lines in connection.execute(VISITS_SQL, [path, start, end]).fetchall():
            for line in lines:
                line["event_timestamp"] = line["event_timestamp"].isoformat()
            yield Visit(user_id, store_id, began, lines)


def as_newcomers(baskets: list[Visit], share: float, *, crowd: str = "new") -> list[Visit]:
    """The same baskets as if a share of the households were new: their ids are ones that nobody has seen.

    Which households is drawn by a hash of the id, so all of a household's visits stay together.

    Args:
        baskets: From `visits`.
        share: Of the households, in [0, 1].
        crowd: Begins the new ids; another crowd is made of other people.
    """
    return [_newcomer(basket, crowd) if is_drawn(basket.user_id, share) else basket for basket in baskets]


def is_drawn(user_id: str, share: float) -> bool:
    """Whether a household is of a share of all that is drawn by a hash of its id."""
    return _bucket(user_id) % 100 < 100 * share


def _bucket(user_id: str) -> int:
    return mmh3.hash(user_id, signed=False)


def _newcomer(basket: Visit, crowd: str) -> Visit:
    user_id = f"{crowd}-{basket.user_id}"
    events = [event | {"user_id": user_id, "event_id": f"{crowd}-{event['event_id']}"} for event in basket.events]
    return Visit(user_id, basket.store_id, basket.start, events)


def replay(url: str, baskets: list[Visit], *, progress: Callable[[int, int], None]) -> Replayed:
    """Ask and tell, basket by basket, by a few clients; each household keeps to one, so its baskets keep their order.

    Args:
        url: Of a server that accepts a request's time.
        baskets: From `visits`.
        progress: Told how many of how many are done.

    Raises:
        ContractError: The server refused a request.
    """
    told = _Count(len(baskets), progress)
    shares = [
        [basket for basket in baskets if _bucket(basket.user_id) % CLIENTS == number] for number in range(CLIENTS)
    ]
    done = Replayed()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for part in pool.map(lambda share: _play_all(url, share, told), shares):
            done.add(part)
    return done


@dataclass
class _Count:
    """Counts the visits of all clients, and tells."""

    total: int
    progress: Callable[[int, int], None]
    done: int = 0
    lock: Lock = field(default_factory=Lock)

    def one_more(self) -> None:
        with self.lock:
            self.done += 1
            self.progress(self.done, self.total)


def _play_all(url: str, baskets: Sequence[Visit], told: _Count) -> Replayed:
    done = Replayed()
    with httpx.Client(base_url=url, timeout=30.0, verify=verification(url)) as client:
        for basket in baskets:
            _play(client, basket, done)
            told.one_more()
    return done


def wait_until_logged(home: Path, start: datetime, end: datetime, *, queries: int) -> None:
    """Wait until the server has written the impressions of so many answers; it does so in the background.

    Raises:
        ContractError: They are not there after a minute.
    """

    def missing() -> str | None:
        logged = len(read_impressions(home, start - BEFORE, end, columns=["query_id"])["query_id"].unique())
        return None if logged >= queries else f"impressions of {logged:,} answers, {queries:,} were given"

    wait_for_logs(home, missing)


def wait_for_logs(home: Path, missing: Callable[[], str | None]) -> None:
    """Ask again and again what the logs still lack, until it is nothing.

    Raises:
        ContractError: It is there no sooner than a minute; with what was lacking.
    """
    stop = time.monotonic() + LOG_SECONDS
    while (lacking := missing()) is not None:
        if time.monotonic() > stop:
            raise ContractError(
                f"{home / 'logs'}: {lacking}. Look into server.log there, and into door.log where there is a door."
            )
        time.sleep(POLL_SECONDS)


def _play(client: httpx.Client, basket: Visit, done: Replayed) -> None:
    question = {"user_id": basket.user_id, "k": K, "request_time": (basket.start - BEFORE).isoformat()}
    answer = _post(client, "/v1/recommendations", question | ({"store_id": basket.store_id} if basket.store_id else {}))
    items = {item["item_id"] for item in answer["items"]}
    query_id = answer["query_id"]
    _post(client, "/v1/events", {"events": [event | {"query_id": query_id} for event in basket.events]})
    hits = len(items & {event["item_id"] for event in basket.events if event["weight"] > 0})
    done.requests += 1
    done.shown += len(items)
    done.taken += hits
    done.visits_with_hit += hits > 0
    done.events += len(basket.events)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:  # decoded JSON
    response = client.post(path, json=body)
    if response.status_code != httpx.codes.OK:
        raise ContractError(f"POST {path}: {response.status_code} {response.text[:300]}; expected 200.")
    return response.json()
