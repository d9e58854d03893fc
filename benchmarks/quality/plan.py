"""What is measured: which data sets, at which cuts, with which budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from components.artifacts.cuts import Cuts, parse_moment
from components.artifacts.errors import ConfigError
from components.tuning.search_space import Params
from pipelines.config import PipelineConfig, load_config

COMPLETE_JOURNEY, MOVIELENS = "complete_journey", "movielens"
COMPLETE_JOURNEY_CUTS = ("2017-12-17", "2017-12-24")
MOVIELENS_CUTS = (
    "2016-08-01", "2016-10-31", "2017-01-30", "2017-05-01", "2017-07-31", "2017-10-30", "2018-01-29", "2018-04-30",
)  # fmt: skip
"""Two years of quarters: some twenty users like a film in any one, so two would tell little."""
TRIALS = 12
NO_LIMIT_MINUTES = 600.0
"""The budget is a number of trials, the same for every system: minutes would favour the quick ones."""
GET_MOVIELENS = (
    "movielens is left out: download ml-latest-small from https://grouplens.org/datasets/movielens/, unpack it, and "
    "say where it lies with --movielens DIR."
)
QUICK_TRIALS, QUICK_SHARE, QUICK_DRAWS = 3, 0.2, 200


@dataclass(frozen=True, slots=True)
class Plan:
    """One data set.

    Attributes:
        config: A shipped configuration's name, or a path.
        overrides: Dotted key to value, for every training.
        cuts: Dates of the test cuts, ascending.
        trials: Of each system, the product's ranker included.
        seed: Of every search.
    """

    config: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    cuts: tuple[str, ...] = ()
    trials: int = TRIALS
    seed: int = 0

    def base(self) -> PipelineConfig:
        """The data set's own configuration."""
        return load_config(self.config, dict(self.overrides))

    def training(self, cut: str, found: Params | None) -> PipelineConfig:
        """The configuration of the training at one cut.

        Args:
            cut: The date.
            found: The ranker's parameters from the first cut, which later ones keep; None at the first.
        """
        search = {"trials": self.trials, "minutes": NO_LIMIT_MINUTES} if found is None else {"trials": 0}
        tuning = {f"tuning.{key}": value for key, value in search.items()}
        kept = {} if found is None else {"tuning.initial": found}
        return load_config(self.config, {**self.overrides, "as_of": cut, "split.test_cuts": 1, **tuning, **kept})


def make_plan(
    config: str, *, cuts: Sequence[str], overrides: Mapping[str, Any], trials: int, quick: bool = False
) -> Plan:
    """A data set's plan; its own test cuts where none are given, one of them where it must be quick.

    Raises:
        ConfigError: Two cuts are closer than the split allows, or there are none.
    """
    changes = dict(overrides)
    if quick:
        changes |= {"dataset.sample_users": QUICK_SHARE, "evaluation.draws": QUICK_DRAWS}
    base = load_config(config, changes)
    own = [str(cut.date()) for cut in Cuts(parse_moment(base.as_of), base.split).test]
    dates = tuple(sorted(cuts or own))[: 1 if quick else None]
    _check_distances(dates, base)
    return Plan(config, changes, dates, QUICK_TRIALS if quick else trials, base.seed)


def _check_distances(dates: Sequence[str], base: PipelineConfig) -> None:
    moments = [parse_moment(date) for date in dates]
    horizon = base.split.horizon_days
    for earlier, later in pairwise(moments):
        if (later - earlier).days < horizon:
            raise ConfigError(
                f"--cuts: {earlier.date()} and {later.date()} are {(later - earlier).days} days apart, under the horizon "
                f"of {horizon} days, so one answer would count twice. Choose cuts at least {horizon} days apart."
            )


def movielens_plan(folder: Path, *, trials: int, quick: bool = False) -> Plan:
    """MovieLens from a folder of GroupLens' files, quarter by quarter."""
    overrides = {"dataset.folder": str(folder)}
    return make_plan(MOVIELENS, cuts=MOVIELENS_CUTS, overrides=overrides, trials=trials, quick=quick)
