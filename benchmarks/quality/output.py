"""The figures as results.json, as tables on a terminal and in Markdown, and as a page of plots."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.quality.ratings import PREDICTORS, RatingErrors
from benchmarks.quality.run import DatasetResult
from benchmarks.quality.systems.catalogue import LABELS
from components.evaluate_bundle.config import TWO_STAGE
from components.evaluate_bundle.evaluation import Evaluation
from components.ranking.bootstrap import Interval
from components.ranking.metrics import metric_label

PACKAGES = ("recsys-platform", "numpy", "scipy", "xgboost", "optuna", "irspack", "scikit-surprise")
SHOWN = ("ndcg_at_10", "recall_at_10", "recall_at_20", "precision_at_10", "map_at_10")
HEADLINE = "ndcg_at_10"
HEADINGS = ("System", *map(metric_label, SHOWN), "Two-stage minus it, NDCG@10", "Search, s", "Fit and rank, s")
ON_TERMINAL = (0, 1, 3, 6)
"""Places of the columns that a terminal has room for."""
OURS, OTHERS = "#2563eb", "#94a3b8"
HEAD = """# Recommendation quality

Written by `make bench-quality`; `benchmarks/README.md` says what is measured and how. Brackets hold {confidence}
intervals over users. Every system answers the same queries on the whole catalogue.
"""


def write_results(results: Sequence[DatasetResult], out: Path) -> None:
    """`results.json`, `RESULTS.md` and `results.html` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"versions": versions(), "datasets": {one.name: _content(one) for one in results}}
    (out / "results.json").write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n")
    (out / "RESULTS.md").write_text(markdown(results), encoding="utf-8")
    (out / "results.html").write_text(_page(results), encoding="utf-8")


def versions() -> dict[str, str]:
    """Of Python and of the packages that the figures rest on; those that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _content(result: DatasetResult) -> dict[str, Any]:
    return {
        "validation_cut": result.validation,
        "test_cuts": list(result.cuts),
        "horizon_days": result.horizon_days,
        "bundles": list(result.bundles),
        "systems": {
            name: {**asdict(one.found), "ranking_seconds": one.seconds} for name, one in result.systems.items()
        },
        "all_items": result.comparison.everything.to_dict(),
        "items_new_to_the_user": result.comparison.new.to_dict(),
        "ratings": None if result.ratings is None else asdict(result.ratings),
    }


def _without_nan(value: object) -> object:
    """NaN as None: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def ordered(evaluation: Evaluation) -> list[str]:
    """Names of the systems, best NDCG@10 first."""
    return sorted(evaluation.systems, key=lambda name: (-evaluation.systems[name][HEADLINE].mean, name))


def print_tables(result: DatasetResult, console: Console) -> None:
    """The figures of one data set on a terminal."""
    for title, evaluation in _parts(result):
        rows = [[row[place] for place in ON_TERMINAL] for row in _rows(result, evaluation)]
        headings = [HEADINGS[place] for place in ON_TERMINAL]
        _print_table(f"{result.name}, {title}: {_asked(evaluation)}", headings, rows, console)
        console.print(_verdict(evaluation), highlight=False, soft_wrap=True)
    if result.ratings is not None:
        title = f"{result.name}, predicted ratings: {result.ratings.ratings:,} ratings"
        _print_table(title, RATING_HEADINGS, _rating_rows(result.ratings), console)


def _print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    table = Table(title=title, box=SIMPLE)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table, highlight=False)


