"""A session of Spark: the executors of a cluster, or of this machine."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.artifacts.errors import ConfigError

MASTER = "RECSYS_SPARK_MASTER"
"""Variable with the address of the cluster; a process that spark-submit started has it already."""
HERE = "local[*]"
SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""What spark-submit leaves in the environment of its driver."""


@contextmanager
def spark_session(setting: str, app: str) -> Iterator[Any]:  # PySpark is optional
    """A session until the block ends; that of spark-submit goes on after it.

    Args:
        setting: The configuration's word that asked for Spark, for errors.
        app: Name that the cluster shows.

    Raises:
        ConfigError: PySpark or Java is missing, or the cluster is not reached.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(
            f"{setting}: spark needs PySpark, which is not installed. Install it (`make spark`, or pip install "
            "recsys-platform[spark]) and Java 17, or leave the setting out."
        ) from error
    builder = SparkSession.builder.appName(app).config("spark.ui.showConsoleProgress", "false")
    if SUBMITTED not in os.environ:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = builder.master(os.environ.get(MASTER) or HERE)
    try:
        session = builder.getOrCreate()
    except PySparkException as error:
        raise ConfigError(
            f"{setting}: Spark did not start ({error}). It needs Java 17 (JAVA_HOME), and {MASTER} names the cluster."
        ) from error
    try:
        yield session
    finally:
        if SUBMITTED not in os.environ:
            session.stop()
