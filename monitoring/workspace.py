"""Evidently's workspace: a project for each model and a snapshot for each window, as Evidently's UI shows them.

The UI reads every snapshot for its first page (a thousand took it a minute and 3.7 GB), so the newest alone are kept. Its
dashboard plots, window by window, the features that the champion leans on most.
"""

import uuid
from pathlib import Path
from typing import Any

from monitoring.verdict import Verdict, days

FOLDER = Path("monitoring") / "evidently"
KEPT = 28
"""Snapshots of a model: what the thresholds are learnt of."""
PLOTTED = 6
"""Features of the dashboard, those of most importance: its plots have six colours."""
NAMES = uuid.UUID("0d7f1c0e-93a5-5f0b-8f0a-2b6f3f1f6c55")
"""Namespace of the ids: a window that is judged again is the same snapshot."""


def keep_snapshot(home: Path, run: Any, verdict: Verdict) -> Path:
    """Put Evidently's result into the workspace, under the lock of the model's verdicts; the file that holds it.

    Args:
        home: State folder.
        run: Evidently's, untyped here since its import costs nine CPU seconds.
        verdict: Of the window; names the project, the snapshot and its time.
    """
    from evidently.sdk.models import ProjectModel
    from evidently.ui.storage.local.base import LocalState

    state, project = LocalState(str(home / FOLDER)), uuid.uuid5(NAMES, verdict.model)
    folder = home / FOLDER / str(project) / "snapshots"
    if not folder.parent.exists():
        said = "Windows that `recsys monitor run` has judged; their verdicts are in the tags"
        state.write_project(ProjectModel(id=project, name=verdict.model, description=said))
    state.write_dashboard(project, _dashboard(verdict))
    run.set_name(f"{verdict.state} {days(verdict.start, verdict.end)}, {verdict.bundle_id}")
    snapshot = uuid.uuid5(NAMES, verdict.id)
    state.write_snapshot(project, snapshot, run.to_snapshot_model())
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
        path.unlink()
    return folder / f"{snapshot}.json"


def _dashboard(verdict: Verdict) -> Any:
    from evidently.sdk.models import DashboardModel, PanelMetric
    from evidently.sdk.panels import line_plot_panel

    leading = sorted(verdict.features, key=lambda one: (-one.importance, one.name))[:PLOTTED]

    def plot(title: str, said: str, metric: str, **value: str) -> Any:
        lines = [
            PanelMetric(legend=one.name, metric=metric, metric_labels={"column": one.name, **value}) for one in leading
        ]
        panel = line_plot_panel(title, lines, description=said)
        panel.id = uuid.uuid5(NAMES, f"{verdict.model} {title}")
        return panel

    drift = "Index of each window against training, over rows; a line is missing where a window's report leaves the feature out"
    panels = [
        plot("Drift of the features that the ranker leans on most", drift, "ValueDrift"),
        plot("Their missing values", "Share of the rows", "MissingValueCount", value_type="share"),
    ]
    return DashboardModel(tabs=[], panels=panels)
