"""python -m benchmarks.quality.cold_items: items without a past, recommended by what they are.

A tenth of the items that at least ten users know is withheld: every interaction with them is taken out before features
are computed and the retriever is fitted, so to the product they are new. They are then ranked among themselves for each
user and judged by what users really took of them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.command import add_home
from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ContractError, RecsysError
from components.artifacts.tables import SCHEMAS, TIMESTAMP, read_table
from components.compute_features.compute import compute_features
from components.ingest_events.ingest import ingest_events
from components.point_in_time.queries import item_table_at, queries_at
from components.ranking.bootstrap import Interval, bootstrap_means
from components.ranking.metrics import Judged, ndcg_at_k, recall_at_k
from components.retrieval.content import Content
from components.retrieval.interaction_log import InteractionLog
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from feature_repo.store import apply
from pipelines.config import PipelineConfig, load_config

HERE = Path(__file__).parent
WITHHELD_SHARE, LEAST_USERS, LATER_DAYS = 0.1, 10, 28
CONTENT, ATTRIBUTES, RANDOM = "content retriever", "popularity of department and category", "random order"
WHOLE, LATER = "all that the user took of them", f"what the user took of them in the {LATER_DAYS} days after the cut"
DEPTH = 20
HEADINGS = ("Relevant", "Ranked by", "Recall@20", "NDCG@10")
HEAD = """# Items without a past

