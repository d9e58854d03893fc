"""The readiness of a data set on one screen of a terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from components.datasets.findings import Finding, Level
from components.datasets.measures import Measures, Spread
from components.datasets.readiness import Readiness

MARKS: dict[Level, tuple[str, str]] = {
    "fail": ("✗", "bold red"),
    "warn": ("!", "bold yellow"),
    "note": ("·", "cyan"),
    "ok": ("✓", "green"),
}
BARS = " ▁▂▃▄▅▆▇█"
LABEL_WIDTH = 14


def render_readiness(readiness: Readiness) -> RenderableType:
    """The verdict, the numbers, then what they cost, worst first."""
    return Panel(
        Group(*_facts(readiness), Text(), _findings(readiness), *_fine(readiness)),
        title=_verdict(readiness),
        title_align="left",
        border_style=MARKS[readiness.level][1].removeprefix("bold "),
        box=box.ROUNDED,
        padding=(1, 2),
    )


def sparkline(counts: Sequence[int]) -> str:
    """One block per number, from nothing to the largest; a number above 0 is never blank."""
    most = max(counts, default=0)
    if most == 0:
        return BARS[0] * len(counts)
    steps = len(BARS) - 1
    return "".join(BARS[-(-count * steps // most)] for count in counts)


def _verdict(readiness: Readiness) -> Text:
    counts = {level: sum(finding.level == level for finding in readiness.findings) for level in MARKS}
    words: dict[Level, str] = {
        "fail": f"not ready: {_many(counts['fail'], 'obstacle')}",
        "warn": f"usable, with {_many(counts['warn'], 'warning')}",
        "note": f"ready, {_many(counts['note'], 'thing')} to know",
        "ok": "ready",
    }
    mark, style = MARKS[readiness.level]
    return Text(f" {mark} Data readiness: {words[readiness.level]} ", style=style)


def _facts(readiness: Readiness) -> Iterator[RenderableType]:
    measures = readiness.measures
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", width=LABEL_WIDTH)
    grid.add_column()
    for label, text in _lines(readiness, measures):
        grid.add_row(label, text)
    yield grid


def _lines(readiness: Readiness, measures: Measures) -> Iterator[tuple[str, Text]]:
    rows = measures.rows
    yield (
        "rows",
        _bright(
            f"*{rows['interactions']:,}* interactions   *{rows['items']:,}* items   *{rows['users']:,}* users   "
            f"*{rows['promotions']:,}* promotions"
        ),
    )
    if measures.first is not None and measures.last is not None:
        span = f"*{measures.first:%Y-%m-%d}* to *{measures.last:%Y-%m-%d}*, *{measures.span_days:,.0f}* days"
        yield "time", _bright(f"{span}, asked in horizons of {readiness.horizon_days} days")
        yield "activity", Text(sparkline(measures.activity), style="cyan")
    yield (
        "density",
        _bright(
            f"*{measures.users:,}* users, *{measures.items:,}* items seen, {measures.density:.3%} of the pairs; "
            f"the top 1 % of the items take {measures.head_share:.0%}"
        ),
    )
    yield "per user", _spread(measures.user_interactions)
    yield "per item", _spread(measures.item_interactions)
    for place, count in enumerate(measures.types):
        label = "   [label]" if count.is_label else ""
        text = f"*{count.name}*  {count.rows:,} by {count.users:,} users with {count.items:,} items{label}"
        yield "types" if place == 0 else "", _bright(text)
    yield "missing", _missing(measures)


def _spread(spread: Spread) -> Text:
    return _bright(
        f"median *{spread.median:,.0f}* interactions, middle 80 % from {spread.p10:,.0f} to {spread.p90:,.0f}, "
        f"most {spread.most:,}"
    )


def _missing(measures: Measures) -> Text:
    columns = [
        f"{table}.{column} *{'under 1%' if share < 0.01 else f'{share:.0%}'}*"
        for table, shares in measures.missing.items()
        for column, share in shares.items()
        if 0 < share < 1
    ]
    return _bright("   ".join(columns) if columns else "no value in any column that is mapped")


def _findings(readiness: Readiness) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True, show_edge=False, header_style="dim")
    table.add_column("", width=1)
    table.add_column("about", no_wrap=True)
    table.add_column("what is there", ratio=5, overflow="fold")
    table.add_column("what it costs, and what to do", ratio=6, overflow="fold")
    for finding in readiness.findings:
        if finding.level != "ok":
            mark, style = MARKS[finding.level]
            table.add_row(Text(mark, style), Text(finding.subject, style), Text(finding.what), _consequence(finding))
    return table if table.row_count else Text("Nothing to report.", style="green")


def _consequence(finding: Finding) -> Text:
    remedy = f"{finding.remedy[:1].upper()}{finding.remedy[1:]}." if finding.remedy else ""
    cost = f"{finding.cost[:1].upper()}{finding.cost[1:]}." if finding.cost else ""
    return Text.assemble(cost, " " if cost and remedy else "", (remedy, "italic"))


def _fine(readiness: Readiness) -> Iterator[RenderableType]:
    fine = [finding.subject for finding in readiness.findings if finding.level == "ok"]
    if fine:
        mark, style = MARKS["ok"]
        yield Text()
        yield Text.assemble((f"{mark} fine: ", style), (", ".join(fine), "dim"))


def _bright(text: str) -> Text:
    """Text in which what stands between asterisks is bold."""
    parts = text.split("*")
    return Text.assemble(*((part, "bold" if place % 2 else "") for place, part in enumerate(parts)))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
