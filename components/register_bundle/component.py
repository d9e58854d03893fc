"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register_bundle(
    bundle: dsl.Input[dsl.Model], evaluation: dsl.Input[dsl.Artifact], config: str, registered: dsl.Output[dsl.Artifact]
) -> None:
    """Publish a bundle that passed the gate, and name it champion or challenger.

    Args:
        bundle: The bundle.
        evaluation: report.html and evaluation.json.
        config: RegistryConfig as JSON.
        registered: Which alias points where now.
    """
    from pathlib import Path

    from components.artifacts.home import start_step
    from components.register_bundle import register
    from components.register_bundle.config import RegistryConfig

    register.register_bundle(
        start_step(),
        Path(bundle.path),
        Path(evaluation.path),
        Path(registered.path),
        config=RegistryConfig.model_validate_json(config),
    )
