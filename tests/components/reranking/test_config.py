"""A wrong rule is refused with the key that is wrong."""

import pytest
from pydantic import ValidationError

from components.artifacts.errors import ConfigError
from components.reranking.config import PolicyConfig, RulesConfig
from pipelines.config import load_config


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"exclude": [{"items": {}}]}, "no condition, which would mean every item"),
        ({"exclude": [{"items": {"colour": ["red"]}}]}, "colour"),
        (
            {"exclude": [{"items": {"features": {"item_price": {"at_most": 1}}}}]},
            "no item feature item_price; there are",
        ),
        ({"boost": [{"items": {"brands": ["X"]}, "factor": 0}]}, "greater than 0"),
        ({"pin": [{"item_id": "1", "position": 0}]}, "greater than or equal to 1"),
        ({"pin": [{"item_id": "1", "when": {"user": {"age": {"at_least": 1}}}}]}, "no user feature age; there are"),
        ({"pin": [{"item_id": "1", "when": {"since": "2024-02-01", "until": "2024-01-01"}}]}, "is not before until"),
        ({"cap": [{"by": "colour", "most": 1}]}, "'category', 'department' or 'brand'"),
        ({"exclude": [{"items": {"features": {"item_users_7d": {}}}}]}, "expected at_least, at_most or both"),
        (
            {"exclude": [{"items": {"features": {"item_users_7d": {"at_least": 2, "at_most": 1}}}}]},
            "at_least 2.0 is over at_most 1.0",
        ),
    ],
)
def test_wrong_rule_is_refused(rules, sentence):
    with pytest.raises(ValidationError, match=sentence):
        RulesConfig.model_validate(rules)


def test_pipeline_configuration_names_the_key_of_a_wrong_rule():
    with pytest.raises(ConfigError, match=r"rules\.cap\.0\.most: .* greater than or equal to 1"):
        load_config("complete_journey", {"rules.cap": [{"by": "brand", "most": 0}]})


def test_policy_survives_the_way_through_json():
    given = {
        "reranking": {"method": "mmr", "strength": 0.3},
        "rules": {
            "exclude": [{"items": {"features": {"item_users_7d": {"at_most": 3}}}}],
            "pin": [{"item_id": "1", "when": {"since": "2024-01-01T00:00:00Z", "store_ids": ["s"]}}],
        },
    }
    policy = PolicyConfig.model_validate(given)
    assert PolicyConfig.model_validate_json(policy.model_dump_json()) == policy


def test_rules_file_replaces_the_sections_that_it_has(tmp_path):
    base = PolicyConfig.model_validate({"reranking": {"method": "mmr", "strength": 0.3}})
    path = tmp_path / "rules.yaml"
    path.write_text("rules: {cap: [{by: brand, most: 2}]}")
    read = PolicyConfig.read(path, base=base)
    assert read.reranking == base.reranking
    assert [(cap.by, cap.most, cap.within) for cap in read.rules.cap] == [("brand", 2, 10)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "rules.yaml: No such file"),
        ("rules: [", "not YAML"),
        ("- 1", "expected a mapping"),
        ("rules: {cap: [{by: brand, most: 0}]}", r"rules\.cap\.0\.most: Input should be greater"),
        ("rule: {}", r"rule: there is no such key, did you mean rules\?"),
        ("rules: {cap: [{by: brand, moist: 2}]}", r"moist: there is no such key, did you mean most\?"),
        (
            "rules: {pin: [{item_id: a, position: 1, when: {until: 2017-13-24}}]}",
            r"rules.yaml: not YAML \(month must be",
        ),
        ("rules: {exclude: [{items: {brands: [Käse]}}]}", r"rules.yaml: cannot be read .* Save the file as UTF-8"),
    ],
)
def test_unreadable_rules_file_is_refused(tmp_path, content, sentence):
    path = tmp_path / "rules.yaml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=sentence):
        PolicyConfig.read(path, base=PolicyConfig())
