"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def monitor_window(model_name: str, config: str, start: str, end: str, now: str, report: dsl.Output[dsl.HTML]) -> str:
    """Judge what the champion served in [start, end).

    Args:
        model_name: Registered model whose champion served.
        config: MonitoringConfig as JSON.
        start: First day of the window.
        end: Day after the last one.
        now: Moment of the judgement; later data is not read.
        report: report.html, verdict.json, evidently.html.

    Returns:
        State of the verdict.
    """
    import logging
    from pathlib import Path

    from components.artifacts.cuts import parse_moment
    from components.artifacts.home import start_step
    from components.artifacts.registry import require_champion
    from monitoring.config import MonitoringConfig
    from monitoring.metrics import publish
    from monitoring.notification import notify
    from monitoring.run import run_monitoring

    home = start_step()
    champion = require_champion(home, model_name)
    verdict = run_monitoring(
        home,
        champion.folder,
        start=parse_moment(start),
        end=parse_moment(end),
        now=parse_moment(now),
        out=Path(report.path),
        config=MonitoringConfig.model_validate_json(config),
    )
    logging.getLogger("monitoring").info("%s: %s", verdict.state, verdict.sentence)
    publish(home, verdict.model)
    notify(home, verdict, Path(report.path) / "report.html")
    return verdict.state
