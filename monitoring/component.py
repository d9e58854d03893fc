"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def monitor_window(
    model_name: str,
    config: str,
    start: str,
    end: str,
    now: str,
    report: dsl.Output[dsl.HTML],
    evidently: dsl.Output[dsl.HTML],
) -> str:
    """Judge what the champion served in [start, end); what is kept of it lies in the state folder.

    Args:
        model_name: Registered model whose champion served.
        config: MonitoringConfig as JSON.
        start: First day of the window.
        end: Day after the last one.
        now: Moment of the judgement; later data is not read.
        report: The page as one file, which Kubeflow's UI shows.
        evidently: Evidently's page; no file where nothing was shown in the window.

    Returns:
        State of the verdict.
    """
    import logging
    import shutil
    from pathlib import Path

    from components.artifacts.cuts import parse_moment
    from components.artifacts.home import start_step
    from monitoring.config import MonitoringConfig
    from monitoring.metrics import publish
    from monitoring.notification import notify
    from monitoring.report import render_report
    from monitoring.run import judge_champion

    home = start_step()
    judged = judge_champion(
        home,
        model_name,
        start=parse_moment(start),
        end=parse_moment(end),
        now=parse_moment(now),
        config=MonitoringConfig.model_validate_json(config),
    )
    verdict = judged.verdict
    logging.getLogger("monitoring").info("%s: %s", verdict.state, verdict.sentence)
    Path(report.path).write_text(render_report(verdict), encoding="utf-8")
    if judged.evidently.exists():
        shutil.copyfile(judged.evidently, evidently.path)
    publish(home, verdict.model)
    notify(home, verdict, judged.report)
    return verdict.state
