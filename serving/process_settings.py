"""What door and server are told alike; each reads it under its own prefix."""

from pydantic import BaseModel, ConfigDict, Field


class ProcessSettings(BaseModel):
    """How a process ends, and where its traces go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="From SIGTERM to the closing of the listener: /readyz is 503 and requests are answered; on a cluster as "
        "long as its load balancer takes to notice, a few seconds",
    )
    traces_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Where traces go, OTLP over HTTP; nothing is traced where it is left out",
    )
    traces_share: float = Field(0.01, ge=0, le=1, description="Share of the requests that are traced, where they are")
