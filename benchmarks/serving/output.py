"""The figures as results.json, as Markdown and as a page with a plot."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from benchmarks.serving.measure import Steady
from benchmarks.serving.run import Results

HEAD = """# Cost of serving

Written by `make bench-serving`; `benchmarks/README.md` says what is measured and how. Times are milliseconds; CPU is user
and system of the server's process per recommendation, everything included: HTTP, JSON, metrics, the log of impressions.
"""


def write_results(results: Results, out: Path) -> None:
    """`results.json`, `SERVING.md` and `results.html` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    content = {"machine": machine, **asdict(results)}
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "SERVING.md").write_text(markdown(results), encoding="utf-8")
    (out / "results.html").write_text(_page(results), encoding="utf-8")


def markdown(results: Results) -> str:
    """All tables."""
    busy = f"Load average of the machine when it began: {results.load:.1f} on {os.cpu_count()} cores. Beyond the number of "
    busy += "cores, wall times and latencies say nothing, and CPU times are too high: ratios count.\n"
    return "\n".join([HEAD, busy, *_sizes(results), "", *_stages(results), "", *_beside(results), ""])


def _sizes(results: Results) -> list[str]:
    lines = [
        "| items | candidates | CPU, 1 connection | 8 | 32 | answers/s, 1 connection | 8 | 32 | p99, 1 connection |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for scale in results.scales:
        of = [scale.connections[number] for number in sorted(scale.connections)]
        cpu = " | ".join(f"{one.cpu_ms:.2f}" for one in of)
        rate = " | ".join(f"{one.per_second:.0f}" for one in of)
        lines.append(f"| {scale.items:,} | {scale.candidates:.0f} | {cpu} | {rate} | {of[0].p99_ms:.1f} |")
    return lines


def _stages(results: Results) -> list[str]:
    stages = list(results.scales[0].stages_ms)
    lines = [
        "Stages, wall milliseconds by the server's own metrics:",
        "",
        f"| items | candidates | {' | '.join(stages)} |",
        f"|---:|---:|{'---:|' * len(stages)}",
    ]
    for scale in results.scales:
        values = " | ".join(f"{scale.stages_ms[stage]:.3f}" for stage in stages)
        lines.append(f"| {scale.items:,} | {scale.candidates:.0f} | {values} |")
    return lines


def _beside(results: Results) -> list[str]:
    ours, pair, steady, floors = results.beside, results.pair, results.steady, results.floors
    return [
        f"The same bundle of {results.goal_items:,} items, 8 connections, one core for each side:",
        "",
        "| | CPU | answers/s | p50 | p99 |",
        "|---|---:|---:|---:|---:|",
        f"| this server | {ours.cpu_ms:.2f} | {ours.per_second:.0f} | {ours.p50_ms:.1f} | {ours.p99_ms:.1f} |",
        f"| KServe's V1 JSON transformer and predictor | {pair.cpu_ms:.2f} | {pair.per_second:.0f} | {pair.p50_ms:.1f} "
        f"| {pair.p99_ms:.1f} |",
        f"| ratio | {pair.cpu_ms / ours.cpu_ms:.1f} | {ours.per_second / pair.per_second:.1f} | | |",
        "",
        f"At {steady.share_of_capacity:.0%} of one core's capacity ({steady.per_second:.0f} requests a second, arriving at "
        f"random): p50 {steady.p50_ms:.1f}, p99 {steady.p99_ms:.1f} ms, {steady.failures} failures. A server that takes the "
        f"same time for each request would have a p99 of {steady.queue_p99_ms:.1f} ms there: the queue's own. {_stalls(steady)}",
        "",
        "Measured in the same minutes, to tell the machine from the product:",
        "",
        "| | CPU |",
        "|---|---:|",
        *(f"| {name} | {value:.3f} |" for name, value in floors.items()),
    ]


def _stalls(steady: Steady) -> str:
    if steady.stalls is None:
        return "Whether the machine itself stood still meanwhile cannot be seen by this user."
    if steady.stalls == 0:
        return "No core of the machine stood still meanwhile."
    calm = steady.p99_between_stalls_ms
    rest = "no second was without one" if calm is None else f"p99 in the seconds without one {calm:.1f} ms"
    return f"Cores of the machine stood still {steady.stalls} times meanwhile, for 20 ms or more; {rest}."


def _page(results: Results) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    for scale in results.scales:
        label = f"{scale.items:,} items<br>{scale.candidates:.0f} candidates"
        for stage, value in scale.stages_ms.items():
            figure.add_bar(x=[label], y=[value], name=stage, legendgroup=stage, showlegend=scale is results.scales[0])
    figure.update_layout(barmode="stack", title="A recommendation by stage, ms", template="plotly_white")
    return str(figure.to_html(include_plotlyjs=True))
