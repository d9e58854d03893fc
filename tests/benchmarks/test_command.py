import importlib
from pathlib import Path

import pytest

NAMED = ("quality.ablations", "quality.cold_items", "quality.cold_users", "quality.reranking")


@pytest.mark.parametrize("name", NAMED)
def test_state_folder_is_absolute_as_feast_asks(name: str) -> None:
    options = importlib.import_module(f"benchmarks.{name}").parser()
    assert options.parse_args([]).home == Path.cwd() / ".recsys-bench"
    assert options.parse_args(["--home", "other"]).home == Path.cwd() / "other"
