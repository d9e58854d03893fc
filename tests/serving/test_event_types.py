import pytest
from pydantic import ValidationError

from serving.event_types import TYPES, trained_weights, weight_of
from serving.protocol import FeedbackEvent


def event(kind: str, **values) -> FeedbackEvent:
    moment = "2024-05-01T12:00:00Z"
    return FeedbackEvent(
        event_id="e", user_id="u", item_id="i", interaction_type=kind, event_timestamp=moment, **values
    )


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("rating", {}, "a rating needs rating"),
        ("rating", {"rating": 0.4}, "greater than or equal to 0.5"),
        ("rating", {"rating": 6}, "less than or equal to 5"),
        ("dwell", {}, "a dwell needs dwell_seconds"),
        ("dwell", {"dwell_seconds": -1}, "greater than or equal to 0"),
        ("dwell", {"dwell_seconds": float("inf")}, "less than or equal to 86400|finite"),
        ("impression", {"position": 0}, "greater than or equal to 1"),
        ("hide", {"weight": 1}, "a hide does not speak for its item"),
        ("thumbs_down", {"weight": 0.5}, "a thumbs_down does not speak for its item"),
    ],
)
def test_event_that_contradicts_its_type_is_refused(kind, values, message):
    with pytest.raises(ValidationError, match=message):
        event(kind, **values)


def test_every_type_can_be_posted_with_what_it_needs():
    needed = {"rating": {"rating": 4.5}, "dwell": {"dwell_seconds": 12.0}}
    for kind in (*TYPES, "tasted"):
        assert event(kind, **needed.get(kind, {})).interaction_type == kind


@pytest.mark.parametrize(
    ("kind", "rating", "trained", "weight"),
    [
        ("purchase", None, {}, 1.0),
        ("click", None, {}, 0.1),
        ("click", None, {"click": 1.0}, 1.0),  # as the training data say
        ("tasted", None, {}, 1.0),
        ("tasted", None, {"tasted": 0.2}, 0.2),
        ("rating", 4.0, {}, 1.0),
        ("rating", 3.5, {"rating": 1.0}, 0.0),
        ("impression", None, {"impression": 1.0}, 0.0),
        ("hide", None, {}, 0.0),
    ],
)
def test_weight_where_the_event_names_none(kind, rating, trained, weight):
    assert weight_of(kind, rating, trained) == weight


def test_weights_of_a_data_set_are_those_of_its_mapping():
    mapping = {"viewed": {"type": "click", "weight": 0.2}, "bought": {"type": "purchase", "weight": 1}}
    assert trained_weights({"dataset": {"interactions": {"types": {"mapping": mapping}}}}) == {
        "click": 0.2,
        "purchase": 1.0,
    }
    constant = {"constant": {"type": "visit", "weight": 0.5}}
    assert trained_weights({"dataset": {"interactions": {"types": constant}}}) == {"visit": 0.5}
    assert trained_weights({"dataset": {"adapter": "complete_journey"}}) == {}
