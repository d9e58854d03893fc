"""How the ranker's hyperparameters are searched."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from components.artifacts.errors import ConfigError
from components.tuning.config import SearchConfig


class TuningConfig(SearchConfig):
    """Budget and validation of the ranker's search."""

    initial: Mapping[str, int | float | str] | None = Field(
        None, description="Parameters of the first trial, and the result where there is none: a champion's, for example"
    )
    query_share: float = Field(0.5, gt=0, le=1, description="Share of the training queries that a trial learns from")
    folds: int = Field(1, ge=1, description="Times that each trial is trained and judged; its score is the mean")
    validation: Literal["time", "users"] = Field(
        "time",
        description="What is held back. time: a later cut is judged by what was learnt from earlier ones, as in "
        "production; the first fold is the validation cut, further ones the training cuts before it. users: some users "
        "are judged by what was learnt from the others at the same cuts (folds >= 2): more queries for choosing "
        "regularisation, but blind to drift. Rows are never held back one by one: a query's would be on both sides",
    )

    def model_post_init(self, _context: object) -> None:
        """Refuse users as folds where there is nobody to hold back from."""
        if self.validation == "users" and self.folds < 2:
            raise ConfigError(
                "tuning: validation=users needs folds >= 2: one group is judged, the others are learnt from."
            )
