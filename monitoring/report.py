"""The verdict as one self-contained page: the sentence first, then checks, then the features that moved."""

from html import escape

from monitoring.moved_values import moved_values, own_past
from monitoring.stability_index import bin_name
from monitoring.verdict import Check, FeatureFinding, State, Verdict, days, percent

COLOURS = {
    State.OK: "#15803d",
    State.LEARNING: "#0369a1",
    State.WARN: "#b45309",
    State.INSUFFICIENT: "#6b7280",
    State.FAIL: "#b91c1c",
    State.STALE: "#7e22ce",
    State.ERROR: "#7f1d1d",
    State.NOT_APPLICABLE: "#94a3b8",
}
MOST_PICTURES = 12
WIDTH, HEIGHT = 300, 110

STYLE = """
body{margin:0;background:#f8fafc;color:#0f172a;font:15px/1.55 system-ui,sans-serif}main{max-width:1080px;margin:0 auto;
padding:28px 18px 60px}h1{font-size:24px;line-height:1.3;margin:8px 0}h2{font-size:19px;margin:36px 0 8px}
.state{color:#fff;border-radius:99px;padding:2px 12px;font-weight:600;font-size:13px;white-space:nowrap}
p.sub{color:#475569;margin:0}.scroll{overflow-x:auto;background:#fff;border:1px solid #e2e8f0;border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:13.5px}th,td{padding:7px 10px;border-bottom:1px solid #eef2f7;
text-align:left;vertical-align:top}td.n{text-align:right;white-space:nowrap}.grid{display:grid;gap:12px;
grid-template-columns:repeat(auto-fill,minmax(310px,1fr))}.card{background:#fff;border:1px solid #e2e8f0;
border-radius:10px;padding:12px 14px}.card h3{margin:0;font-size:14px;overflow-wrap:anywhere}
.card p{margin:4px 0;color:#475569;font-size:13px}
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 4px 0 12px}
"""


def render_report(verdict: Verdict, *, evidently: str | None = None) -> str:
    """HTML with inline pictures: no file or address beside it is needed.

    Args:
        verdict: What it shows.
        evidently: Evidently's page beside it, None without one.
    """
    parts = [
        f"<p>{_badge(verdict.state)}</p><h1>{escape(verdict.sentence)}</h1>",
        f'<p class="sub">{escape(_subtitle(verdict))}</p>',
        *(f'<p class="sub">{escape(note)}.</p>' for note in verdict.notes),
        f'<p class="sub"><a href="{escape(evidently)}">Evidently\'s page</a></p>' if evidently else "",
        "<h2>Checks</h2>",
        _checks(verdict),
        _moved(verdict),
        "<h2>All features, by importance</h2>" + _features(verdict) if verdict.features else "",
        "<h2>How to read it</h2>",
        EXPLANATION,
    ]
    title = f"Monitoring {verdict.model}: {verdict.state}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


EXPLANATION = """<p>The index is the population stability index between training and this window, over quantile bins of the
training values and one bin for missing ones; each user counts once. A feature has moved when the index is over what
sampling alone can do (or over its own quiet windows, once there are enough). The training values were ranked at one
moment, so what counts days or demand differs from them in every window of visits: a new bundle is worth a look until its
own first windows have taught what is usual. Moved features fail the window when
together they carry enough of the ranker's importance. Missing data is never green: no data is STALE, too few users is
INSUFFICIENT, outcomes that are not known yet are LEARNING. Broken data (freshness, missing or impossible values) blocks
retraining, because a new model would learn the fault.</p>"""


def _subtitle(verdict: Verdict) -> str:
    return (
        f"{verdict.model}, bundle {verdict.bundle_id}: {verdict.rows:,} impressions of {verdict.users:,} users, "
        f"{days(verdict.start, verdict.end)}, against reference {verdict.reference_id}; "
        f"judged {verdict.judged_at:%Y-%m-%d %H:%M} UTC"
    )


