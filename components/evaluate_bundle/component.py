"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate_bundle(
    events: dsl.Input[dsl.Dataset],
    bundle: dsl.Input[dsl.Model],
    config: str,
    gate: str,
    split: str,
    as_of: str,
    model_name: str,
    evaluation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> bool:
    """Compare the bundle with its parts, with popularity and with the champion, on the weeks after as_of.

    Args:
        events: Canonical tables.
        bundle: The bundle.
        config: EvaluationConfig as JSON.
        gate: GateConfig as JSON.
        split: SplitConfig as JSON.
        as_of: The first test cut.
        model_name: Registered model whose champion is compared with.
        evaluation: Folder of report.html and evaluation.json.
        report: The page as one file, which Kubeflow's UI shows.
        metrics: The main figures.

    Returns:
        Whether the gate lets the bundle pass.
    """
    import json
    import shutil
    from pathlib import Path

    from components.artifacts.cuts import SplitConfig, parse_moment
    from components.artifacts.home import start_step
    from components.evaluate_bundle import evaluate
    from components.evaluate_bundle.config import EvaluationConfig, GateConfig

    verdict, figures = evaluate.evaluate_bundle(
        Path(events.path),
        start_step(),
        Path(bundle.path),
        Path(evaluation.path),
        as_of=parse_moment(as_of),
        split=SplitConfig.model_validate_json(split),
        model_name=model_name,
        config=EvaluationConfig.model_validate_json(config),
        gate_config=GateConfig.model_validate_json(gate),
    )
    shutil.copyfile(Path(evaluation.path) / "report.html", report.path)
    for name, value in figures.items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(json.dumps(figures))
    return verdict.passed
