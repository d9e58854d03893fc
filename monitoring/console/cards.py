"""The seven cards of a model: each answers one question of whoever is on call, the worst first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from components.deploy_canary.rollout import Rollout
from monitoring.console.state import ModelState
from monitoring.experiments.charts import Line, line_chart
from monitoring.kpi_page import chart
from monitoring.kpis import goals_of, newest_of
from monitoring.moved_values import moved_values
from monitoring.outcome import Outcome
from monitoring.retraining_report import Fact
from monitoring.verdict import SEVERITY, Check, FeatureFinding, Group, State, Verdict, days, percent, worst
from serving.console_style import prose

DATA = (Group.WINDOW, Group.FRESHNESS, Group.NULLS, Group.RANGE, Group.SKEW)
QUIET = (State.OK, State.NOT_APPLICABLE)
MOST_FEATURES, MOST_SEGMENTS, OPEN_ENTRIES, MOST_ENTRIES = 8, 5, 8, 30
QUALITY_LINES = ("quality:ndcg", "quality:hit_share")
ARROWS = {"up": "↑ higher", "down": "↓ lower", "": "→ same median"}
SYSTEMS = {"two_stage": "this bundle", "popularity": "what is popular"}


def cards(state: ModelState, links: Mapping[str, str], acts: str | None = None) -> str:
    """All seven, as HTML.

    Args:
        state: Of the model.
        links: Name of a page that lies deeper to its address.
        acts: Where a form that acts on a rollout leads; None shows none.
    """
    return "".join(
        (
            _card("Data and freshness", _data(state.verdict), _link(links, "report of the window")),
            _card("Quality", _quality(state), _link(links, "evaluation of the champion")),
            _card("Business", _business(state), _link(links, "business figures")),
            _card("Drift", _drift(state), _link(links, "report of the window", "Evidently's page")),
            _card("Experiments", _experiments(state), _link(links, *_experiment_pages(state))),
            _card("Canary", _canary(state, acts), _link(links, "evaluation of the challenger")),
            _card("Retraining", _retraining(state), ""),
        )
    )


def badge(state: State) -> str:
    """A state in its colour, and in words."""
    return f'<span class="state {state}">{escape(state)}</span>'


def _card(title: str, body: str, links: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section class="card" aria-labelledby="{name}"><h3 id="{name}">{title}</h3>{body}{links}</section>'


def _link(links: Mapping[str, str], *names: str) -> str:
    found = [f'<a href="{escape(links[name])}">{escape(name)}</a>' for name in names if name in links]
    return f'<p class="links">{" · ".join(found)}</p>' if found else ""


def _business(state: ModelState) -> str:
    """What the lists earn: goals with their checks, the newest period of each figure, and lines of what has a goal."""
    if not state.kpis:
        return "<p>No period of business figures is over yet; <code>recsys monitor run</code> adds them.</p>"
    goals = goals_of(state.verdict) if state.verdict is not None else {}
    periods: dict[str, list[str]] = {}
    for name, one in newest_of(state.kpis).items():
        periods.setdefault(days(one.start, one.end), []).append(f"<li><b>{escape(name)}</b> {escape(one.figure)}</li>")
    drawn = [chart(name, state.kpis, goal, width=460) for name, goal in goals.items()]
    parts = [_checks(state.verdict, (Group.BUSINESS,)) if state.verdict is not None and goals else ""]
    parts += [
        f'<p class="sub">{period}</p><ul>{"".join(rows)}</ul>' for period, rows in sorted(periods.items(), reverse=True)
    ]
    return "".join([*parts, *(f'<div class="chart">{one}</div>' for one in drawn if one)])


def _data(verdict: Verdict | None) -> str:
    if verdict is None:
        return "<p>No window was judged yet.</p>"
    seen = f"{verdict.rows:,} impressions of {verdict.users:,} users, {days(verdict.start, verdict.end)}"
    return f"<p>{escape(seen)}.</p>{_checks(verdict, DATA)}"


def _checks(verdict: Verdict, groups: Sequence[Group]) -> str:
    """What is not well stands open, the worst first; the rest is one line that opens."""
    checks = [check for check in verdict.checks if check.group in groups]
    loud = sorted((one for one in checks if one.state not in QUIET), key=_severity, reverse=True)
    quiet = [one for one in checks if one.state in QUIET]
    parts = [f"<ul>{''.join(map(_check, loud))}</ul>"] if loud else []
    if quiet:
        summary = f"{badge(worst(one.state for one in quiet))} checks that are quiet: {len(quiet)}"
        parts.append(f"<details><summary>{summary}</summary><ul>{''.join(map(_check, quiet))}</ul></details>")
    return "".join(parts) or "<p>Nothing was checked.</p>"


def _severity(check: Check) -> int:
    return SEVERITY.index(check.state)


def _check(check: Check) -> str:
    return f"<li>{badge(check.state)} <b>{escape(check.name)}</b> {prose(check.reason)}</li>"


def _quality(state: ModelState) -> str:
    """Served: with intervals and how much of the outcomes is known, in the checks' own words. Before: the evaluation's."""
    parts = [_offline(state)]
    if state.verdict is not None:
        parts += [_checks(state.verdict, (Group.QUALITY,)), _segments(state.verdict), _losses(state.history)]
    return "".join(parts)


def _offline(state: ModelState) -> str:
    systems = state.evaluation.get("evaluation", {}).get("systems", {})
    told = [
        f"{name} {figures['mean']:.3f} ({figures['low']:.3f} to {figures['high']:.3f})"
        for system, name in SYSTEMS.items()
        if (figures := systems.get(system, {}).get("ndcg_at_10"))
    ]
    return f"<p>NDCG@10 before serving: {escape(', '.join(told))}.</p>" if told else ""


def _segments(verdict: Verdict) -> str:
    off = [one for one in verdict.segments if one.is_off][:MOST_SEGMENTS]
    rows = [
        f"<li><b>{escape(one.name)}</b> {one.observed:.0f} taken, {one.expected:.1f} expected of {one.users:,} users</li>"
        for one in off
    ]
    return f"<p>Segments that are off:</p><ul>{''.join(rows)}</ul>" if rows else ""


def _losses(history: Sequence[Verdict]) -> str:
    """The loss against training, window by window, from two known ones on."""
    lines = {name: line for name in QUALITY_LINES if (line := _loss(history, name)) is not None}
    if not lines:
        return ""
    chart = line_chart(
        lines, x_label="days before the newest window's end", y_label="loss against training", reference=0.0,
        y_format=".0%", width=460, height=220,
    )  # fmt: skip
    return f'<div class="chart">{chart}</div>'


def _loss(history: Sequence[Verdict], name: str) -> Line | None:
    known = [
        ((verdict.end - history[-1].end).total_seconds() / 86_400, check.observed)
        for verdict in history
        for check in verdict.checks
        if check.name == name and check.observed is not None
    ]
    return Line(*zip(*known, strict=True)) if len(known) > 1 else None


def _drift(state: ModelState) -> str:
    verdict = state.verdict
    if verdict is None:
        return "<p>No window was judged yet.</p>"
    moved = verdict.moved
    parts = [_checks(verdict, (Group.DRIFT, Group.PREDICTION))]
    if moved:
        rows = "".join(map(_feature, moved[:MOST_FEATURES]))
        parts.append(f'<ul class="bars">{rows}</ul>{_more(len(moved) - MOST_FEATURES, "features moved")}')
    return "".join(parts)


def _feature(finding: FeatureFinding) -> str:
    return (
        f'<li><span class="bar" style="width:{100 * finding.importance:.1f}%"></span><b>{escape(finding.name)}</b> '
        f"{ARROWS[finding.direction]}, {percent(finding.importance)} of the importance, {escape(_evidence(finding))}"
        f"{_values(finding)}</li>"
    )


def _values(finding: FeatureFinding) -> str:
    values = moved_values(finding)
    return f"<br><small>users' lists, at training → now: {prose(values)}</small>" if values else ""


def _evidence(finding: FeatureFinding) -> str:
    score, limit = finding.score or 0.0, finding.threshold or 0.0
    return f"index {score:.2f} over {limit:.2f}" if score > limit else finding.reason.partition(": ")[2]


def _more(count: int, what: str) -> str:
    return f"<p>and {count} more {what}</p>" if count > 0 else ""


def _experiments(state: ModelState) -> str:
    if not state.rollouts:
        return "<p>No experiment was started. <code>recsys rollout start</code> begins one.</p>"
    return f"<ul>{''.join(map(_experiment, state.rollouts))}</ul>"


def _experiment(rollout: Rollout) -> str:
    """The figures of the last look."""
    figures = next((one.cause.figures for one in reversed(rollout.records) if "users_canary" in one.cause.figures), {})
    told = ["not looked at yet"]
    if figures:
        told = [f"{figures['users_stable']:,} users at the champion", f"{figures['users_canary']:,} at the canary"]
        if figures.get("difference") is not None:
            z = f" (z {figures['z']:+.1f})" if figures.get("z") is not None else ""
            told[0] += f", primary metric {figures['baseline']:.4g}"
            told[1] += f", {figures['difference']:+.4g}{z}"
    return f"<li><b>{escape(rollout.name)}</b> {escape(str(rollout))}: {escape('; '.join(told))}</li>"


def _experiment_pages(state: ModelState) -> Iterator[str]:
    return (f"experiment {one.name}" for one in state.rollouts)


def _canary(state: ModelState, acts: str | None) -> str:
    running = next((one for one in state.rollouts if not one.is_over), None)
    parts = [f"<p>Champion <code>{escape(state.champion or 'none')}</code>{_since(state)}.</p>"]
    if "challenger" in state.aliases:
        parts.append(f"<p>Challenger <code>{escape(state.aliases['challenger'])}</code> waits for a rollout.</p>")
    if running is None:
        parts.append("<p>No candidate is on its way.</p>")
    else:
        parts += [_on_its_way(running), _form(running, acts) if acts else ""]
    return "".join(parts)


def _since(state: ModelState) -> str:
    move = next((one for one in reversed(state.moves) if one.bundle_id == state.champion), None)
    return f" since {move.at[:10]}: {escape(move.reason)}" if move else ""


def _on_its_way(rollout: Rollout) -> str:
    last = rollout.records[-1]
    steps = " → ".join(f"{share:.0%}" for share in rollout.steps)
    return (
        f"<p><b>{escape(rollout.name)}</b>: <code>{escape(rollout.candidate)}</code> is at {escape(str(rollout))} of the users "
        f"(steps {steps}), since {rollout.since:%Y-%m-%d %H:%M} UTC.</p>"
        f'<progress max="1" value="{rollout.share}" aria-label="share of users at the canary">{rollout.share:.0%}</progress>'
        f"<p>Last act: {escape(last.act)} by {escape(last.cause.by)}: {prose(last.cause.reason)}</p>"
    )


def _form(rollout: Rollout, acts: str) -> str:
    """No act gives the candidate users at once: what can be done in a hurry is to stop it. A promotion is a command."""
    pause = ("resume", "Let it go on") if rollout.is_paused else ("pause", "Pause")
    buttons = "".join(
        f'<button name="act" value="{act}">{said}</button>' for act, said in (pause, ("abort", "Take it back"))
    )
    return (
        f'<form method="post" action="{escape(acts)}"><input type="hidden" name="name" value="{escape(rollout.name)}">'
        f'<input name="reason" required maxlength="200" autocomplete="off" aria-label="reason" placeholder="why">{buttons}</form>'
    )


def _retraining(state: ModelState) -> str:
    """Every decision, the skipped ones too, between what runs gave and what became champion; the newest first."""
    entries = sorted(_entries(state), key=lambda entry: entry[:3], reverse=True)
    if not entries:
        return "<p>Nothing was decided yet.</p>"
    rows = [
        f'<li><time>{escape(at[:16].replace("T", " "))}</time> <b class="act {kind}">{escape(kind)}</b> {prose(said)}'
        f"{_facts(facts)}</li>"
        for at, kind, said, facts in entries[:MOST_ENTRIES]
    ]
    newest, earlier = "".join(rows[:OPEN_ENTRIES]), "".join(rows[OPEN_ENTRIES:])
    folded = (
        f"<details><summary>{len(rows[OPEN_ENTRIES:])} earlier</summary><ol>{earlier}</ol></details>" if earlier else ""
    )
    more = _more(len(entries) - MOST_ENTRIES, "entries")
    return f'<p class="sub">The newest first, UTC</p><div class="timeline"><ol>{newest}</ol>{folded}{more}</div>'


def _facts(facts: Sequence[Fact]) -> str:
    """What is known of a run afterwards opens below it."""
    rows = "".join(f"<li><b>{escape(one.name)}</b> {prose(one.said)}</li>" for one in facts)
    return f"<details><summary>before and after</summary><ul>{rows}</ul></details>" if rows else ""


def _entries(state: ModelState) -> Iterable[tuple[str, str, str, Sequence[Fact]]]:
    yield from ((one.at, str(one.action), one.reason, ()) for one in state.decisions)
    for one in state.outcomes:
        yield one.launch.started_at, str(one.help), _told(one), state.reports.get(one.launch.run_key, ())
    yield from ((one.at, one.alias, f"{one.bundle_id or 'nobody'}: {one.reason}", ()) for one in state.moves)
    for rollout in state.rollouts:
        acts = (record for record in rollout.records if record.act != "hold")
        yield from (
            (one.cause.at.isoformat(), one.act, f"rollout {rollout.name}: {one.cause.reason}", ()) for one in acts
        )


def _told(one: Outcome) -> str:
    return f"{one.launch.run_key}: {one.sentence}"
