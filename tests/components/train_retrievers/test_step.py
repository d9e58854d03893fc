"""Few interactions are fitted in the step's own process and many in several: the files are the same."""

import multiprocessing

from components.artifacts.cuts import Cuts, parse_moment
from components.train_retrievers import step
from tests.toy_world import write_toy_events


def fit(trained, folder):
    [features] = trained.home.glob("artifacts/*/compute-features/features")
    cuts = Cuts(parse_moment(trained.config.as_of), trained.config.resolved_split())
    config = trained.config.retrievers
    step.fit_cuts(write_toy_events(folder / "events"), features, trained.home, folder / "models", cuts, config=config)
    files = sorted(path for path in (folder / "models").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_where_the_cuts_are_fitted_changes_no_byte(trained, tmp_path, monkeypatch):
    started = []
    spawned = multiprocessing.get_context("spawn").Process.start
    monkeypatch.setattr(
        multiprocessing.get_context("spawn").Process,
        "start",
        lambda process: (started.append(process), spawned(process))[1],
    )
    here = fit(trained, tmp_path / "few")
    assert not started
    monkeypatch.setattr(step, "FEW_INTERACTIONS", 10)
    assert fit(trained, tmp_path / "many") == here
    assert started
    assert len(here) > 4
