"""Which features a model takes: one service per model version."""

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one

# isort: split
from feast import FeatureService, FeatureView

from feature_repo.schema import ITEM_ID, USER_ID, VIEWS

RANKER_SERVICE = "ranker_v1"
USER_VIEWS = tuple(spec.name for spec in VIEWS if spec.entity == USER_ID)
ITEM_VIEWS = tuple(spec.name for spec in VIEWS if spec.entity == ITEM_ID)


def ranker_service(views: dict[str, FeatureView]) -> FeatureService:
    """Everything that `components/ranking/feature_matrix.py` reads."""
    return FeatureService(
        name=RANKER_SERVICE,
        features=[views[spec.name] for spec in VIEWS],
        description="Features of the two-stage recommender",
    )
