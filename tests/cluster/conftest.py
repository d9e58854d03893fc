"""Tests against the cluster that KUBECONFIG names: `make test-cluster`, never part of `make test`."""

import os
from collections.abc import Iterator

import pytest

from components.artifacts.registry import CHAMPION, open_registry
from tests.cluster.definitions import install_missing
from tests.cluster.kubectl import ClusterRun, kubectl
from tests.cluster.shops import CHOSEN, Shop, Versions, made
from tests.serving.bundles import MODEL, own_home, publish_other

MARKER = "cluster"
RUN = pytest.StashKey[ClusterRun]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Nothing is touched by accident: only whoever asks for these tests by name, and names a cluster, runs them."""
    is_asked = config.option.markexpr == MARKER and os.environ.get("KUBECONFIG")
    for item in items:
        if item.get_closest_marker(MARKER) and not is_asked:
            item.add_marker(
                pytest.mark.skip(reason="changes a cluster, runs only if asked for: KUBECONFIG=FILE make test-cluster")
            )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the run did to the cluster."""
    run = config.stash.get(RUN, None)
    if run is not None:
        terminalreporter.section("cluster")
        for line in run.report():
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def cluster_run(pytestconfig) -> Iterator[ClusterRun]:
    """What the tests make on the cluster, with the kinds that it lacks; all of it is removed in the end."""
    kubectl("version")  # says so at once where no API server answers
    run = pytestconfig.stash[RUN] = ClusterRun()
    try:
        install_missing(run)
        yield run
    finally:
        run.remove_all()


@pytest.fixture(params=sorted(CHOSEN))
def shop(request, cluster_run, tmp_path) -> Iterator[Shop]:
    """In each mode of KServe."""
    yield from made(cluster_run, request.param, tmp_path)


@pytest.fixture
def standard(cluster_run, tmp_path) -> Iterator[Shop]:
    """In Standard mode."""
    yield from made(cluster_run, "Standard", tmp_path)


@pytest.fixture
def versions(tmp_path) -> Versions:
    """Two ids; nothing but a promotion looks for the bundles."""
    return Versions(tmp_path / "home", "b-old", "b-new")


@pytest.fixture
def trained_versions(trained, tmp_path) -> Versions:
    """Two bundles of a registry."""
    home = own_home(trained, tmp_path)
    stable = open_registry(home).aliases(MODEL)[CHAMPION]
    return Versions(home, stable, publish_other(trained, home, tmp_path / "other"))
