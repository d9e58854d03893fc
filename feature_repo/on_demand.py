"""Context features for clients that read Feast directly.

The ranker calls the same formulas in numpy: an on-demand view costs a thousand times more for 500 items. Online,
`context_is_promoted` needs the view item_stats to be materialised, which this platform's own server does without.
"""

from typing import Any

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one

# isort: split
from feast import FeatureView, Field, RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Float64, Int64

REQUEST = RequestSource(
    name="request_context", schema=[Field(name="request_seconds", dtype=Int64)], description="Unix time of the request"
)


def context_view(item_stats: FeatureView) -> OnDemandFeatureView:
    """Hour, weekday and promotion at the time of the request."""

    @on_demand_feature_view(
        sources=[REQUEST, item_stats],
        schema=[Field(name=name, dtype=Float64) for name in ("context_hour", "context_weekday", "context_is_promoted")],
        mode="python",
    )
    def request_context_features(inputs: dict[str, Any]) -> dict[str, Any]:
        """Hour and weekday in UTC, and whether the item is promoted."""
        # Feast rebuilds this function from the registry without its module, so it imports what it needs itself.
        import numpy as np

        from feature_repo.transforms import hour_of_day, is_promoted, weekday

        seconds = np.asarray(inputs["request_seconds"], np.int64)
        display, mailer = (
            np.asarray([np.nan if rate is None else rate for rate in inputs[name]], np.float32)
            for name in ("item_display_rate", "item_mailer_rate")
        )
        return {
            "context_hour": hour_of_day(seconds).tolist(),
            "context_weekday": weekday(seconds).tolist(),
            "context_is_promoted": is_promoted(display, mailer).tolist(),
        }

    return request_context_features
