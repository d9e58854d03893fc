"""What a search leaves for people: its trials as data, and two plots."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from components.tuning.study import STARTUP_TRIALS, Search, finished, open_study

LEAST_MARGIN = 0.01
"""Above and below the scores, in their unit."""


def write_history(what: Search, out: Path, *, prefix: str = "") -> None:
    """`history.json`, `history.html`, and `importance.html` where enough trials were completed to tell.

    Args:
        what: The search.
        out: Folder; plotly's script lies beside the pages.
        prefix: Of the files' names.
    """
    study = open_study(what)
    trials = finished(study)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{prefix}history.json").write_text(json.dumps([_row(trial) for trial in trials], indent=1))
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        return
    history = _around(optuna.visualization.plot_optimization_history(study, target_name=what.metric), complete)
    history.update_layout(title=f"{what.metric} of each trial of the search, and the best so far")
    history.write_html(out / f"{prefix}history.html", include_plotlyjs="directory")
    if len({trial.value for trial in complete}) > 1 and len(complete) >= STARTUP_TRIALS:
        importance = optuna.visualization.plot_param_importances(study, target_name=what.metric)
        importance.write_html(out / f"{prefix}importance.html", include_plotlyjs="directory")


def _around(figure: Any, complete: Sequence[FrozenTrial]) -> Any:  # a plotly figure
    """Its axes around what there is: of a single trial plotly draws trials -1 to 1 and scores below 0."""
    last = max(trial.number for trial in complete)
    scores = [trial.value for trial in complete if trial.value is not None]
    margin = max((max(scores) - min(scores)) / 10, LEAST_MARGIN)
    figure.update_xaxes(range=[-0.5, last + 0.5], dtick=max(1, (last + 1) // 10))
    return figure.update_yaxes(range=[min(scores) - margin, max(scores) + margin])


def _row(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "score": trial.value,
        "seconds": trial.duration.total_seconds() if trial.duration else None,
        "params": trial.params,
    }
