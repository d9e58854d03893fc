"""KFP step."""

from typing import NamedTuple

from kfp import dsl

from components.artifacts.home import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def choose_dates(split: str, resolved: str) -> NamedTuple("Dates", [("as_of", str), ("end", str), ("resolved", str)]):  # type: ignore[valid-type]
    """Choose the newest training cut whose test weeks are over.

    Args:
        split: SplitConfig as JSON.
        resolved: The whole configuration as JSON.
    """
    from datetime import UTC, datetime

    from components.artifacts.cuts import SplitConfig
    from components.artifacts.home import start_step
    from components.choose_dates.choose import choose

    start_step()
    return choose(SplitConfig.model_validate_json(split), resolved, now=datetime.now(UTC))
