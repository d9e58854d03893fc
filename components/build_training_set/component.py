"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def build_training_set(
    events: dsl.Input[dsl.Dataset],
    models: dsl.Input[dsl.Model],
    config: str,
    split: str,
    retrievers: str,
    as_of: str,
    seed: int,
    training_set: dsl.Output[dsl.Dataset],
) -> None:
    """Join candidates, features as of each cut, and labels.

    Args:
        events: Canonical tables.
        models: Retrievers and item table of each cut.
        config: TrainingSetConfig as JSON.
        split: SplitConfig as JSON.
        retrievers: RetrieversConfig as JSON.
        as_of: The training cut.
        seed: Of the sampling.
        training_set: Training and validation rows.
    """
    from pathlib import Path

    from components.artifacts.cuts import SplitConfig, parse_moment
    from components.artifacts.home import start_step
    from components.build_training_set import build
    from components.build_training_set.config import TrainingSetConfig
    from components.retrieval.config import RetrieversConfig

    build.build_training_set(
        Path(events.path),
        start_step(),
        Path(models.path),
        Path(training_set.path),
        as_of=parse_moment(as_of),
        split=SplitConfig.model_validate_json(split),
        retrieval=RetrieversConfig.model_validate_json(retrievers),
        config=TrainingSetConfig.model_validate_json(config),
        seed=seed,
    )
