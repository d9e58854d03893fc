"""Where the platform keeps its state, and how a step speaks while it runs."""

import logging
import os
import sys
from pathlib import Path

HOME_VARIABLE = "RECSYS_HOME"
DEFAULT_HOME = ".recsys"
PROGRESS_MARK = "» "
"""Starts each line of a step that a person should see; the local runner shows these lines and files the others."""

IMAGE = "recsys-python:placeholder"
"""Image of every step in the source, replaced by a pinned one in the package. kfp.local wants `python` in the name."""


def recsys_home() -> Path:
    """The state folder, absolute: $RECSYS_HOME, else `.recsys` here. Feast's SQLite registry needs it absolute."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).absolute()


def start_step() -> Path:
    """Send progress to stdout, where Kubeflow and the local runner read it; return the state folder."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(PROGRESS_MARK + "%(message)s"))
    for package in ("components", "feature_repo", "monitoring"):
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return recsys_home()
