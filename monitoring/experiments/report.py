"""An experiment as people read it: every metric with its interval, the decision, and a page without a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np

from monitoring.experiments.always_valid import interval, p_value
from monitoring.experiments.charts import Line, line_chart
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.effects import Effect
from monitoring.experiments.figures import arms_effect
from monitoring.experiments.metrics import Logs, Span, user_values
from monitoring.experiments.multiplicity import benjamini_hochberg
from monitoring.experiments.sample_ratio import sample_ratio_p
from monitoring.experiments.slices import SliceRow
from monitoring.experiments.verdict import Figures, Verdict, in_words, plain

POINTS = 40
"""Moments that a line over time is drawn from."""
VIEWPORT = '<meta name="viewport" content="width=device-width,initial-scale=1">'
"""A phone shows the page as wide as it is itself; a table that is wider is moved by a finger."""
STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#292524;max-width:900px;margin:32px auto;padding:0 16px}
h1{font-size:24px;margin-bottom:4px}h2{font-size:17px;margin-top:32px}.verdict{padding:12px 16px;border-radius:8px;
background:#f5f5f4;border-left:6px solid #57534e}.promote,.advance{border-color:#15803d}.rollback,.invalid{border-color:#b91c1c}
table{border-collapse:collapse;width:100%}td,th{text-align:right;padding:5px 8px;border-bottom:1px solid #e7e5e4}
td:first-child,th:first-child,.words td,.words th{text-align:left}
.words td:first-child{white-space:nowrap}small{color:#57534e}svg{max-width:100%;height:auto}.wide{overflow-x:auto}
@media(max-width:600px){table{font-size:13px}.numbers td,.numbers th,.words td:nth-child(-n+3){white-space:nowrap}
.words td:last-child{min-width:240px}}"""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric at a look; low and high hold the difference at every look, the p-value is corrected for all metrics."""

    name: str
    effect: Effect
    low: float
    high: float
    p_corrected: float

    def cells(self) -> tuple[str, ...]:
        """As text, for a table's row."""
        baseline, difference = float(self.effect.baseline), float(self.effect.difference)
        lift = f" ({difference / baseline:+.1%})" if baseline else ""
        known = f"{self.low:+.4g} to {self.high:+.4g}" if float(self.effect.variance) else "no user differs yet"
        return (
            self.name,
            f"{baseline:.4g}",
            f"{difference:+.4g}{lift}",
            known,
            f"{float(self.effect.users):,.0f}",
            f"{self.p_corrected:.3g}",
        )


@dataclass(frozen=True)
class Report:
    """What a page shows; metrics and lines are empty where the sample ratio is off: such figures mean nothing.

    Attributes:
        name: Of the experiment.
        now: When it was made.
        verdict: Of now.
        figures: It was made of.
        metrics: All that have users.
        over_time: The primary metric's difference with its interval.
        decisions: When, by whom, what and why, the oldest first.
        shares: Planned, of champion and canary.
        slices: Grouping of the users to its groups, of the primary metric.
        early: The primary metric of users' first hours, which harm is looked for in; empty while it is not known.
        chosen: What somebody chose at its start of how it is judged; empty where all is as by default.
        is_shown: Whether the arms are comparable, so that results mean something.
    """

    name: str
    now: datetime
    verdict: Verdict
    figures: Figures
    metrics: Sequence[MetricRow]
    over_time: Mapping[str, Line]
    decisions: Sequence[tuple[str, str, str, str]]
    shares: tuple[float, float]
    slices: Mapping[str, Sequence[SliceRow]] = field(default_factory=dict)
    early: str = ""
    chosen: str = ""
    is_shown: bool = True


def metric_rows(logs: Logs, span: Span, config: ExperimentConfig) -> list[MetricRow]:
    """Every metric with at least two users in each arm; Benjamini-Hochberg over their p-values."""
    found = {name: arms_effect(user_values(logs, metric, span, config)) for name, metric in config.metrics.items()}
    effects = {name: effect for name, effect in found.items() if effect is not None}
    tightest_at = 10.0 * config.step_users
    raw = {name: float(p_value(one, alpha=config.alpha, tightest_at=tightest_at)) for name, one in effects.items()}
    corrected = benjamini_hochberg(raw)
    return [_row(name, effect, corrected[name], config.alpha, tightest_at) for name, effect in effects.items()]


def early_sentence(figures: Figures, config: ExperimentConfig) -> str:
    """What harm is looked for in, before any user's whole time is over."""
    if figures.early is None:
        return ""
    hours = min(config.harm_hours, config.metrics[config.primary].window_hours)
    span = "hour" if hours == 1 else f"{hours:g} hours"
    return f"Harm is looked for in users' first {span}: {config.primary} {in_words(figures.early)}."


