"""python -m benchmarks.quality.reranking: what variety and calibration cost in accuracy, as a curve."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.command import add_home
from benchmarks.quality.moments import Moment, TrainedCut, asked_moment, read_interactions, trainer
from components.artifacts.errors import RecsysError
from components.ranking.bootstrap import Interval, bootstrap_means
from components.ranking.metrics import (
    Judged,
    catalogue_coverage,
    intra_list_diversity,
    miscalibration,
    ndcg_at_k,
    novelty,
)
from components.ranking.two_stage import Ranking
from components.reranking.config import PolicyConfig, RerankingConfig
from components.reranking.policy import ListPolicy
from pipelines.cli.progress import ConsoleProgress
from pipelines.config import load_config

HERE = Path(__file__).parent
K = 10
METHODS: tuple[Literal["mmr", "calibrated"], ...] = ("mmr", "calibrated")
STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
COLUMNS = ("ndcg_at_10", "diversity", "miscalibration_nats", "novelty_bits")
HEADINGS = (
    "Re-ranking", "NDCG@10", "minus as ranked", "Diversity", "Miscalibration (nats)", "Novelty (bits)", "Coverage", "ms",
)  # fmt: skip
COLOURS = {"mmr": "#2563eb", "calibrated": "#d97706"}
HEAD = """# The price of variety

Written by `python -m benchmarks.quality.reranking`. {dataset}, asked on {cut}: {queries:,} queries. Lists of {k}, brackets
hold {confidence:.0%} intervals over users. Diversity is the share of a list's pairs that are of different categories,
miscalibration the divergence of its {label} shares from those of the user's history; ms is the mean time of the
re-ranking of one list at depth {depth}.
"""


@dataclass(frozen=True)
class Setting:
    """One point of a curve.

    Attributes:
        method: Of the re-ranking; `none` is as ranked.
        strength: In [0, 1].
        figures: Of COLUMNS.
        difference: NDCG@10 minus that of the list as ranked, over the same queries.
        coverage: Share of the catalogue that is in any list.
        milliseconds: Mean time of the re-ranking of one list.
    """

    method: str
    strength: float
    figures: dict[str, Interval]
    difference: Interval
    coverage: float
    milliseconds: float

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return "as ranked" if self.method == "none" else f"{self.method} {self.strength:g}"


def main(arguments: Sequence[str]) -> int:
    """Train or take from the cache, re-rank in every way, write the curve; the exit code."""
    options = parser().parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    try:
        config = load_config(options.config, {"as_of": options.cut} if options.cut else None)
        trained = trainer(ConsoleProgress(console))(config, options.home / config.dataset.name / config.as_of)
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    moment = asked_moment(trained, read_interactions(trained))
    settings = measure(trained, moment)
    write(settings, trained, moment, options.out)
    console.print(_table(settings))
    console.print(f"written to {options.out / 'RERANKING.md'}, reranking.json, reranking.html", highlight=False)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.reranking", description=__doc__)
    parser.add_argument("--config", default="complete_journey", help="shipped name or YAML file")
    parser.add_argument(
        "--cut", metavar="DATE", help="train and ask as of this date; the configuration's own otherwise"
    )
    add_home(parser)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    return parser


def measure(trained: TrainedCut, moment: Moment, clock: Callable[[], float] = time.process_time) -> list[Setting]:
    """The list as ranked, then every method at every strength, on the same rankings."""
    rankings = [trained.bundle.model.rank(query) for query in moment.queries]
    grid = [RerankingConfig(), *(RerankingConfig(method=one, strength=s) for one in METHODS for s in STRENGTHS)]
    measured = [_Measured.of(one, trained, moment, rankings, clock) for one in grid]
    evaluation = trained.config.evaluation
    columns = np.concatenate(
        [part for one in measured for part in (one.values, one.values[:, :1] - measured[0].values[:, :1])], axis=1
    )
    users, rng = [query.user_id for query in moment.queries], np.random.default_rng(evaluation.seed)
    found = iter(bootstrap_means(columns, users, rng=rng, draws=evaluation.draws, confidence=evaluation.confidence))
    return [
        Setting(
            method=config.method,
            strength=config.strength,
            figures={name: next(found) for name in COLUMNS},
            difference=next(found),
            coverage=one.coverage,
            milliseconds=one.milliseconds,
        )
        for config, one in zip(grid, measured, strict=True)
    ]


@dataclass(frozen=True)
class _Measured:
    """Per-query figures of one setting: shape (n_queries, len(COLUMNS))."""

    values: NDArray[np.float64]
    coverage: float
    milliseconds: float

    @classmethod
    def of(
        cls,
        config: RerankingConfig,
        trained: TrainedCut,
        moment: Moment,
        rankings: Sequence[Ranking],
        clock: Callable[[], float],
    ) -> "_Measured":
        items = trained.bundle.model.items
        policy = ListPolicy.of(trained.bundle.model, PolicyConfig(reranking=config))
        began = clock()
        asked = zip(moment.queries, rankings, strict=True)
        lists = [policy.arrange(query, ranking, k=K).ranking.item_nums for query, ranking in asked]
        milliseconds = 1000 * (clock() - began) / len(lists)
        relevant = [[items.num_of.get(item, -1) for item in wanted] for wanted in moment.relevant]
        ids = [query.user_id for query in moment.queries]
        judged = Judged.of_lists(ids, lists, [_distinct(wanted) for wanted in relevant])
        histories = [query.history for query in moment.queries]
        weights = [query.decayed for query in moment.queries]
        labels = items.label_codes[_taste_label(config)]
        share = items.feature("item_users_30d").astype(float)
        columns = [
            ndcg_at_k(judged, k=K).reindex(ids).to_numpy(float),
            intra_list_diversity(lists, items.category_codes),
            miscalibration(lists, [one.item_nums for one in histories], weights, labels),
            novelty(lists, share / max(float(share.max()), 1.0)),
        ]
        return cls(np.stack(columns, axis=1), catalogue_coverage(lists, items=len(items)), milliseconds)


def _taste_label(config: RerankingConfig) -> str:
    return config.labels[0]


def _distinct(wanted: Sequence[int]) -> NDArray[np.int64]:
    """Items that the catalogue lacks are misses: each gets a code of its own."""
    return np.array([num if num >= 0 else -2 - place for place, num in enumerate(wanted)], np.int64)


def write(settings: Sequence[Setting], trained: TrainedCut, moment: Moment, out: Path) -> None:
    """RERANKING.md, reranking.json and reranking.html in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    defaults, evaluation = RerankingConfig(), trained.config.evaluation
    facts = {
        "dataset": trained.config.dataset.name,
        "cut": str(moment.cut.date()),
        "queries": len(moment.queries),
        "k": K,
        "confidence": evaluation.confidence,
        "label": _taste_label(defaults),
        "depth": defaults.depth,
    }
    content = {**facts, "settings": [asdict(one) for one in settings]}
    (out / "reranking.json").write_text(json.dumps(content, indent=1) + "\n")
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(_row(one) for one in settings)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    (out / "RERANKING.md").write_text(f"{HEAD.format(**facts)}\n{table}\n", encoding="utf-8")
    _figure(settings, facts).write_html(out / "reranking.html", include_plotlyjs=True, full_html=True)


