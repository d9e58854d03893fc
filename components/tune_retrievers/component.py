"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tune_retrievers(
    events: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    config: str,
    retrievers: str,
    split: str,
    as_of: str,
    seed: int,
    tuning: dsl.Output[dsl.Artifact],
) -> str:
    """Search the parameters and quotas of the candidate generators at the cuts before the test.

    Args:
        events: Canonical tables.
        features: Manifest of the feature snapshots.
        config: RetrieverTuningConfig as JSON.
        retrievers: RetrieversConfig as JSON, where the search begins.
        split: SplitConfig as JSON.
        as_of: The training cut.
        seed: Of the users and the search.
        tuning: What was found and the studies' plots.

    Returns:
        RetrieversConfig as JSON, what the later steps take.
    """
    import json
    from pathlib import Path

    from components.artifacts.home import start_step
    from components.tune_retrievers.config import RetrieverTuningConfig

    settings, home, out = RetrieverTuningConfig.model_validate_json(config), start_step(), Path(tuning.path)
    if settings.trials == 0:
        out.mkdir(parents=True, exist_ok=True)
        (out / "tuning.json").write_text(json.dumps({"retrievers": json.loads(retrievers)}))
        return retrievers

    from components.artifacts.cuts import Cuts, SplitConfig, parse_moment
    from components.retrieval.config import RetrieversConfig
    from components.tune_retrievers import tune
    from components.tuning.stores import study_store

    horizon = SplitConfig.model_validate_json(split)
    task = tune.RetrieverTask(
        Path(events.path),
        Path(features.path),
        home,
        study_store(home),
        Cuts(parse_moment(as_of), horizon),
        horizon,
        RetrieversConfig.model_validate_json(retrievers),
        settings,
        seed,
    )
    return tune.tune_retrievers(task, out).retrievers.model_dump_json()
