"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def assemble_bundle(
    events: dsl.Input[dsl.Dataset],
    models: dsl.Input[dsl.Model],
    ranker: dsl.Input[dsl.Model],
    config: str,
    retrievers: str,
    policy: str,
    split: str,
    as_of: str,
    resolved: str,
    code: str,
    seed: int,
    bundle: dsl.Output[dsl.Model],
) -> str:
    """Put retrievers, ranker, items and golden requests into one bundle.

    Args:
        events: Canonical tables.
        models: Retrievers and item table of each cut.
        ranker: ranker.ubj, calibration.json and training.json.
        config: BundleConfig as JSON.
        retrievers: RetrieversConfig as JSON, as it was fitted.
        policy: PolicyConfig as JSON.
        split: SplitConfig as JSON.
        as_of: The cut that serves.
        resolved: The whole pipeline configuration as JSON, for the manifest, which gets the retrievers as fitted.
        code: Hash of the source, for the manifest.
        seed: Draws the users of the golden requests and the reference.
        bundle: The bundle.

    Returns:
        The bundle's id.
    """
    import json
    from pathlib import Path

    from components.artifacts.cuts import SplitConfig, parse_moment
    from components.artifacts.home import start_step
    from components.assemble_bundle import assemble
    from components.assemble_bundle.config import BundleConfig
    from components.reranking.config import PolicyConfig
    from components.retrieval.config import RetrieversConfig

    manifest = assemble.assemble_bundle(
        Path(events.path),
        start_step(),
        Path(models.path),
        Path(ranker.path),
        Path(bundle.path),
        as_of=parse_moment(as_of),
        resolved=json.loads(resolved) | {"retrievers": json.loads(retrievers)},
        code=code,
        split=SplitConfig.model_validate_json(split),
        quotas=RetrieversConfig.model_validate_json(retrievers).quotas,
        policy=PolicyConfig.model_validate_json(policy),
        config=BundleConfig.model_validate_json(config),
        seed=seed,
    )
    bundle.metadata["bundle_id"] = manifest.bundle_id
    return manifest.bundle_id
