"""The evaluation as one self-contained page: the verdict first, then pictures, then every number."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from components.artifacts.manifest import Manifest
from components.evaluate_bundle.config import AS_RANKED, CHAMPION, FUSION, POPULARITY, TWO_STAGE
from components.evaluate_bundle.evaluation import Evaluation
from components.evaluate_bundle.gate import Gate
from components.ranking.bootstrap import Interval
from components.ranking.metrics import metric_label

NAMES = {
    TWO_STAGE: "Two-stage (this bundle)",
    FUSION: "Rank fusion of the retrievers",
    AS_RANKED: "Two-stage before re-ranking and rules",
    POPULARITY: "Popularity",
    CHAMPION: "Champion",
    "repeat_purchase": "Repeat purchase",
    "user_neighbours": "User neighbours",
    "covisitation": "Co-visitation",
    "rp3beta": "RP3beta",
    "pure_svd": "Pure SVD",
    "popular_in_context": "Popular in context",
    "content": "Content (new items)",
}
OURS, OTHERS = "#2563eb", "#94a3b8"
PALETTE = (
    OURS, "#f59e0b", "#10b981", "#8b5cf6", "#ef4444", "#0891b2", "#db2777", "#64748b", "#84cc16", "#78350f", "#0f172a",
    "#f9a8d4",
)  # fmt: skip
COLOURS = dict(zip(NAMES, PALETTE, strict=True))
"""A system has one colour on the page, and none that another has."""
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#0f172a"},
    "margin": {"l": 10, "r": 20, "t": 40, "b": 40},
    "colorway": PALETTE,
}
CHART = {"displayModeBar": False, "responsive": True}

BELOW = {"orientation": "h", "y": -0.15, "yanchor": "top", "traceorder": "normal"}

STYLE = """
:root{color-scheme:light}body{margin:0;background:#f8fafc;color:#0f172a;font:15px/1.55 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 18px 60px}h1{font-size:26px;margin:0 0 6px;line-height:1.25}
h2{font-size:19px;margin:38px 0 8px}p.sub{color:#475569;margin:0 0 18px}.badge{display:inline-block;padding:2px 12px;
border-radius:99px;font-weight:600;color:#fff;background:#15803d}.badge.no{background:#b91c1c}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:18px 0}
.card{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:12px 14px}.card b{display:block;font-size:23px}
.card span{color:#475569;font-size:13px}.chart{min-width:0;overflow:hidden}
.chart{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:6px;
margin:12px 0}.two{display:grid;grid-template-columns:minmax(0,1fr);gap:0 12px}
@media(min-width:880px){.two{grid-template-columns:repeat(2,minmax(0,1fr))}}
.scroll{overflow-x:auto;background:#fff;border:1px solid #e2e8f0;border-radius:10px}table{border-collapse:collapse;
font-size:13px;width:100%}th,td{padding:6px 10px;text-align:right;border-bottom:1px solid #eef2f7;white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}tr.ours td{background:#eff6ff;
font-weight:600}td small{color:#64748b;display:block}dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px}
dt{font-weight:600}dd{margin:0;color:#334155;min-width:0;overflow-wrap:anywhere}p.note{color:#475569;font-size:13px}
@media(max-width:520px){dl{display:block}dd{margin:0 0 8px}h1{font-size:21px}main{padding:18px 12px 40px}}
"""

APART = {"automargin": True, "ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
"""Labels of bars: whole, and not against the axis."""
BEYOND = {
    "coverage": ".2%",
    "novelty_bits": ".2f",
    "diversity": ".3f",
    "miscalibration_nats": ".3f",
    "popularity_lift": "+.0%",
    "exposure_gini": ".3f",
}
"""Figures beyond accuracy, and how they are written."""
DEFINITIONS = {
    "NDCG@k": "Discounted gain of the first k over that of the best order; relevant items gain 1.",
    "Recall@k": "Relevant items among the first k over all relevant items of the query.",
    "Precision@k": "Relevant items among the first k, over k.",
    "F1@k": "Harmonic mean of the two.",
    "MAP@k": "Mean of the precision at each relevant rank up to k, over min(k, relevant items).",
    "MRR@k": "Mean of 1 / rank of the first relevant item among the first k, 0 where there is none.",
    "Hit rate@k": "Share of queries with a relevant item among the first k.",
    "Coverage": "Share of the catalogue that appears in any list of 10.",
    "Novelty": "Mean of -log2 of the share of users who take the listed items, bits; more is less known.",
    "Diversity": "Share of a list's pairs that are of different categories.",
    "Miscalibration": "Kullback-Leibler divergence of a list's categories from those of the user's history, nats; "
    "0 is the user's own mixture.",
    "Popularity lift": "How much more popular the listed items are than those that the same users take of their own.",
    "Exposure Gini": "0 where every item of the catalogue is shown as often, 1 where one item has every place.",
    "Items new to the user": "Only items outside the user's history are relevant; each system's list without the "
    "user's own items is judged.",
    "Items that nobody had taken": "Only items without any interaction before the training date are relevant.",
    "Probability": "That a candidate is taken within the horizon by a user who takes anything in it, by a map that was "
    "fitted before the test dates. Calibration compares the mean of ten bins of about equal size with the share that was "
    "taken; the expected calibration error is the mean distance over rows.",
    "Interval": "Percentile bootstrap over users: a user's queries stay together.",
}


def render_report(manifest: Manifest, evaluation: Evaluation, gate: Gate) -> str:
    """HTML with everything in it: no file or address beside it is needed."""
    parts = [
        _head(manifest, evaluation, gate),
        _cards(evaluation),
        "<h2>Every system on the same queries</h2>",
        '<div class="two">',
        _chart("ndcg", _bars(evaluation, "ndcg_at_10", "NDCG@10"), first=True),
        _chart("recall", _bars(evaluation, "recall_at_20", "Recall@20")),
        "</div>",
        _chart("curves", _curves(evaluation)),
        "<h2>Where it is better, and where not</h2>",
        _chart("slices", _slices(evaluation)),
        _slice_table(evaluation),
        "<h2>Difference to each system, over the same queries</h2>",
        _difference_table(evaluation),
        "<h2>All figures</h2>",
        _table(evaluation),
        _beyond_table(evaluation),
        _probability(evaluation),
        "<h2>What was measured</h2>",
        _definitions(manifest, evaluation),
    ]
    title = f"Evaluation of {manifest.bundle_id}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def headline(evaluation: Evaluation) -> str:
    """The result in one sentence."""
    ours, popular = (evaluation.systems[name]["ndcg_at_10"].mean for name in (TWO_STAGE, POPULARITY))
    against = [_gain(ours, popular, "popularity")]
    if evaluation.best_single:
        single = evaluation.systems[evaluation.best_single]["ndcg_at_10"].mean
        against.append(_gain(ours, single, f"the best single retriever ({_name(evaluation.best_single)})"))
    return f"NDCG@10 {ours:.4f}: {', '.join(against)}"


def _gain(ours: float, theirs: float, name: str) -> str:
    return f"{ours / theirs - 1:+.1%} on {name}" if theirs > 0 else f"{name} has none"


def _head(manifest: Manifest, evaluation: Evaluation, gate: Gate) -> str:
    badge = '<span class="badge">gate passed</span>' if gate.passed else '<span class="badge no">gate refused</span>'
    return (
        f"<h1>{escape(headline(evaluation))}</h1><p>{badge} {escape(gate.sentence)}.</p>"
        f'<p class="sub">Bundle {escape(manifest.bundle_id)}, trained on what was known before '
        f"{escape(manifest.facts.as_of[:10])}, asked at {escape(', '.join(evaluation.cuts))}: {evaluation.queries:,} "
        f"queries of {evaluation.users:,} users, the whole catalogue, {evaluation.confidence:.0%} intervals.</p>"
    )


def _cards(evaluation: Evaluation) -> str:
    ours = evaluation.systems[TWO_STAGE]
    values = [
        *(
            (f"{ours[key].mean:.4f}", f"{label} ({ours[key].low:.4f} to {ours[key].high:.4f})")
            for key, label in _main(ours)
        ),
        (f"{evaluation.pool['recall']:.1%}", f"of what was relevant is among {evaluation.pool['size']:.0f} candidates"),
        (f"{evaluation.pool['recall_new_to_user']:.1%}", "of what is new to the user is among them"),
    ]
    cards = "".join(f'<div class="card"><b>{value}</b><span>{escape(label)}</span></div>' for value, label in values)
    return f'<div class="cards">{cards}</div>'


def _main(metrics: Mapping[str, Interval]) -> list[tuple[str, str]]:
    wanted = [("ndcg_at_10", "NDCG@10"), ("recall_at_20", "Recall@20"), ("hit_rate_at_10", "Hit rate@10")]
    return [(key, label) for key, label in wanted if key in metrics]


def _bars(evaluation: Evaluation, metric: str, label: str) -> Any:  # a plotly figure
    import plotly.graph_objects as go

    order = sorted(evaluation.systems, key=lambda name: evaluation.systems[name][metric].mean)
    found = [evaluation.systems[name][metric] for name in order]
    figure = go.Figure(
        go.Bar(
            x=[one.mean for one in found],
            y=[_name(name) for name in order],
            orientation="h",
            marker_color=[OURS if name == TWO_STAGE else OTHERS for name in order],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.mean for one in found],
                "arrayminus": [one.mean - one.low for one in found],
                "color": "#334155",
            },
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
    )
    figure.update_layout(**LAYOUT, title=label, height=340, yaxis=APART)
    return figure


def _curves(evaluation: Evaluation) -> Any:  # a plotly figure
    import plotly.graph_objects as go

    figure = go.Figure()
    keys = sorted((int(key.rpartition("_")[2]), key) for key in evaluation.systems[TWO_STAGE] if key.startswith("ndcg"))
    for name, metrics in _ordered(evaluation):
        figure.add_scatter(
            x=[k for k, _ in keys],
            y=[metrics[key].mean for _, key in keys],
            name=_name(name),
            mode="lines+markers",
            line={"width": 3 if name == TWO_STAGE else 1.5, "color": COLOURS.get(name, OTHERS)},
        )
    axes = {"xaxis": {"tickvals": [k for k, _ in keys]}, "yaxis": {"rangemode": "tozero"}}
    # High enough for a phone, where each name has a line of its own and a legend gets half of the height.
    figure.update_layout(**LAYOUT, title="NDCG@k over k, the length of the list", height=560, legend=BELOW, **axes)
    return figure


def _slices(evaluation: Evaluation) -> Any:  # a plotly figure
    import plotly.graph_objects as go

    figure = go.Figure()
    shown = [
        name for name in (TWO_STAGE, evaluation.best_single, FUSION, POPULARITY, CHAMPION) if name in evaluation.systems
    ]
    parts = [name for name, part in evaluation.slices.items() if part["queries"]][::-1]  # the first at the top
    for system in shown[::-1]:
        found = [evaluation.slices[part]["systems"][system]["ndcg_at_10"] for part in parts]
        figure.add_bar(
            y=[_slice_label(part, evaluation.slices[part]["queries"]) for part in parts],
            x=[one.mean for one in found],
            orientation="h",
            name=_name(system),
            marker_color=COLOURS.get(system, OTHERS),
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.mean for one in found],
                "arrayminus": [one.mean - one.low for one in found],
                "thickness": 1,
            },
        )
    axes = {"xaxis": {"rangemode": "tozero"}, "yaxis": APART}
    height = 140 + 90 * len(parts)
    legend = {**BELOW, "y": -40 / height, "traceorder": "reversed"}
    figure.update_layout(**LAYOUT, title="NDCG@10 by slice", barmode="group", height=height, legend=legend, **axes)
    return figure


def _slice_label(part: str, queries: int) -> str:
    name, _, condition = part.partition(" (")
    return f"{name}<br>{f'({condition}<br>' if condition else ''}{queries:,} queries"


def _chart(name: str, figure: Any, *, first: bool = False) -> str:
    """The first chart of a page brings plotly.js along. The fixed id keeps the page the same for the same figures."""
    html = figure.to_html(
        full_html=False, include_plotlyjs="inline" if first else False, config=CHART, div_id=f"chart-{name}"
    )
    return f'<div class="chart">{html}</div>'


def _table(evaluation: Evaluation) -> str:
    columns = list(evaluation.systems[TWO_STAGE])
    rows = [(name, [metrics[key] for key in columns]) for name, metrics in _ordered(evaluation)]
    return _interval_table([metric_label(key) for key in columns], rows)


def _difference_table(evaluation: Evaluation) -> str:
    columns = [key for key, _ in _main(evaluation.systems[TWO_STAGE])]
    rows = [
        (name, [evaluation.differences[name][key] for key in columns])
        for name, _ in _ordered(evaluation)
        if name != TWO_STAGE
    ]
    return _interval_table([f"{metric_label(key)}, this bundle minus it" for key in columns], rows, signed=True)


def _slice_table(evaluation: Evaluation) -> str:
    systems = [name for name, _ in _ordered(evaluation)]
    head = "".join(f"<th>{escape(_name(name))}</th>" for name in systems)
    body = ""
    for part, content in evaluation.slices.items():
        cells = "".join(_cell(content["systems"][name]["ndcg_at_10"]) for name in systems)
        body += f"<tr><td>{escape(part)}<small>{content['queries']:,} queries</small></td>{cells}</tr>"
    return f'<div class="scroll"><table><tr><th>NDCG@10</th>{head}</tr>{body}</table></div>'


def _interval_table(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Interval]]], *, signed: bool = False
) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr class="{"ours" if name == TWO_STAGE else ""}"><td>{escape(_name(name))}</td>'
        f"{''.join(_cell(one, signed=signed) for one in found)}</tr>"
        for name, found in rows
    )
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'


def _cell(one: Interval, *, signed: bool = False) -> str:
    if one.mean != one.mean:
        return "<td>-</td>"
    form = "+.4f" if signed else ".4f"
    return f"<td>{one.mean:{form}}<small>{one.low:{form}} to {one.high:{form}}</small></td>"


def _beyond_table(evaluation: Evaluation) -> str:
    rows = "".join(
        f"<tr><td>{escape(_name(name))}</td>{''.join(f'<td>{_plain(values[key], form)}</td>' for key, form in BEYOND.items())}"
        "</tr>"
        for name, values in ((name, evaluation.beyond[name]) for name, _ in _ordered(evaluation))
    )
    head = f"<tr><th>First 10 items</th>{''.join(f'<th>{_heading(key)}</th>' for key in BEYOND)}</tr>"
    return f'<div class="scroll" style="margin-top:12px"><table>{head}{rows}</table></div>'


def _plain(value: float, form: str) -> str:
    """A dash where it is not known: items without categories differ in none."""
    said = "-" if value != value else f"{value:{form}}"
    return "0%" if said in {"-0%", "+0%"} else said


def _heading(key: str) -> str:
    """`novelty_bits` is Novelty (bits)."""
    name, _, unit = key.rpartition("_")
    return f"{name.capitalize()} ({unit})" if unit in {"bits", "nats"} else key.replace("_", " ").capitalize()


def _probability(evaluation: Evaluation) -> str:
    if evaluation.probability is None:
        return "<p>This bundle gives no probabilities, so no calibration is reported.</p>"
    import plotly.graph_objects as go

    facts = evaluation.probability
    curves = {"all candidates": facts["calibration"], "first 10 of each list": facts["first_10"]}
    figure = go.Figure()
    for name, one in curves.items():
        figure.add_scatter(x=one["predicted"], y=one["observed"], mode="lines+markers", name=name)
    top = max([0.01, *(value for one in curves.values() for key in ("predicted", "observed") for value in one[key])])
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", line={"dash": "dot", "color": OTHERS}, name="perfect")
    axes = {"xaxis": {"title": "mean predicted"}, "yaxis": {"title": "share relevant"}}
    figure.update_layout(**LAYOUT, title="Calibration of the probabilities", height=360, **axes)
    sentence = (
        f"<p>Mean squared error {facts['mse']:.5f}, log loss {facts['log_loss']:.5f}, expected calibration error "
        f"{facts['calibration']['error']:.5f} of all candidates and {facts['first_10']['error']:.5f} of the first 10, "
        f"base rate {facts['base_rate']:.4f}.</p>"
    )
    return f"{_chart('calibration', figure)}{sentence}"


def _definitions(manifest: Manifest, evaluation: Evaluation) -> str:
    facts = {
        "Training data": f"{manifest.facts.interactions:,} interactions from {manifest.facts.data_start[:10]} to "
        f"{manifest.facts.data_end[:10]}; nothing later was read by features, retrievers or ranker",
        "Queries": f"one per user and date with a relevant item in the days after it: {', '.join(evaluation.cuts)}",
        "Champion": evaluation.champion,
        **DEFINITIONS,
    }
    return f"<dl>{''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts.items())}</dl>"


def _ordered(evaluation: Evaluation) -> list[tuple[str, Mapping[str, Interval]]]:
    """This bundle first, then the others, best first."""
    return sorted(
        evaluation.systems.items(), key=lambda entry: (entry[0] != TWO_STAGE, -entry[1]["ndcg_at_10"].mean, entry[0])
    )


def _name(system: str) -> str:
    return NAMES.get(system, system)