def _row(name: str, effect: Effect, p_corrected: float, alpha: float, tightest_at: float) -> MetricRow:
    low, high = interval(effect, alpha=alpha, tightest_at=tightest_at)
    return MetricRow(name, effect, float(low), float(high), p_corrected)


def over_time(logs: Logs, span: Span, config: ExperimentConfig) -> dict[str, Line]:
    """The primary metric's difference as it was known at each of POINTS moments of the step; x is days."""
    found = user_values(logs, config.metrics[config.primary], span, config)
    if len(found.values) == 0:
        return {}
    begin = np.datetime64(span.since.replace(tzinfo=None))
    days = (found.exposed_at.astype("datetime64[us]") - begin) / np.timedelta64(1, "D")
    points = []
    for day in np.linspace(0, days.max(), POINTS + 1)[1:]:
        effect = arms_effect(found.of_users(days <= day))
        if effect is not None and float(effect.users) >= config.step_users:
            low, high = interval(effect, alpha=config.alpha, tightest_at=10.0 * config.step_users)
            points.append((float(day), float(effect.difference), float(low), float(high)))
    return (
        {
            f"{config.primary}: canary less champion, {1 - config.alpha:.0%} at any look": Line(
                *zip(*points, strict=True)
            )
        }
        if points
        else {}
    )


def write_page(report: Report, path: Path) -> None:
    """A self-contained HTML page; a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(page(report), encoding="utf-8")
    unfinished.replace(path)


def page(report: Report) -> str:
    """The page's HTML."""
    action = report.verdict.action
    parts = [
        f"<h1>Experiment {escape(report.name)}</h1><small>as of {report.now:%Y-%m-%d %H:%M} UTC</small>",
        f'<p class="verdict {action}"><b>{escape(action.upper())}</b> {escape(report.verdict.reason)}</p>',
    ]
    if not report.is_shown:
        parts.append("<p>No result is shown: the arms are not comparable.</p>")
    else:
        heads = ("metric", "champion", "canary less champion", "interval at any look", "users", "p, corrected")
        rows = [row.cells() for row in report.metrics]
        parts += ["<h2>Metrics</h2>", _table(heads, rows) if rows else "<p>No user's time is over yet.</p>"]
        parts += [f"<p>{escape(report.early)}</p>"] if report.early else []
        if report.over_time:
            chart = line_chart(
                report.over_time, x_label="day of the step of a user's first exposure", y_label="difference",
                reference=0.0, y_format="+.3g",
            )  # fmt: skip
            parts += ["<h2>Over time</h2>", chart]
    parts += _slices(report)
    parts += ["<h2>Sample ratio</h2>", _sample_ratio(report), "<h2>Guardrails</h2>", _guardrails(report.figures)]
    parts += ["<h2>How it is judged</h2>", f"<p>Decided at its start: {escape(report.chosen or 'as by default')}.</p>"]
    parts += ["<h2>Decisions</h2>", _table(("when (UTC)", "by", "decision", "reason"), report.decisions, of="words")]
    title = escape(f"Experiment {report.name}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{VIEWPORT}<title>{title}</title><style>{STYLE}</style>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _slices(report: Report) -> list[str]:
    """Groups of users beside each other; their intervals are not corrected for how many they are."""
    if not report.slices:
        return []
    heads = ("champion", "canary less champion", "interval at any look", "users")
    parts = ["<h2>Groups of users</h2>", "<p>The primary metric; no group decides.</p>"]
    for name, groups in report.slices.items():
        rows = [MetricRow(one.name, one.effect, one.low, one.high, 1.0).cells()[:-1] for one in groups]
        parts.append(_table((name, *heads), rows))
    return parts


def _sample_ratio(report: Report) -> str:
    stable, canary = report.figures.assigned
    if min(report.shares) == 0:
        return "<p>No user meets the canary yet.</p>"
    p = float(sample_ratio_p(np.array(report.figures.assigned, float), report.shares))
    planned = " to ".join(f"{share:.0%}" for share in report.shares)
    return f"<p>{stable:,} users at the champion, {canary:,} at the canary, planned {planned}: p {p:.3g}</p>"


def _guardrails(figures: Figures) -> str:
    rows = [
        (
            one.title,
            *(f"{arm.bad:,} of {arm.requests:,}" for arm in (one.stable, one.canary)),
            f"{one.tolerance:.2%} above",
        )
        for one in figures.guardrails
    ]
    rows += [(one.name, "", plain(one.value), plain(one.limit)) for one in figures.readings]
    return _table(("guardrail", "champion", "canary", "allowed"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, of: str = "numbers") -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{of}"><tr>{top}</tr>{body}</table></div>'
