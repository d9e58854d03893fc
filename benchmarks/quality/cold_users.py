"""python -m benchmarks.quality.cold_users: users without a past, in the first events of their first visit.

The product is trained on half of the users. Those of the other half who took more than ten items in a test week are
asked about in it: nothing is known of them but where they are, who they are where a profile says so, and the first 0, 1,
3 or 10 items of that week. The answer is what they took after the tenth item, the same however much is known, so the
figures of one system can be compared.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.command import add_home
from benchmarks.quality.moments import TrainedCut, trainer
from components.artifacts.cuts import Cuts, parse_moment
from components.artifacts.errors import ContractError, RecsysError
from components.artifacts.tables import SCHEMAS, Tables, read_table
from components.build_training_set.new_users import new_user_query
from components.datasets.load import sample
from components.evaluate_bundle.config import TWO_STAGE
from components.evaluate_bundle.rank_systems import popularity, system_lists
from components.ingest_events.ingest import ingest_events
from components.ranking.blend import Blend
from components.ranking.bootstrap import Interval, bootstrap_means
from components.ranking.labels import items_in_order
from components.ranking.metrics import Judged, ndcg_at_k
from components.retrieval.query import Query
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from pipelines.cli.progress import ConsoleProgress
from pipelines.config import PipelineConfig, load_config

HERE = Path(__file__).parent
EVENTS = (0, 1, 3, 10)
"""Items of the first visit that are known."""
TRAINED_SHARE = 0.5
K, DEPTH = 10, 40
HEAD = """# Users without a past

Written by `python -m benchmarks.quality.cold_users`. {dataset}, trained on {share:.0%} of the users; {visits:,} visits of
{users:,} others who took more than ten items in the {horizon_days} days after {cuts}. All that is known of them is their
store, their profile where there is one, and their first items; the answer is what they took after the tenth. NDCG@10
without the items that are known; brackets hold {confidence:.0%} intervals over users.

{blend}
"""
NO_BLEND = "On the validation cut no strength of the blend beat the score alone, so the score orders every list."
BLENDED = """The blend that the training chose on its validation cut: {strength:g} log-odds for the best of the lists of
{sources}, falling to nothing at {until} known items. `{alone}` is the two-stage model without it."""
GAPS = """
What the two-stage model has more than each of the others, on the same visits:

"""
SCORE_ALONE = "score alone"
"""The two-stage model without its blend, where it has one."""


@dataclass(frozen=True)
class Visit:
    """The first items of a user, and what came after.

    Attributes:
        user_id: External id.
        row: The user's store and profile.
        first: (item_id, Unix time) of the first distinct items, in their order.
        relevant: External ids of the items after those.
    """

    user_id: str
    row: Mapping[str, object]
    first: Sequence[tuple[str, int]]
    relevant: Sequence[str]

    def query(self, events: int, trained: TrainedCut) -> Query:
        """The question after some events."""
        known, items = self.first[:events], trained.bundle.model.items
        return new_user_query(self.user_id, self.row, known, items, now_seconds=self.first[-1][1])


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
        cut = {"as_of": options.cut} if options.cut else {}
        config = load_config(options.config, {"dataset.sample_users": TRAINED_SHARE, **cut})
        home = options.home / "cold_users" / config.dataset.name / config.as_of
        visits = first_visits(config, home / "everybody")
        trained = trainer(ConsoleProgress(console))(config, home)
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    cells = measure(trained, visits)
    write(cells, trained, visits, options.out)
    table = Table(*_headings(), box=None)
    for row in _rows(cells, lambda cell: _span(cell.ndcg_at_10)):
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
    add_home(parser)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    return parser


def first_visits(config: PipelineConfig, folder: Path) -> list[Visit]:
    """Visits in the test windows of users that the sample leaves out, with more items than are ever known.

    Raises:
        ContractError: There is none.
    """
    cuts, split = Cuts(parse_moment(config.as_of), config.resolved_split()), config.resolved_split()
    everybody = config.dataset.model_copy(update={"sample_users": 1.0})
    ingest_events(everybody, config.ingest, folder, end=cuts.end)
    tables = Tables(*(read_table(folder, name) for name in SCHEMAS))
    trained_on = pc.unique(sample(tables, config.dataset.sample_users).interactions[USER_ID])
    others = tables.interactions.filter(pc.invert(pc.is_in(tables.interactions[USER_ID], trained_on)))
    profiles = {row[USER_ID]: row for row in _profiles(tables.users).to_pylist()}
    visits = [
        visit
        for cut in cuts.test
        for visit in _visits(
            items_in_order(others, cut, cuts.horizon, split.label_types), profiles, _stores(others, cut)
        )
    ]
    if not visits:
        raise ContractError(f"no user outside the sample took more than {max(EVENTS)} items in a test window.")
    return visits


def _profiles(users: pa.Table) -> pa.Table:
    """Users' columns under the names of their features."""
    names = [name if name == USER_ID else f"user_{name.removeprefix('user_')}" for name in users.column_names]
    return users.rename_columns(names)


