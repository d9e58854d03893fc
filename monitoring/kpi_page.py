"""The business's figures over time, as a page and as rows of a table."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from components.artifacts.whole_file import write_whole
from monitoring.config import KpiConfig
from monitoring.experiments.charts import Line, line_chart
from monitoring.kpis import FOLDER, Kpi, locked, of_metric
from monitoring.verdict import days
from serving.console_style import document

HEADS = ("figure", "newest period", "value", "users", "before", "goal")
SECONDS_PER_DAY = 86_400


def names_of(kpis: Sequence[Kpi]) -> list[str]:
    """Metrics that there are figures of, by name."""
    return sorted({one.name for one in kpis})


def meaning(name: str, config: KpiConfig) -> str:
    """What the figure is, with its unit; nothing of one that is configured no longer."""
    return config.metrics[name].meaning if name in config.metrics else ""


def row(name: str, kpis: Sequence[Kpi], goals: Mapping[str, float]) -> tuple[str, ...]:
    """The newest period of a metric, in the order of HEADS."""
    own = of_metric(kpis, name)
    newest, before = own[-1], own[-2].figure if len(own) > 1 else "-"
    goal = f"at least {goals[name]:g}" if name in goals else "-"
    return name, days(newest.start, newest.end), newest.figure, f"{newest.users:,}", before, goal


def chart(name: str, kpis: Sequence[Kpi], goal: float | None, *, width: int = 1000, height: int = 240) -> str:
    """A metric's periods with their intervals as SVG, its goal as a dashed line; empty with fewer than two periods."""
    own = of_metric(kpis, name)
    if len(own) < 2:
        return ""
    ages = [(one.end - own[-1].end).total_seconds() / SECONDS_PER_DAY for one in own]
    line = Line(ages, *([getattr(one, part) for one in own] for part in ("value", "low", "high")))
    return line_chart(
        {name: line}, x_label="days before the newest period's end", y_label=name, reference=goal, y_format=".3g",
        width=width, height=height,
    )  # fmt: skip


def kpi_page(model: str, kpis: Sequence[Kpi], config: KpiConfig) -> str:
    """All of it as HTML, in one file."""
    goals = config.goals
    parts = [
        f'<header><h1>Business figures of {escape(model)}</h1><p class="sub">of all users who were shown a list, with '
        f"{config.confidence:.0%} intervals over users; goals are dashed</p></header>"
    ]
    for name in names_of(kpis):
        own = of_metric(kpis, name)
        drawn = chart(name, kpis, goals.get(name))
        goal = f"goal: at least {goals[name]:g}" if name in goals else "no goal"
        said = "; ".join(part for part in (meaning(name, config), goal) if part)
        parts.append(f'<h2>{escape(name)}</h2><p class="sub">{escape(said)}</p>')
        parts += [f'<div class="chart">{drawn}</div>'] if drawn else []
        cells = [
            (days(one.start, one.end), one.figure, f"{one.users:,}", ", ".join(one.bundles)) for one in reversed(own)
        ]
        parts.append(_table(("period", "value", "users", "bundles"), cells))
    return document(f"Business figures of {model}", "".join(parts))


def write_kpi_page(home: Path, model: str, kpis: Sequence[Kpi], config: KpiConfig) -> Path:
    """The page beside the figures, under their lock."""
    path = kpi_page_path(home, model)
    with locked(home, model):
        write_whole(path, kpi_page(model, kpis, config))
    return path


def kpi_page_path(home: Path, model: str) -> Path:
    """Where it lies."""
    return home / FOLDER / f"{model}.html"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
