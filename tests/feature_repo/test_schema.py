from dataclasses import replace

import numpy as np
import pytest

from feature_repo.schema import (
    CONTEXT_FEATURES,
    RANKER_FEATURE_NAMES,
    RANKER_FEATURES,
    VIEWS,
    SchemaError,
    schema_hash,
    view,
)
from feature_repo.transforms import hour_of_day, is_promoted, weekday


def test_every_name_stands_once():
    names = [feature.name for spec in VIEWS for feature in spec.features]
    assert len(set(names)) == len(names)
    assert len(set(RANKER_FEATURE_NAMES)) == len(RANKER_FEATURE_NAMES) == 67


def test_names_begin_with_what_they_describe_and_tell_their_unit():
    for spec in VIEWS:
        for feature in spec.features:
            assert feature.name.startswith(spec.entity.removesuffix("id")), feature.name
            assert feature.unit != "usd" or "_usd" in feature.name
            assert feature.unit != "days" or "_days" in feature.name


@pytest.mark.parametrize("change", [{"name": "x"}, {"unit": "kg"}, {"default": 7.0}])
def test_hash_changes_with_the_definition(change):
    changed = (replace(RANKER_FEATURES[0], **change), *RANKER_FEATURES[1:])
    assert schema_hash(changed) != schema_hash()


def test_hash_changes_with_the_order_and_not_with_the_words():
    assert schema_hash(RANKER_FEATURES[::-1]) != schema_hash()
    assert schema_hash((replace(RANKER_FEATURES[0], description="other words"), *RANKER_FEATURES[1:])) == schema_hash()


def test_unknown_view_is_refused_with_those_that_exist():
    with pytest.raises(SchemaError, match="no feature view 'shoes'; there are user_profile, user_stats"):
        view("shoes")


def test_bounds_hold_the_defaults():
    for feature in (*RANKER_FEATURES, *CONTEXT_FEATURES):
        if feature.default is not None:
            assert (feature.low or 0) <= feature.default


def test_clock_features_by_hand():
    seconds = np.array([0, 1_509_321_600 + 3 * 3600 + 59], np.int64)  # a Thursday; Monday 2017-10-30 03:00:59
    assert hour_of_day(seconds).tolist() == [0, 3]
    assert weekday(seconds).tolist() == [3, 0]


def test_missing_rate_is_no_promotion():
    nothing, some = np.array([np.nan, np.nan, 0.0], np.float32), np.array([np.nan, 0.1, 0.0], np.float32)
    assert is_promoted(nothing, some).tolist() == [0, 1, 0]
