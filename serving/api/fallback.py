"""What the door answers while no server does: the popular lists that it took from one while it could.

$RECSYS_HOME/door/fallback.json     the newest lists, for a door that starts while no server is there
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from serving.api.assignment import STABLE
from serving.api.errors import BadRequestError, RefusedError
from serving.api.rejected import Rejected, VerdictLog
from serving.api.upstream import Upstreams
from serving.protocol import (
    POPULAR_PATH,
    Filters,
    ListedItem,
    PopularLists,
    RecommendationRequest,
    RecommendationResponse,
    RecommendedItem,
)
from serving.query_id import new_query_id

log = logging.getLogger(__name__)

FILE = Path("door") / "fallback.json"
RETRIEVER = "popular_in_context"
UNKNOWN_PATH = 404
LEARNED_AT_ONCE = 100
"""Events of the log; requests are answered between two such parts."""


class Fallback:
    """The lists, taken from the server behind every `seconds` and kept."""

    def __init__(self, home: Path, upstreams: Upstreams, *, seconds: float) -> None:
        self._path = home / FILE
        self._upstreams = upstreams
        self._seconds = seconds
        self._lists = _read(self._path)
        self._tag: str | None = None
        self._verdicts, self.rejected = VerdictLog(home), Rejected()

    @property
    def is_armed(self) -> bool:
        """Whether there is a list to answer from."""
        return self._lists is not None

    @property
    def age_seconds(self) -> float:
        """Of the lists; NaN where there are none."""
        made = self._lists.event_timestamp if self._lists else None
        return float("nan") if made is None else (datetime.now(UTC) - made).total_seconds()

    async def keep_fresh(self) -> None:
        """Learn what the log says that users hid, and take newer lists, again and again until it is cancelled."""
        while True:
            await self._learn()
            await self.refresh()
            await asyncio.sleep(self._seconds if self.is_armed else min(self._seconds, 1.0))

    async def _learn(self) -> None:
        said = await asyncio.to_thread(self._verdicts.new)
        for start in range(0, len(said), LEARNED_AT_ONCE):
            self.rejected.learn(said[start : start + LEARNED_AT_ONCE])
            await asyncio.sleep(0)

    async def refresh(self) -> None:
        """Take newer lists, where the server has any and answers."""
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._upstreams.fetch(STABLE, POPULAR_PATH, self._tag)
            if answer is None:
                return
            content, self._tag = answer
            self._lists = PopularLists.model_validate_json(content)
        except (RefusedError, TimeoutError):
            return
        except ValidationError as error:
            log.warning("popular lists of the server behind: not understood (%s)", error)
            return
        await asyncio.to_thread(_write, self._path, content)

    def answer(self, request: RecommendationRequest, *, variant: str) -> RecommendationResponse | None:
        """What is popular where the request comes from; None where there is no list, or it asks for another time.

        Raises:
            BadRequestError: k is over the server's limit.
        """
        lists = self._lists
        if lists is None or request.request_time is not None:
            return None
        if request.k > lists.max_k:
            raise BadRequestError(f"k: {request.k}, expected at most {lists.max_k}.")
        rejected = self.rejected.of(request.user_id)
        listed = (item for item in _listed(lists, request.store_id) if item.item_id not in rejected)
        shown = [item for item in listed if _allows(request.filters, item)][: request.k]
        is_local = request.store_id in lists.stores
        reason = f"Popular in store {request.store_id} now" if is_local else "Popular now"
        return RecommendationResponse(
            query_id=new_query_id(),
            user_id=request.user_id,
            user_status="fallback",
            bundle_id=lists.bundle_id,
            variant=variant,
            event_timestamp=datetime.now(UTC),
            items=tuple(_item(item, place, reason) for place, item in enumerate(shown, start=1)),
        )


def _listed(lists: PopularLists, store_id: str | None) -> Iterator[ListedItem]:
    """The store's list, then what is popular everywhere, no item twice."""
    here: Sequence[int] = lists.stores.get(store_id, ()) if store_id else ()
    return (lists.items[place] for place in dict.fromkeys([*here, *lists.everywhere]))


def _allows(filters: Filters, item: ListedItem) -> bool:
    """All filters but `exclude_known`: what the user bought is not known here."""
    conditions = (
        (filters.departments, item.department),
        (filters.categories, item.category),
        (filters.brands, item.brand),
    )
    return item.item_id not in filters.exclude_item_ids and all(
        value in wanted for wanted, value in conditions if wanted
    )


def _item(item: ListedItem, position: int, reason: str) -> RecommendedItem:
    labels = item.model_dump()
    return RecommendedItem(position=position, score=1 / position, retriever=RETRIEVER, reason=reason, **labels)


def _read(path: Path) -> PopularLists | None:
    try:
        return PopularLists.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s: not read (%s); the door waits for newer lists", path, type(error).__name__)
        return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; a folder that cannot be written costs a door its lists at the next start, nothing else."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        log.warning("%s: not written (%s)", path, error)
