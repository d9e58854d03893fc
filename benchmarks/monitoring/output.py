"""The results as JSON, as a picture and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.monitoring.run import DETECTORS, GOAL_DAYS

NAMES = {
    "ours": "this monitor",
    "evidently_any_column": "Evidently, any column",
    "evidently_share_of_columns": "Evidently, half of the columns",
    "ks_chi_square": "KS / chi-square",
    "ks_chi_square_holm": "the same, Holm",
}
WIDTH, ROW, LEFT, TOP = 860, 26, 250, 44
OURS, OTHERS = "#1d4ed8", "#94a3b8"

Results = Mapping[str, Any]  # decoded JSON: rows a day to the summary of its worlds


def write_results(results: Results, out: Path) -> None:
    """`results.json` and `results.svg`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    (out / "results.svg").write_text(picture(results))


def print_table(results: Results, console: Console) -> None:
    """False alarms, then for each scenario the share of worlds in which it was found in time."""
    for rows, one in results.items():
        head = ("episodes / 30 d", "days in alarm", *GOAL_DAYS)
        table = Table(f"{int(rows):,} rows a day, {one['worlds']} worlds", *head, box=None)
        for detector in DETECTORS:
            found = [_cell(one["scenarios"][name][detector]) for name in GOAL_DAYS]
            false = (f"{one[key][detector]:.2f}" for key in ("episodes_in_30_days", "alarm_days_in_30"))
            table.add_row(NAMES[detector], *false, *found)
        console.print(table)
    console.print("found: share of worlds within the goal (median days)", highlight=False)


def picture(results: Results) -> str:
    """Days in alarm of 30 days without a fault, one bar per detector and size."""
    rows = [(size, detector) for size in results for detector in DETECTORS]
    most = max(1.0, *(float(results[size]["alarm_days_in_30"][detector]) for size, detector in rows))
    scale = (WIDTH - LEFT - 70) / most
    bars = []
    for place, (size, detector) in enumerate(rows):
        value = float(results[size]["alarm_days_in_30"][detector])
        y = TOP + place * ROW
        bars.append(
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{NAMES[detector]}, {int(size):,} rows</text>'
            f'<rect x="{LEFT}" y="{y + 3}" width="{max(value * scale, 1):.1f}" height="{ROW - 8}" '
            f'fill="{OURS if detector == "ours" else OTHERS}"/>'
            f'<text x="{LEFT + value * scale + 6:.1f}" y="{y + 15}">{value:.2f}</text>'
        )
    height = TOP + len(rows) * ROW + 10
    title = '<text x="8" y="22" font-weight="600">Days in alarm, of 30 days without a fault</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>{title}{"".join(bars)}</svg>\n'
    )


def _cell(found: Mapping[str, Any]) -> str:
    median = "never" if found["median_days"] is None else f"{found['median_days']:g} d"
    return f"{100 * found['found_in_goal']:.0f} % ({median})"
