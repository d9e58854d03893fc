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

IN_UTC = ("spark.sql.session.timeZone", "UTC")


@contextmanager
def spark_session(setting: str, app: str) -> Iterator[Any]:  # PySpark is optional
    """A session until the block ends; one that was there before, or of the driver that spark-submit started, goes on after it.

    Args:
        setting: The configuration's word that asked for Spark, for errors.
        app: Name that the cluster shows.

    Raises:
        ConfigError: PySpark or Java is missing, or the cluster is not reached.
    """
    session, is_new = _session(setting, app)
    try:
        yield session
    finally:
        if is_new:
            session.stop()


def lasting_session(setting: str, app: str) -> Any:
    """As `spark_session`, but the session lasts as long as the process: a cluster takes seconds to give executors."""
    return _session(setting, app)[0]


def _session(setting: str, app: str) -> tuple[Any, bool]:
    """The process's session, and whether it was made here."""
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(
            f"{setting}: spark needs PySpark, which is not installed. Install it (`make spark`, or pip install "
            "recsys-platform[spark]) and Java 17, or leave the setting out."
        ) from error
    is_first = SparkSession.getActiveSession() is None
    if is_first and SUBMITTED in os.environ and (session := _of_the_driver()):
        return session, False
    is_new = is_first and SUBMITTED not in os.environ
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
    session.conf.set(*IN_UTC)
    return session, is_new


def _of_the_driver() -> Any:
    """A session of its own with the executors that an earlier process of the same driver has asked for; None where none has.

    A driver's JVM has one context. Steps are processes that each find that JVM in their environment: the first one makes the
    context, which outlives it, and the others would be refused a second one.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    SparkContext._ensure_initialized()  # connects to the JVM that spark-submit has started
    gateway = SparkContext._gateway
    made = gateway.jvm.org.apache.spark.sql.classic.SparkSession.getDefaultSession()
    if made.isEmpty() or made.get().sparkContext().isStopped():
        return None
    java = gateway.jvm.JavaSparkContext.fromSparkContext(made.get().sparkContext())
    context = SparkContext(gateway=gateway, jsc=java, conf=SparkConf(_jvm=gateway.jvm, _jconf=java.getConf()))
    session = SparkSession(context, made.get().newSession())
    session.conf.set(*IN_UTC)
    return session