def _row(one: Setting) -> list[str]:
    figures = [_span(one.figures[name]) for name in COLUMNS]
    difference = "" if one.method == "none" else _span(one.difference, "+.4f")
    return [one.name, figures[0], difference, *figures[1:], f"{one.coverage:.2%}", f"{one.milliseconds:.2f}"]


def _span(one: Interval, form: str = ".4f") -> str:
    return f"{one.mean:{form}} [{one.low:{form}}, {one.high:{form}}]"


def _table(settings: Sequence[Setting]) -> Table:
    table = Table(box=None)
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=True)
    for one in settings:
        short = [f"{one.figures[name].mean:.4f}" for name in COLUMNS]
        difference = "" if one.method == "none" else _span(one.difference, "+.4f")
        table.add_row(one.name, short[0], difference, *short[1:], f"{one.coverage:.2%}", f"{one.milliseconds:.2f}")
    return table


def _figure(settings: Sequence[Setting], facts: dict[str, Any]) -> Any:  # a plotly figure
    """NDCG@10 against diversity and against miscalibration, one line per method."""
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06)
    for method in METHODS:
        points = [one for one in settings if one.method in {"none", method}]
        for column, name in enumerate(("diversity", "miscalibration_nats"), start=1):
            figure.add_scatter(
                x=[one.figures[name].mean for one in points],
                y=[one.figures["ndcg_at_10"].mean for one in points],
                error_y=_error([one.figures["ndcg_at_10"] for one in points]),
                error_x=_error([one.figures[name] for one in points]),
                text=["as ranked" if one.method == "none" else f"{one.strength:g}" for one in points],
                mode="lines+markers+text",
                textposition="top right",
                name=method,
                legendgroup=method,
                showlegend=column == 1,
                line_color=COLOURS[method],
                row=1,
                col=column,
            )
    title = (
        f"What re-ranking costs: {facts['dataset']}, {facts['queries']:,} queries, {facts['confidence']:.0%} intervals"
    )
    figure.update_layout(title=title, template="plotly_white", height=520, legend={"orientation": "h", "y": -0.15})
    figure.update_xaxes(title="diversity (more is more varied)", row=1, col=1)
    figure.update_xaxes(title="miscalibration, nats (less is nearer to the user's mixture)", row=1, col=2)
    figure.update_yaxes(title="NDCG@10", row=1, col=1)
    return figure


def _error(intervals: Sequence[Interval]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [one.high - one.mean for one in intervals],
        "arrayminus": [one.mean - one.low for one in intervals],
        "thickness": 1,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