def _stores(interactions: pa.Table, cut: datetime) -> dict[str, str]:
    """Where each user's first interaction from the cut on was."""
    later = interactions.filter(pc.greater_equal(interactions[EVENT_TIMESTAMP], pa.scalar(cut)))
    first = later.sort_by([(EVENT_TIMESTAMP, "descending")])
    return dict(zip(first[USER_ID].to_pylist(), first["store_id"].to_pylist(), strict=True))


def _visits(
    items_of: Mapping[str, Sequence[tuple[str, int]]],
    profiles: Mapping[str, Mapping[str, object]],
    stores: Mapping[str, str],
) -> Iterator[Visit]:
    most = max(EVENTS)
    for user, items in items_of.items():
        if len(items) > most:
            row = {**profiles.get(user, {}), "user_store_id": stores[user]}
            yield Visit(user, row, items[:most], [item for item, _ in items[most:]])


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
        lists = dict(system_lists(ranking, listed, popular, k=DEPTH).lists)
        if model.blend is not None:
            lists[SCORE_ALONE] = replace(model, blend=None).rank(query).item_nums[:DEPTH]
        for name, nums in lists.items():
            answers.setdefault(name, []).append(nums[~np.isin(nums, gone)])
    return answers


def _ndcg(trained: TrainedCut, visits: Sequence[Visit], lists: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    ids = [f"{visit.user_id}@{visit.first[0][1]}" for visit in visits]
    wanted = [
        trained.bundle.model.items.nums(pa.array(visit.relevant, pa.string())).astype(np.int64) for visit in visits
    ]
    judged = Judged.of_lists(ids, [nums.astype(np.int64) for nums in lists], wanted)
    return ndcg_at_k(judged, k=K).reindex(ids).to_numpy(float)


def write(cells: Sequence[Cell], trained: TrainedCut, visits: Sequence[Visit], out: Path) -> None:
    """COLD_USERS.md and cold_users.json in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    config = trained.config
    facts = {
        "dataset": config.dataset.name,
        "share": TRAINED_SHARE,
        "cuts": " and ".join(str(cut.date()) for cut in trained.cuts.test),
        "visits": len(visits),
        "users": len({visit.user_id for visit in visits}),
        "horizon_days": config.split.horizon_days,
        "confidence": config.evaluation.confidence,
        "blend": _blend(trained.bundle.model.blend),
    }
    content = {**facts, "cells": [asdict(cell) for cell in cells]}
    (out / "cold_users.json").write_text(json.dumps(content, indent=1) + "\n")
    tables = [_markdown(_rows(cells, lambda cell: _span(cell.ndcg_at_10)))]
    tables.append(_markdown(_rows(_others(cells), lambda cell: _span(cell.two_stage_minus_it, "+.4f"))))
    (out / "COLD_USERS.md").write_text(f"{HEAD.format(**facts)}\n{GAPS.join(tables)}", encoding="utf-8")


def _blend(blend: Blend | None) -> str:
    if blend is None:
        return NO_BLEND
    sources = ", ".join(f"{name} ({share:.2f})" for name, share in blend.sources.items())
    return BLENDED.format(strength=blend.strength, sources=sources, until=blend.until_items, alone=SCORE_ALONE)


def _others(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.system != TWO_STAGE]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [_headings(), ["---"] * len(_headings()), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _headings() -> list[str]:
    return ["System", *(f"{events} events" for events in EVENTS)]


def _rows(cells: Sequence[Cell], said: Callable[[Cell], str]) -> list[list[str]]:
    by_key = {(cell.system, cell.events): cell for cell in cells}
    names = sorted({cell.system for cell in cells}, key=lambda name: -by_key[name, EVENTS[-1]].ndcg_at_10.mean)
    return [[name, *(said(by_key[name, events]) for events in EVENTS)] for name in names]


def _span(one: Interval, form: str = ".4f") -> str:
    return f"{one.mean:{form}} [{one.low:{form}}, {one.high:{form}}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
