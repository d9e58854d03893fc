"""What several tests share: one real training run on the toy world, the folder that it left, and real servers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import pytest

from pipelines.config import PipelineConfig, load_config
from pipelines.local_runner import SilentProgress
from pipelines.run import TrainingRun, run_training
from tests.servers import KafkaServer, PostgresServer, RedisServer, own_folder
from tests.toy_world import toy_config


@dataclass(frozen=True)
class Trained:
    """A state folder with a champion, and the run that made it."""

    home: Path
    config_path: Path
    config: PipelineConfig
    run: TrainingRun


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """The real pipeline, with kfp.local, on the toy world; about a minute, once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    path = toy_config(folder / "shop")
    config = load_config(str(path))
    home = folder / "home"
    return Trained(home, path, config, run_training(config, home, progress=SilentProgress()))


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A running Redis, shared by all tests of a process: whoever stops it starts it again."""
    server = RedisServer(own_folder())
    server.start()
    yield server
    server.stop()
    rmtree(server.folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL with an empty database."""
    server = PostgresServer(own_folder())
    server.start()
    yield server
    server.stop()
    rmtree(server.folder)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A running Kafka without topics, shared by all tests of a process: whoever stops it starts it again."""
    server = KafkaServer(own_folder())
    server.start()
    yield server
    server.stop()
    rmtree(server.folder)


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """URL of an empty database of the test's own."""
    return postgres.new_database()
