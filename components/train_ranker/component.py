"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_ranker(
    training_set: dsl.Input[dsl.Dataset],
    tuning: dsl.Input[dsl.Artifact],
    config: str,
    seed: int,
    ranker: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the ranker with the tuned parameters.

    Args:
        training_set: Training and validation rows.
        tuning: The best parameters.
        config: RankerConfig as JSON.
        seed: Of row and column sampling.
        ranker: ranker.ubj, calibration.json and training.json.
        metrics: Validation NDCG@10 and rounds.
    """
    import json
    from pathlib import Path

    from components.artifacts.home import start_step
    from components.ranking.config import RankerConfig
    from components.train_ranker import train

    start_step()
    params = json.loads((Path(tuning.path) / "tuning.json").read_text())["params"]
    settings = RankerConfig.model_validate_json(config)
    trained = train.train_ranker(Path(training_set.path), params, Path(ranker.path), config=settings, seed=seed)
    metrics.log_metric("validation_ndcg_at_10", trained.validation_ndcg)
    metrics.log_metric("rounds", trained.rounds)
    Path(metrics.path).write_text(json.dumps({"validation_ndcg_at_10": trained.validation_ndcg}))