Written by `python -m benchmarks.quality.cold_items`. {dataset} before {cut}: {withheld:,} of the {eligible:,} items that at
least {least} users know were withheld from features and retriever, and are ranked among themselves. Brackets hold
{confidence:.0%} intervals over users.
"""


@dataclass(frozen=True)
class Withheld:
    """A data set without some of its items' pasts.

    Attributes:
        items: As the product sees them at the cut.
        withheld: item_nums of the withheld items, ascending.
        eligible: Items that they were drawn from.
        queries: One per user with a history.
        log: The interactions that are left.
        relevant: Name of the answer to external ids by user.
    """

    items: ItemTable
    withheld: NDArray[np.int32]
    eligible: int
    queries: Sequence[Query]
    log: InteractionLog
    relevant: Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    relevant: str
    system: str
    queries: int
    recall_at_20: Interval
    ndcg_at_10: Interval


def main(arguments: Sequence[str]) -> int:
    """Withhold, fit, rank, write; the exit code."""
    options = parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        cut = parse_moment(options.cut or config.as_of)
        world = withhold(config, cut, options.home / "cold_items" / config.dataset.name, seed=config.seed)
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    rows = measure(world, config)
    write(rows, world, config, cut, options.out)
    table = Table(*HEADINGS, box=None)
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=140).print(table)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.cold_items", description=__doc__)
    parser.add_argument("--config", default="complete_journey", help="shipped name or YAML file")
    parser.add_argument("--cut", metavar="DATE", help="what is known then; the configuration's as_of otherwise")
    add_home(parser)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    return parser


def withhold(config: PipelineConfig, cut: datetime, home: Path, *, seed: int) -> Withheld:
    """Take the past of some items away, then compute features and ask as the pipeline does.

    Raises:
        ContractError: Too few items are known to enough users.
    """
    everything, known = home / "everything", home / "known"
    ingest_events(config.dataset, config.ingest, everything, end=cut + timedelta(days=LATER_DAYS))
    interactions = read_table(everything, "interactions")
    past = interactions.filter(pc.less(interactions[EVENT_TIMESTAMP], pa.scalar(cut, TIMESTAMP)))
    eligible = _known_to(past, LEAST_USERS)
    if len(eligible) < 1 / WITHHELD_SHARE:
        raise ContractError(f"{len(eligible)} items are known to {LEAST_USERS} users, expected at least 10.")
    rng = np.random.default_rng(seed)
    drawn = pa.array(sorted(rng.choice(eligible, round(WITHHELD_SHARE * len(eligible)), replace=False)), pa.string())
    _copy_without(everything, known, drawn)
    compute_features(known, home / "offline", [cut], config=config.features)
    apply(home)
    items = item_table_at(home, read_table(known, "items"), cut=cut)
    left = read_table(known, "interactions")
    users = sorted(pc.unique(past[USER_ID]).to_pylist())
    is_withheld = pc.is_in(interactions[ITEM_ID], drawn)
    later = pc.greater_equal(interactions[EVENT_TIMESTAMP], pa.scalar(cut, TIMESTAMP))
    return Withheld(
        items=items,
        withheld=np.sort(items.nums(drawn)),
        eligible=len(eligible),
        queries=queries_at(home, users, items, cut=cut),
        log=InteractionLog.before(left, items, cut),
        relevant={
            WHOLE: _by_user(past.filter(pc.is_in(past[ITEM_ID], drawn))),
            LATER: _by_user(interactions.filter(pc.and_(is_withheld, later))),
        },
    )


def _known_to(interactions: pa.Table, users: int) -> NDArray[np.str_]:
    counted = interactions.group_by(ITEM_ID).aggregate([(USER_ID, "count_distinct")])
    enough = counted.filter(pc.greater_equal(counted[f"{USER_ID}_count_distinct"], users))
    return np.array(sorted(enough[ITEM_ID].to_pylist()))


def _copy_without(source: Path, out: Path, item_ids: pa.Array) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        table = read_table(source, name)
        if name == "interactions":
            table = table.filter(pc.invert(pc.is_in(table[ITEM_ID], item_ids)))
        pq.write_table(table, out / f"{name}.parquet")


def _by_user(interactions: pa.Table) -> dict[str, list[str]]:
    grouped = interactions.group_by(USER_ID).aggregate([(ITEM_ID, "distinct")])
    return dict(zip(grouped[USER_ID].to_pylist(), grouped[f"{ITEM_ID}_distinct"].to_pylist(), strict=True))


def measure(world: Withheld, config: PipelineConfig) -> list[Row]:
    """Each system against each answer."""
    systems = {
        CONTENT: _by_content(world, config),
        ATTRIBUTES: [_by_attributes(world)] * len(world.queries),
        RANDOM: _at_random(world, config.seed),
    }
    return [_row(name, system, lists, world, config) for name in world.relevant for system, lists in systems.items()]


def _by_content(world: Withheld, config: PipelineConfig) -> list[NDArray[np.int32]]:
    fitted = Content.fit(world.log, world.items, **config.retrievers.content.model_dump())
    lists = [fitted.retrieve(query, k=len(world.items)).item_nums for query in world.queries]
    return [nums[np.isin(nums, world.withheld)][:DEPTH] for nums in lists]


def _by_attributes(world: Withheld) -> NDArray[np.int32]:
    """Mean users of the known items with the same department and category."""
    department, category = world.items.label_codes["department"], world.items.label_codes["category"]
    _, labels = np.unique(np.stack([department, category], axis=1), axis=0, return_inverse=True)
    users = np.bincount(np.unique(world.log.user_nums.astype(np.int64) * world.log.items + world.log.item_nums)
                        % world.log.items, minlength=world.log.items)  # fmt: skip
    known = users > 0
    means = np.bincount(labels[known], users[known], minlength=labels.max() + 1) / np.maximum(
        np.bincount(labels[known], minlength=labels.max() + 1), 1
    )
    return world.withheld[np.argsort(-means[labels[world.withheld]], kind="stable")][:DEPTH]


def _at_random(world: Withheld, seed: int) -> list[NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(world.withheld)[:DEPTH] for _ in world.queries]


def _row(name: str, system: str, lists: Sequence[NDArray[np.int32]], world: Withheld, config: PipelineConfig) -> Row:
    answers = world.relevant[name]
    asked = [place for place, query in enumerate(world.queries) if query.user_id in answers]
    users = [world.queries[place].user_id for place in asked]
    wanted = [world.items.nums(pa.array(answers[user], pa.string())).astype(np.int64) for user in users]
    judged = Judged.of_lists(users, [lists[place].astype(np.int64) for place in asked], wanted)
    values = np.stack([recall_at_k(judged, k=20).to_numpy(float), ndcg_at_k(judged, k=10).to_numpy(float)], axis=1)
    evaluation, rng = config.evaluation, np.random.default_rng(config.evaluation.seed)
    found = bootstrap_means(
        values, judged.queries.tolist(), rng=rng, draws=evaluation.draws, confidence=evaluation.confidence
    )
    return Row(name, system, len(users), *found)


def write(rows: Sequence[Row], world: Withheld, config: PipelineConfig, cut: datetime, out: Path) -> None:
    """COLD_ITEMS.md and cold_items.json in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "dataset": config.dataset.name,
        "cut": str(cut.date()),
        "withheld": len(world.withheld),
        "eligible": world.eligible,
        "least": LEAST_USERS,
        "confidence": config.evaluation.confidence,
    }
    content = {**facts, "rows": [asdict(row) for row in rows]}
    (out / "cold_items.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [HEADINGS, ["---"] * len(HEADINGS), *map(_cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (out / "COLD_ITEMS.md").write_text(f"{HEAD.format(**facts)}\n{table}\n", encoding="utf-8")


def _cells(row: Row) -> list[str]:
    spans = [f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in (row.recall_at_20, row.ndcg_at_10)]
    return [f"{row.relevant} ({row.queries:,} users)", row.system, *spans]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
