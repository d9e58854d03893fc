"""The whole measurement: every size, then the stock pair and a steady load at the size that the goals are about."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.floors import floors
from benchmarks.serving.measure import (
    SHARE_OF_CAPACITY,
    Closed,
    Steady,
    closed,
    mean_candidates,
    pair_requests,
    product,
    product_requests,
    stage_ms,
    steady,
    stock_pair,
)
from benchmarks.serving.synthetic import Shop, build_shop

GOAL_ITEMS = 100_000
CONNECTIONS = (1, 8, 32)
REQUESTS, PAIR_REQUESTS, STEADY_SECONDS = 2000, 400, 20.0


@dataclass(frozen=True, slots=True)
class Scale:
    """One size of catalogue and pool.

    Attributes:
        items: Of the catalogue.
        wanted: Candidates that the quotas are made for.
        candidates: Mean candidates of a request; lists overlap.
        stages_ms: Stage to its mean, over all requests.
        connections: Number of connections to what was measured with them.
    """

    items: int
    wanted: int
    candidates: float
    stages_ms: dict[str, float]
    connections: dict[int, Closed]

    @property
    def cpu_ms(self) -> float:
        """Of the server per recommendation, one connection."""
        return self.connections[1].cpu_ms


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured; pair, beside, steady and floors at the goal's size, or the largest that was asked for.

    `load` is the machine's load average when it began.
    """

    scales: list[Scale]
    goal_items: int
    pair: Closed
    beside: Closed
    steady: Steady
    floors: dict[str, float]
    load: float


def run(folder: Path, *, items: Sequence[int], candidates: Sequence[int], say: Callable[[str], None]) -> Results:
    """Measure; shops are kept in the folder."""
    scales, shops, load = [], {}, os.getloadavg()[0]
    for size in items:
        say(f"shop of {size:,} items")
        shops[size] = shop = build_shop(folder / f"items-{size}", items=size, candidates=tuple(candidates))
        for wanted in candidates:
            scales.append(_scale(shop, size, wanted))
            say(f"{size:,} items, {scales[-1].candidates:.0f} candidates: {scales[-1].cpu_ms:.2f} ms CPU")
    goal_items = GOAL_ITEMS if GOAL_ITEMS in shops else max(shops)
    goal, wanted = shops[goal_items], max(candidates)
    bundle = goal.bundles[wanted]
    with product(goal, bundle) as running:
        port = int(running.url.rpartition(":")[2])
        beside = closed(port, [running.pid], product_requests(goal.users, REQUESTS), connections=8)
        count = int(STEADY_SECONDS * SHARE_OF_CAPACITY * beside.per_second)
        at_60 = steady(port, product_requests(goal.users, count), capacity=beside.per_second, connections=64)
    with stock_pair(goal, bundle) as (port, pids):
        pair = closed(port, pids, pair_requests(goal.users, PAIR_REQUESTS), connections=8)
    parts = floors(goal, items=goal_items, candidates=wanted)
    return Results(scales, goal_items, pair, beside, at_60, parts, load)


def _scale(shop: Shop, items: int, wanted: int) -> Scale:
    bundle = shop.bundles[wanted]
    with product(shop, bundle) as running:
        port, requests = int(running.url.rpartition(":")[2]), product_requests(shop.users, REQUESTS)
        before = stage_ms(running.url)
        connections = {number: closed(port, [running.pid], requests, connections=number) for number in CONNECTIONS}
        stages = {stage: total / count * 1e3 for stage, (total, count) in stage_ms(running.url, before).items()}
    return Scale(items, wanted, mean_candidates(shop, bundle), stages, connections)
