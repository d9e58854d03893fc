"""The dates of a run that is started by a clock."""

import json
import logging
from datetime import datetime
from typing import NamedTuple

from components.artifacts.cuts import Cuts, SplitConfig, newest_as_of

log = logging.getLogger(__name__)


class Dates(NamedTuple):
    """What a run that is asked for by hand is told.

    Attributes:
        as_of: The training cut.
        end: End of the last answer.
        resolved: The whole configuration as JSON, with that cut.
    """

    as_of: str
    end: str
    resolved: str


def choose(split: SplitConfig, resolved: str, *, now: datetime) -> Dates:
    """The newest dates by now."""
    as_of = newest_as_of(now, split)
    config = json.loads(resolved) | {"as_of": as_of.date().isoformat()}
    log.info("as of %s", config["as_of"])
    return Dates(as_of.isoformat(), Cuts(as_of, split).end.isoformat(), json.dumps(config, sort_keys=True))
