"""What the ranker is trained on."""

from pydantic import BaseModel, ConfigDict, Field


class TrainingSetConfig(BaseModel):
    """How candidates become training rows.

    Labels are what users took in the horizon, whatever was shown to them: no position bias enters. Rows made of served
    impressions would carry one, and would have to be weighted by the propensities of the prediction log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    negatives_per_query: int = Field(
        150, ge=1, description="Irrelevant candidates kept per query; the validation keeps all of them"
    )
    max_users_per_cut: int = Field(2000, ge=1, description="Users per cut, drawn with the seed")
    max_validation_users: int = Field(
        800, ge=1, description="Users whose lists tuning and early stopping are judged on"
    )
    new_user_share: float = Field(
        0.15,
        ge=0,
        le=0.5,
        description="Share of the users of each cut who are asked about again, as new users after 0, 1, 3 and 10 items",
    )
