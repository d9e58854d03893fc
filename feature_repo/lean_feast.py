"""Feast without its run-time type checks and its warning filters.

Feast 0.67 decorates its definitions with `typeguard.typechecked`, which parses and compiles the source of each class
anew at every import: 1.6 of 2.5 seconds, paid by every step and every command. mypy checks our calls. It also turns
on deprecation warnings for the whole process, and sends the process's Prometheus metrics, and those of processes that it
starts, into files of a folder that all of them share. Modules that import this one before `feast` share the quick, quiet
import; where something else imported Feast first, nothing changes.
"""

import os
import warnings
from typing import Any
from unittest.mock import patch

import prometheus_client  # noqa: F401 - before Feast, which tells it to keep its values in files


def _unchecked(target: Any = None, **_options: Any) -> Any:  # any class or function, as typeguard takes it
    return target if target is not None else _unchecked


with patch("typeguard.typechecked", _unchecked), patch.dict(os.environ), warnings.catch_warnings():
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

__all__ = ["FeatureStore", "RepoConfig"]