def _badge(state: State) -> str:
    return f'<span class="state" style="background:{COLOURS[state]}">{escape(state)}</span>'


def _checks(verdict: Verdict) -> str:
    head = "<tr><th>Check</th><th>State</th><th>What was seen</th><th>Observed</th><th>Threshold</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(map(_check, verdict.checks))}</table></div>'


def _check(check: Check) -> str:
    unit = "" if check.unit == "1" else f" {check.unit}"
    observed, threshold = (_number(value, unit) for value in (check.observed, check.threshold))
    return (
        f"<tr><td>{escape(check.name)}</td><td>{_badge(check.state)}</td><td>{escape(check.reason)}</td>"
        f'<td class="n">{observed}</td><td class="n">{threshold}</td></tr>'
    )


def _moved(verdict: Verdict) -> str:
    if not verdict.moved:
        return ""
    cards = "".join(_card(finding) for finding in verdict.moved[:MOST_PICTURES])
    more = (
        f"<p>and {len(verdict.moved) - MOST_PICTURES} more, in the table below</p>"
        if verdict.moved[MOST_PICTURES:]
        else ""
    )
    key = '<span class="key" style="background:#94a3b8"></span>training<span class="key" style="background:#2563eb"></span>now'
    return f'<h2>What moved <small style="font-weight:400;font-size:13px">{key}</small></h2><div class="grid">{cards}</div>{more}'


def _card(finding: FeatureFinding) -> str:
    medians = f"median {_number(finding.reference_median)} → {_number(finding.current_median)}"
    shares = (finding.reference_null_share, finding.current_null_share)
    nulls = "missing for users who are known: " + " → ".join(map(percent, shares))
    return (
        f'<div class="card"><h3>{escape(finding.name)}</h3><p>{percent(finding.importance)} of importance; '
        f"{escape(finding.reason)}; {medians}</p>"
        f"{_histogram(finding)}{_values(finding)}"
        f"<p>{nulls}</p></div>"
    )


def _values(finding: FeatureFinding) -> str:
    told = (
        ("values, share of users' lists, training → now: ", moved_values(finding)),
        ("beside its own windows without drift, ", own_past(finding)),
    )
    return "".join(f"<p>{escape(label + values)}</p>" for label, values in told if values)


def _histogram(finding: FeatureFinding) -> str:
    """Pairs of bars per bin, the last bin holds missing values."""
    pairs = list(zip(finding.reference_shares, finding.current_shares, strict=True))
    top = max((max(pair) for pair in pairs), default=0.0) or 1.0
    step = WIDTH / max(len(pairs), 1)
    bars = []
    for place, pair in enumerate(pairs):
        for side, (share, colour) in enumerate(zip(pair, ("#94a3b8", "#2563eb"), strict=True)):
            height = HEIGHT * share / top
            x = place * step + side * step * 0.42 + step * 0.08
            title = f"{bin_name(finding.edges, place)}: {percent(share)}"
            bars.append(
                f'<rect x="{x:.1f}" y="{HEIGHT - height:.1f}" width="{step * 0.4:.1f}" height="{height:.1f}" '
                f'fill="{colour}"><title>{escape(title)}</title></rect>'
            )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img">{"".join(bars)}</svg>'


def _features(verdict: Verdict) -> str:
    head = (
        "<tr><th>Feature</th><th>State</th><th>Importance</th><th>Index</th><th>Threshold</th><th>Median, training</th>"
        "<th>now</th><th>Missing, training</th><th>now</th></tr>"
    )
    rows = "".join(
        f"<tr><td>{escape(finding.name)}</td><td>{_badge(finding.state)}</td>"
        + "".join(
            f'<td class="n">{value}</td>'
            for value in (
                percent(finding.importance),
                _number(finding.score),
                _number(finding.threshold),
                _number(finding.reference_median),
                _number(finding.current_median),
                percent(finding.reference_null_share),
                percent(finding.current_null_share),
            )
        )
        + "</tr>"
        for finding in verdict.features
    )
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.4g}{unit}"
