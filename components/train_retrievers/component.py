"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_retrievers(
    events: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    config: str,
    split: str,
    as_of: str,
    models: dsl.Output[dsl.Model],
) -> None:
    """Fit every candidate generator at every cut, on what was known then.

    Args:
        events: Canonical tables.
        features: Manifest of the feature snapshots.
        config: RetrieversConfig as JSON.
        split: SplitConfig as JSON.
        as_of: The training cut.
        models: Retrievers and item table of each cut.
    """
    from pathlib import Path

    from components.artifacts.cuts import Cuts, SplitConfig, parse_moment
    from components.artifacts.home import start_step
    from components.retrieval.config import RetrieversConfig
    from components.train_retrievers.step import fit_cuts

    home = start_step()
    cuts = Cuts(parse_moment(as_of), SplitConfig.model_validate_json(split))
    settings = RetrieversConfig.model_validate_json(config)
    fit_cuts(Path(events.path), Path(features.path), home, Path(models.path), cuts, config=settings)
