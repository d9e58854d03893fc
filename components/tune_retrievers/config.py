"""How the candidate generators' parameters and quotas are searched."""

from pydantic import Field

from components.tuning.config import SearchConfig


class RetrieverTuningConfig(SearchConfig):
    """Budget and judgement of the search. With trials = 0 the configured parameters and quotas stay."""

    trials: int = Field(
        0,
        ge=0,
        description="Trials of each generator, pruned ones included; 0 keeps the configuration and costs nothing",
    )
    minutes: float = Field(15.0, gt=0, description="No trial is started after this time, minutes for all generators")
    folds: int = Field(
        2, ge=1, description="Cuts before the test that each trial is judged at, fitted on what was before each"
    )
    users: int = Field(300, ge=1, description="Users asked at each cut; as many others confirm what was found")
    candidates: float | None = Field(
        None,
        gt=0,
        description="Mean distinct candidates of a query that the quotas give; null: as many as configured, where that is better",
    )
    quota_step: int = Field(10, ge=1, description="Candidates that a quota grows by in the search")
    max_quota: int = Field(400, ge=1, description="Largest quota of one generator")
