"""What goes into a bundle beside the models."""

from pydantic import BaseModel, ConfigDict, Field


class BundleConfig(BaseModel):
    """Golden requests and the monitoring reference of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    golden_requests: int = Field(
        8, ge=1, description="Requests whose answers a server must reproduce before it is ready"
    )
    reference_users: int = Field(1000, ge=1, description="Users whose top items are kept as the monitoring reference")
    reference_k: int = Field(10, ge=1, description="Items per user in the monitoring reference")
