"""python -m benchmarks.quality.cold_users: users without a past, in the first events of their first visit.

Everybody who took more than ten items in the week after the cut is made new: nothing is known of them but where they
are, who they are where a profile says so, and the first 0, 1, 3 or 10 items of that week. The answer is what they took
after the tenth item, the same however much is known, so the rows of one system can be compared.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.quality.moments import TrainedCut, read_interactions, trainer
from components.artifacts.cuts import seconds
from components.artifacts.errors import ContractError, RecsysError
from components.artifacts.tables import TIMESTAMP
from components.compute_features.history import extend_history
from components.evaluate_bundle.rank_systems import TWO_STAGE, popularity, system_lists
from components.point_in_time.queries import user_rows_at
from components.ranking.bootstrap import Interval, bootstrap_means
from components.ranking.metrics import Judged, ndcg_at_k
from components.retrieval.query import Query, build_query
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID, view
from pipelines.cli.progress import ConsoleProgress
from pipelines.config import load_config

HERE = Path(__file__).parent
EVENTS = (0, 1, 3, 10)
"""Items of the first visit that are known."""
K, DEPTH = 10, 40
PROFILE = tuple(spec.name for spec in view("user_profile").features)
HEAD = """# Users without a past

Written by `python -m benchmarks.quality.cold_users`. {dataset}, {users:,} users who took more than ten items in the
{horizon_days} days after {cut}. All that is known of them is their store, their profile where there is one, and their first
items; the answer is what they took after the tenth. NDCG@10 without the items that are known; brackets hold
{confidence:.0%} intervals over users.
"""


@dataclass(frozen=True)
class Visit:
    """The first items of a user, and what came after.

    Attributes:
        user_id: External id.
        row: What is known of the user without any event: profile and store.
        first: (item_id, Unix time) of the first distinct items, in their order.
        relevant: External ids of the items after those.
    """

    user_id: str
    row: Mapping[str, object]
    first: Sequence[tuple[str, int]]
    relevant: Sequence[str]

    def query(self, events: int, trained: TrainedCut) -> Query:
        """The question after some events."""
        row = dict(self.row)
        for item_id, at in self.first[:events]:
            row |= extend_history(row, item_id=item_id, seconds=at, weight=1.0)
        return build_query(self.user_id, row, trained.bundle.model.items, now_seconds=self.first[-1][1])


@dataclass(frozen=True)
class Cell:
    """NDCG@10 of one system after some events, and the difference of the two-stage model to it."""

    system: str
    events: int
    ndcg_at_10: Interval
    two_stage_minus_it: Interval


def main(arguments: Sequence[str]) -> int:
    """Train or take from the cache, ask, write; the exit code."""
    options = parser().parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    try:
        config = load_config(options.config, {"as_of": options.cut} if options.cut else None)
        trained = trainer(ConsoleProgress(console))(config, options.home / config.dataset.name / config.as_of)
        visits = first_visits(trained, read_interactions(trained))
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    cells = measure(trained, visits)
    write(cells, trained, visits, options.out)
    table = Table(*_headings(), box=None)
    for row in _rows(cells):
        table.add_row(*row)
    console.print(table)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.cold_users", description=__doc__)
    parser.add_argument("--config", default="complete_journey", help="shipped name or YAML file")
    parser.add_argument(
        "--cut", metavar="DATE", help="train and ask as of this date; the configuration's own otherwise"
    )
    parser.add_argument("--home", type=Path, default=Path(".recsys-bench"), help="state folder")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    return parser


def first_visits(trained: TrainedCut, interactions: pa.Table) -> list[Visit]:
    """Users with more items in the horizon than are ever known, by user.

    Raises:
        ContractError: There is none.
    """
    cut, split = trained.cuts.test[0], trained.config.resolved_split()
    end = pa.scalar(cut + timedelta(days=split.horizon_days), TIMESTAMP)
    time = interactions[EVENT_TIMESTAMP]
    is_asked = pc.and_(pc.greater_equal(time, pa.scalar(cut, TIMESTAMP)), pc.less(time, end))
    is_asked = pc.and_(is_asked, pc.is_in(interactions["interaction_type"], pa.array(split.label_types)))
    week = interactions.filter(is_asked).sort_by([(EVENT_TIMESTAMP, "ascending"), ("event_id", "ascending")])
    items_of: dict[str, dict[str, int]] = {}
    for user, item, at in zip(*(week[name].to_pylist() for name in (USER_ID, ITEM_ID, EVENT_TIMESTAMP)), strict=True):
        items_of.setdefault(user, {}).setdefault(item, seconds(at))
    users = sorted(user for user, items in items_of.items() if len(items) > max(EVENTS))
    if not users:
        raise ContractError(f"nobody took more than {max(EVENTS)} items in [{cut.date()}, {end.as_py().date()}).")
    rows = user_rows_at(trained.home, users, cut=cut)
    return [_visit(user, row, list(items_of[user].items())) for user, row in zip(users, rows, strict=True)]


def _visit(user_id: str, row: Mapping[str, object], items: Sequence[tuple[str, int]]) -> Visit:
    known = {name: row.get(name) for name in (*PROFILE, "user_store_id")}
    most = max(EVENTS)
    return Visit(user_id, known, items[:most], [item for item, _ in items[most:]])


def measure(trained: TrainedCut, visits: Sequence[Visit]) -> list[Cell]:
    """Every system after each number of events."""
    columns: dict[tuple[str, int], NDArray[np.float64]] = {}
    for events in EVENTS:
        for system, lists in _answers(trained, visits, events).items():
            columns[system, events] = _ndcg(trained, visits, lists)
    gaps = {key: columns[TWO_STAGE, key[1]] - values for key, values in columns.items()}
    evaluation, rng = trained.config.evaluation, np.random.default_rng(trained.config.evaluation.seed)
    found = bootstrap_means(
        np.stack([*columns.values(), *gaps.values()], axis=1),
        [visit.user_id for visit in visits],
        rng=rng,
        draws=evaluation.draws,
        confidence=evaluation.confidence,
    )
    return [Cell(*key, found[place], found[place + len(columns)]) for place, key in enumerate(columns)]


def _answers(trained: TrainedCut, visits: Sequence[Visit], events: int) -> dict[str, list[NDArray[np.int32]]]:
    """System to one list per visit, without the items that are known by then or will be answers to nobody."""
    model, policy = trained.bundle.model, trained.bundle.policy
    popular, answers = popularity(model), dict[str, list[NDArray[np.int32]]]()
    for visit in visits:
        query = visit.query(events, trained)
        ranking = model.rank(query)
        listed = None if policy.is_empty else policy.arrange(query, ranking, k=DEPTH).ranking
        gone = [model.items.num_of.get(item, -1) for item, _ in visit.first]
        for name, nums in system_lists(ranking, listed, popular, k=DEPTH).lists.items():
            answers.setdefault(name, []).append(nums[~np.isin(nums, gone)])
    return answers


def _ndcg(trained: TrainedCut, visits: Sequence[Visit], lists: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    users = [visit.user_id for visit in visits]
    wanted = [
        trained.bundle.model.items.nums(pa.array(visit.relevant, pa.string())).astype(np.int64) for visit in visits
    ]
    judged = Judged.of_lists(users, [nums.astype(np.int64) for nums in lists], wanted)
    return ndcg_at_k(judged, k=K).reindex(users).to_numpy(float)


def write(cells: Sequence[Cell], trained: TrainedCut, visits: Sequence[Visit], out: Path) -> None:
    """COLD_USERS.md and cold_users.json in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    config = trained.config
    facts = {
        "dataset": config.dataset.name,
        "cut": str(trained.cuts.test[0].date()),
        "users": len(visits),
        "horizon_days": config.split.horizon_days,
        "confidence": config.evaluation.confidence,
    }
    content = {**facts, "cells": [asdict(cell) for cell in cells]}
    (out / "cold_users.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [_headings(), ["---"] * len(_headings()), *_rows(cells)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (out / "COLD_USERS.md").write_text(f"{HEAD.format(**facts)}\n{table}\n", encoding="utf-8")


def _headings() -> list[str]:
    return ["System", *(f"{events} events" for events in EVENTS), f"two-stage minus it, {EVENTS[-1]} events"]


def _rows(cells: Sequence[Cell]) -> list[list[str]]:
    by_key = {(cell.system, cell.events): cell for cell in cells}
    names = sorted({cell.system for cell in cells}, key=lambda name: -by_key[name, EVENTS[-1]].ndcg_at_10.mean)
    return [
        [
            name,
            *(_span(by_key[name, events].ndcg_at_10) for events in EVENTS),
            "" if name == TWO_STAGE else _span(by_key[name, EVENTS[-1]].two_stage_minus_it, "+.4f"),
        ]
        for name in names
    ]


def _span(one: Interval, form: str = ".4f") -> str:
    return f"{one.mean:{form}} [{one.low:{form}}, {one.high:{form}}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
