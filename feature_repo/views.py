"""Feast's feature views, derived from the schema: nothing about a feature is said here."""

from datetime import timedelta
from pathlib import Path

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one

# isort: split
from feast import FeatureView, Field
from feast.types import Array, FeastType, Float32, Int64, String

from feature_repo.entities import ENTITIES
from feature_repo.schema import LIVE_VIEWS, VIEWS, Dtype, ViewSpec
from feature_repo.sources import source

FEAST_TYPES: dict[Dtype, FeastType] = {
    Dtype.FLOAT32: Float32,
    Dtype.STRING: String,
    Dtype.FLOAT32_LIST: Array(Float32),
    Dtype.INT64_LIST: Array(Int64),
    Dtype.STRING_LIST: Array(String),
}


def feature_view(spec: ViewSpec, home: Path, offline: str) -> FeatureView:
    """The Feast view of one schema view."""
    return FeatureView(
        name=spec.name,
        entities=[ENTITIES[spec.entity]],
        ttl=timedelta(days=spec.ttl_days),
        schema=[
            Field(
                name=feature.name,
                dtype=FEAST_TYPES[feature.dtype],
                description=feature.description,
                tags={"unit": feature.unit},
            )
            for feature in spec.features
        ],
        source=source(spec, home, offline),
        online=True,
    )


def feature_views(home: Path, offline: str) -> dict[str, FeatureView]:
    """All views by name, with sources of an offline store (`StoreConfig.offline`)."""
    return {spec.name: feature_view(spec, home, offline) for spec in (*VIEWS, *LIVE_VIEWS)}
