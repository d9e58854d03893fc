"""The figures as results.json, as a table on a terminal and in Markdown, and as a page with a plot."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.cost.run import SizeResult
from benchmarks.cost.usage import GIB, StepUsage

TOTAL, SEARCH = "in all without search", "tune-ranker"
HEAD = """# Cost of training

Written by `make bench-cost`; `benchmarks/README.md` says what is measured and how. Each cell: wall seconds, CPU
seconds (user and system of all processes), and the peak of the memory of all processes at once, GiB. The exponent is
the slope of log seconds over log interactions between two sizes: 1 is linear, 0 does not grow.
"""

Results = dict[int, SizeResult]
"""Asked size to what was measured."""


def write_results(results: Results, out: Path) -> None:
    """`results.json`, `COST.md` and `results.html` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "sizes": {str(size): asdict(result) for size, result in sorted(results.items())},
    }
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "COST.md").write_text(markdown(results), encoding="utf-8")
    (out / "results.html").write_text(_page(results), encoding="utf-8")


def read_results(out: Path) -> Results:
    """What `write_results` wrote, nothing where nothing was."""
    path = out / "results.json"
    if not path.exists():
        return {}
    sizes = json.loads(path.read_text())["sizes"]
    return {int(size): _result(content) for size, content in sizes.items()}


def _result(content: Mapping[str, Any]) -> SizeResult:
    steps = {name: StepUsage(**usage) for name, usage in content["steps"].items()}
    return SizeResult(**{**content, "steps": steps})


def exponents(results: Results, step: str) -> list[float]:
    """Log-log slope of a step's seconds between neighbouring sizes, ascending; NaN where a size lacks the step."""
    ordered = [results[size] for size in sorted(results)]
    return [_slope(smaller, larger, step) for smaller, larger in pairwise(ordered)]


def _slope(smaller: SizeResult, larger: SizeResult, step: str) -> float:
    before, after = _usage(smaller, step), _usage(larger, step)
    if before is None or after is None or before.seconds <= 0 or after.seconds <= 0:
        return math.nan
    return math.log(after.seconds / before.seconds) / math.log(larger.interactions / smaller.interactions)


def _usage(result: SizeResult, step: str) -> StepUsage | None:
    """None where the size lacks the step, or searched nothing in it."""
    if step == TOTAL:
        steps = [one for name, one in result.steps.items() if name != SEARCH]
        seconds, cpu_seconds = (sum(getattr(one, name) for one in steps) for name in ("seconds", "cpu_seconds"))
        return StepUsage(seconds, cpu_seconds, max(one.peak_bytes for one in steps))
    return None if step == SEARCH and not result.searched else result.steps.get(step)


def headings(results: Results) -> list[str]:
    """Of the table's columns."""
    sizes = [results[size] for size in sorted(results)]
    slopes = [f"exponent to {_millions(result)}" for result in sizes[1:]]
    return ["Step", *(f"{_millions(result)}: s · CPU s · GiB" for result in sizes), *slopes]


def rows(results: Results) -> list[list[str]]:
    """One per step in the order they run, then all together."""
    sizes = [results[size] for size in sorted(results)]
    steps = list(dict.fromkeys(step for result in sizes for step in result.steps))
    return [
        [step, *(_cell(_usage(result, step)) for result in sizes), *map(_exponent, exponents(results, step))]
        for step in [*steps, TOTAL]
    ]


def _cell(usage: StepUsage | None) -> str:
    if usage is None:
        return "not run"
    return f"{usage.seconds:.1f} · {usage.cpu_seconds:.1f} · {usage.peak_bytes / GIB:.2f}"


def _exponent(slope: float) -> str:
    return "" if math.isnan(slope) else f"{slope:.2f}"


def _millions(result: SizeResult) -> str:
    return f"{result.interactions / 1e6:.3g} M"


def markdown(results: Results) -> str:
    """COST.md: the same for the same figures."""
    facts = "\n".join(f"- {_facts(results[size])}" for size in sorted(results))
    lines = [headings(results), ["---"] * len(headings(results)), *rows(results)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{HEAD}\n{facts}\n\n{table}\n"


def _facts(result: SizeResult) -> str:
    search = f"{result.searched} trials" if result.searched else "no search"
    return (
        f"{result.interactions:,} interactions of {result.households:,} households, {search}: "
        f"{result.seconds / 60:.1f} minutes, {result.peak_bytes / GIB:.2f} GiB at most; NDCG@10 "
        f"{result.ndcg_at_10:.3f}, gate {'passed' if result.passed else 'refused'}"
    )


def print_table(results: Results, console: Console) -> None:
    """The figures on a terminal."""
    table = Table(box=SIMPLE)
    for heading in headings(results):
        table.add_column(heading)
    for row in rows(results):
        table.add_row(*row)
    console.print(table, highlight=False)


def _page(results: Results) -> str:
    """Seconds and memory of each step over the size, with plotly.js inside: the page needs nothing else."""
    body = _figure(results).to_html(full_html=False, include_plotlyjs="inline", div_id="cost")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Cost of training</title></head>'
        f"<body>{body}</body></html>"
    )


def _figure(results: Results) -> Any:  # a plotly figure
    from plotly.subplots import make_subplots

    sizes = [results[size] for size in sorted(results)]
    figure = make_subplots(cols=2, subplot_titles=["Wall seconds", "Peak memory, GiB"])
    for place, (step, *_) in enumerate(rows(results)):
        used = [(result.interactions, usage) for result in sizes if (usage := _usage(result, step))]
        figure.add_trace(_line(step, place, [(x, one.seconds) for x, one in used]), row=1, col=1)
        figure.add_trace(_line(step, place, [(x, one.peak_bytes / GIB) for x, one in used], again=True), row=1, col=2)
    figure.update_xaxes(type="log", title="interactions")
    figure.update_yaxes(type="log")
    figure.update_layout(title="Cost of training by step", template="plotly_white", height=560)
    return figure


def _line(step: str, place: int, points: Sequence[tuple[int, float]], *, again: bool = False) -> Any:  # a trace
    import plotly.graph_objects as go
    from plotly.colors import qualitative

    colour = "#0f172a" if step == TOTAL else qualitative.Safe[place % len(qualitative.Safe)]
    return go.Scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        name=step,
        legendgroup=step,
        showlegend=not again,
        mode="lines+markers",
        line={"color": colour, "width": 4 if step == TOTAL else 2},
    )