def markdown(results: Sequence[DatasetResult]) -> str:
    """RESULTS.md: the same for the same figures."""
    confidence = results[0].comparison.everything.confidence
    blocks = [HEAD.format(confidence=f"{confidence:.0%}")]
    for result in results:
        blocks.append(f"## {result.name}\n\n{_setting(result)}\n")
        for title, evaluation in _parts(result):
            blocks.append(f"### {title.capitalize()}\n\n{_asked(evaluation).capitalize()}. {_verdict(evaluation)}\n")
            blocks.append(_markdown_table(HEADINGS, _rows(result, evaluation)))
        if result.ratings is not None:
            blocks.append(f"### Predicted ratings\n\n{RATINGS_SENTENCE.format(**vars_of(result.ratings))}\n")
            blocks.append(_markdown_table(RATING_HEADINGS, _rating_rows(result.ratings)))
    blocks.append("Versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + ".\n")
    return "\n".join(blocks)


RATINGS_SENTENCE = (
    "{ratings:,} ratings of {users:,} users in the windows after the cuts, those of users and items without a past "
    "included. The product ranks and predicts no ratings."
)
RATING_HEADINGS = ("Predictor", "RMSE", "MAE")


def vars_of(ratings: RatingErrors) -> dict[str, int]:
    """The numbers of a sentence about rating errors."""
    return {"ratings": ratings.ratings, "users": ratings.users}


def _parts(result: DatasetResult) -> tuple[tuple[str, Evaluation], ...]:
    return ("all items", result.comparison.everything), ("items new to the user", result.comparison.new)


def _setting(result: DatasetResult) -> str:
    trials = result.systems[TWO_STAGE].found.trials
    pool, fresh = result.comparison.everything.pool, result.comparison.new.pool
    return (
        f"Asked on {', '.join(result.cuts)} about the {result.horizon_days} days after; every search had {trials} "
        f"trials, judged on {result.validation}. The product's pool holds {pool['size']:.0f} candidates with "
        f"{pool['recall']:.1%} of what was relevant, {fresh['recall']:.1%} of what was new to the user."
    )


def _asked(evaluation: Evaluation) -> str:
    return f"{evaluation.queries:,} queries of {evaluation.users:,} users"


def _verdict(evaluation: Evaluation) -> str:
    """The product against the best single system, in words."""
    best = evaluation.best_single
    gap, theirs = evaluation.differences[best][HEADLINE], evaluation.systems[best][HEADLINE].mean
    share = f", {gap.mean / theirs:+.1%}" if theirs > 0 else ""
    return f"NDCG@10 of the product minus the best single system, {LABELS[best]}: {signed(gap)}{share}."


def _rows(result: DatasetResult, evaluation: Evaluation) -> list[list[str]]:
    return [_row(name, result, evaluation) for name in ordered(evaluation)]


def _row(name: str, result: DatasetResult, evaluation: Evaluation) -> list[str]:
    metrics, one = evaluation.systems[name], result.systems[name]
    figures = [plain(metrics[key]) if key == HEADLINE else f"{metrics[key].mean:.4f}" for key in SHOWN]
    gap = "" if name == TWO_STAGE else signed(evaluation.differences[name][HEADLINE])
    search = "in training" if math.isnan(one.found.seconds) else f"{one.found.seconds:.0f}"
    return [LABELS[name], *figures, gap, search, f"{one.seconds:.0f}"]


def plain(one: Interval) -> str:
    """A mean with its interval."""
    return f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]"


def signed(one: Interval) -> str:
    """A difference with its interval."""
    return f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def _rating_rows(ratings: RatingErrors) -> list[list[str]]:
    labels = {one.name: one.label for one in PREDICTORS}
    return [[labels[name], plain(one.rmse), plain(one.mae)] for name, one in ratings.errors.items()]


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _page(results: Sequence[DatasetResult]) -> str:
    """One figure per data set; the first brings plotly.js along, so the page needs nothing else."""
    figures = "".join(
        _figure(result).to_html(full_html=False, include_plotlyjs="inline" if place == 0 else False, div_id=result.name)
        for place, result in enumerate(results)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Recommendation quality</title></head>'
        f"<body>{figures}</body></html>"
    )


def _figure(result: DatasetResult) -> Any:  # a plotly figure
    from plotly.subplots import make_subplots

    parts = _parts(result)
    figure = make_subplots(cols=2, shared_yaxes=True, subplot_titles=[title.capitalize() for title, _ in parts])
    names = ordered(result.comparison.everything)[::-1]  # the best at the top
    for column, (_, evaluation) in enumerate(parts, start=1):
        figure.add_trace(_points(names, evaluation), row=1, col=column)
    figure.update_xaxes(rangemode="tozero", title="NDCG@10")
    title = f"{result.name}: NDCG@10 with {result.comparison.everything.confidence:.0%} intervals over users"
    figure.update_layout(
        title=title, template="plotly_white", showlegend=False, height=140 + 30 * len(names), yaxis={"automargin": True}
    )
    return figure


def _points(names: Sequence[str], evaluation: Evaluation) -> Any:  # a plotly trace
    import plotly.graph_objects as go

    found = [evaluation.systems[name][HEADLINE] for name in names]
    return go.Scatter(
        x=[one.mean for one in found],
        y=[LABELS[name] for name in names],
        mode="markers",
        marker={"size": 10, "color": [OURS if name == TWO_STAGE else OTHERS for name in names]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.mean for one in found],
            "arrayminus": [one.mean - one.low for one in found],
            "color": "#334155",
        },
        hovertemplate="%{y}: %{x:.4f}<extra></extra>",
    )
