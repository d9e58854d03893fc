import socket

import pytest

from components.artifacts.errors import ConfigError
from serving.arguments import read_arguments
from serving.settings import PREFIX, Settings, settings_from_environment


def test_variables_are_read_and_options_win_over_them(monkeypatch):
    monkeypatch.setenv("RECSYS_HTTP_PORT", "9000")
    monkeypatch.setenv("RECSYS_VARIANT", "canary")
    settings = settings_from_environment({"http_port": 9001})
    assert (settings.http_port, settings.variant) == (9001, "canary")


def test_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("RECSYS_HTTP_PORT", "eighty")
    with pytest.raises(ConfigError, match=r"RECSYS_HTTP_PORT: .*valid integer"):
        settings_from_environment()


def test_loopback_is_the_default():
    assert Settings.model_fields["host"].default == "127.0.0.1"


def test_every_setting_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())


def test_exploration_that_nobody_logs_is_refused():
    with pytest.raises(ConfigError, match=r"RECSYS_EXPLORATION_SHARE: .*not logged costs and teaches nothing"):
        settings_from_environment({"exploration_share": 0.1, "log_impressions": False})


@pytest.mark.parametrize(
    "wrong", [{"exploration_share": 1.1}, {"exploration_temperature": 0}, {"exploration_depth": 51}]
)
def test_exploration_out_of_bounds_is_named(wrong):
    with pytest.raises(ConfigError, match=f"RECSYS_{next(iter(wrong)).upper()}: Input should be"):
        settings_from_environment(wrong)


def test_help_of_the_container_names_every_variable_and_another_argument_is_refused():
    text = read_arguments(["--help"], "python -m serving", Settings, PREFIX)
    assert text is not None
    assert all(f"RECSYS_{name.upper()} " in text for name in Settings.model_fields)
    assert read_arguments([], "python -m serving", Settings, PREFIX) is None
    with pytest.raises(ConfigError, match="--model_dir=/mnt/models: it takes no arguments"):
        read_arguments(["--model_dir=/mnt/models"], "python -m serving", Settings, PREFIX)


def test_log_files_carry_the_hosts_name_only_where_the_state_folder_is_shared():
    assert settings_from_environment().host_name == ""
    assert settings_from_environment({"shared_home": True}).host_name == socket.gethostname()
