"""KFP step."""

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest_events(dataset: str, config: str, end: str, events: dsl.Output[dsl.Dataset]) -> None:
    """Load a data set, validate and clean it.

    Args:
        dataset: DatasetConfig as JSON.
        config: IngestConfig as JSON.
        end: Events from here on are left out.
        events: Canonical tables, quarantine and transformation log.
    """
    from pathlib import Path

    from components.artifacts.cuts import parse_moment
    from components.artifacts.home import start_step
    from components.datasets.config import parse_dataset_config
    from components.ingest_events import ingest
    from components.ingest_events.config import IngestConfig

    home = start_step()
    rules = IngestConfig.model_validate_json(config)
    where = Path(events.path)
    ingest.ingest_events(parse_dataset_config(dataset), rules, where, end=parse_moment(end), home=home)
