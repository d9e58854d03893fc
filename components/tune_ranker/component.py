"""KFP steps: the search in one, or shared by several that come before it."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tune_ranker(
    training_set: dsl.Input[dsl.Dataset], config: str, ranker: str, seed: int, tuning: dsl.Output[dsl.Artifact]
) -> None:
    """Search the ranker's hyperparameters on the validation cut.

    Args:
        training_set: Training and validation rows.
        config: TuningConfig as JSON.
        ranker: RankerConfig as JSON.
        seed: Of sampling and search.
        tuning: The best parameters and the study's plots.
    """
    from pathlib import Path

    from components.artifacts.home import start_step
    from components.ranking.config import RankerConfig
    from components.tune_ranker import tune
    from components.tune_ranker.config import TuningConfig
    from components.tuning.stores import study_store

    tune.tune_ranker(
        Path(training_set.path),
        study_store(start_step()),
        Path(tuning.path),
        config=TuningConfig.model_validate_json(config),
        ranker=RankerConfig.model_validate_json(ranker),
        seed=seed,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def search_ranker(
    training_set: dsl.Input[dsl.Dataset],
    config: str,
    ranker: str,
    seed: int,
    worker: int,  # noqa: ARG001 - KFP's cache would give all workers the first one's result
) -> int:
    """Take trials of the ranker's search beside other workers, until its budget is spent.

    Args:
        training_set: Training and validation rows.
        config: TuningConfig as JSON.
        ranker: RankerConfig as JSON.
        seed: Of sampling and search.
        worker: Tells workers apart.

    Returns:
        Trials of all workers that were finished by then.
    """
    from pathlib import Path

    from components.artifacts.home import start_step
    from components.ranking.config import RankerConfig
    from components.tune_ranker import tune
    from components.tune_ranker.config import TuningConfig
    from components.tuning.stores import study_store

    return tune.search_ranker(
        Path(training_set.path),
        study_store(start_step()),
        config=TuningConfig.model_validate_json(config),
        ranker=RankerConfig.model_validate_json(ranker),
        seed=seed,
    )
