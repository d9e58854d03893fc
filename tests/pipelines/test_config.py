"""What a configuration may hold."""

import pytest

from components.artifacts.errors import ConfigError
from pipelines.config import load_config


@pytest.mark.parametrize("written", ["2017-12-17", '"2017-12-17"'])
def test_date_needs_no_quotes_in_yaml(tmp_path, written):
    path = tmp_path / "shop.yaml"
    path.write_text(f"dataset: {{adapter: complete_journey}}\nas_of: {written}\n")
    assert load_config(str(path)).as_of == "2017-12-17"


def test_time_of_day_is_kept(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text("dataset: {adapter: complete_journey}\nas_of: 2017-12-17T05:00:00Z\n")
    assert load_config(str(path)).as_of == "2017-12-17T05:00:00+00:00"


def test_wrong_date_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match=r"'17\.12\.2017' is not a date; expected for example 2017-10-30"):
        load_config("complete_journey", {"as_of": "17.12.2017"})
