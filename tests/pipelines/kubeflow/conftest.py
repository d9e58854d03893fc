"""A running endpoint, one for each file of tests."""

import pytest

from pipelines.kubeflow.endpoint import down
from pipelines.server_process import free_ports
from tests.pipelines.kubeflow.clients import start_endpoint


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("kfp")


@pytest.fixture(scope="module")
def endpoint(home):
    yield start_endpoint(home, free_ports(1)[0])
    down(home)
