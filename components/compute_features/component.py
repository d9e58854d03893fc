"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compute_features(
    events: dsl.Input[dsl.Dataset], config: str, split: str, as_of: str, features: dsl.Output[dsl.Dataset]
) -> None:
    """Write the feature snapshots of all cuts into the offline store.

    Args:
        events: Canonical tables.
        config: FeaturesConfig as JSON.
        split: SplitConfig as JSON.
        as_of: The training cut.
        features: Manifest of the snapshots.
    """
    from pathlib import Path

    import duckdb

    from components.artifacts.answers import refuse_silent_cuts
    from components.artifacts.cuts import Cuts, SplitConfig, parse_moment
    from components.artifacts.home import start_step
    from components.compute_features import compute
    from components.compute_features.config import FeaturesConfig
    from feature_repo.store import apply

    home = start_step()
    asked = SplitConfig.model_validate_json(split)
    cuts = Cuts(parse_moment(as_of), asked)
    refuse_silent_cuts(duckdb.read_parquet(f"{events.path}/interactions.parquet"), cuts, asked.label_types)
    settings = FeaturesConfig.model_validate_json(config)
    manifest = compute.compute_features(Path(events.path), home / "offline", cuts.all, config=settings)
    manifest.write(Path(features.path))
    apply(home)
