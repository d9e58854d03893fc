"""Where the control plane's programs are found."""

from tests.cluster.control_plane import programs


def test_newest_release_is_found_beside_the_volumes_of_an_interrupted_test(tmp_path):
    for name in ("v1.9.0", "v1.36.3", "volumes"):
        (tmp_path / name).mkdir()
    assert programs(tmp_path).name == "v1.36.3"
