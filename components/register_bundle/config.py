"""Where a bundle goes once it has passed the gate."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RegistryConfig(BaseModel):
    """The registered model and what happens to its aliases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_name: str = Field("recommender", pattern=r"^[a-z0-9][a-z0-9-]*$", description="Name of the registered model")
    promote: Literal["if_first", "always", "never"] = Field(
        "if_first",
        description="When a bundle that passed becomes champion at once; else it becomes challenger and waits",
    )
