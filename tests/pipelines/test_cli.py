"""The command line as a user meets it: real processes, exit codes, messages."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import pytest

from feature_repo.schema import VIEWS
from tests.serving.bundles import own_home

RECSYS = str(Path(sys.executable).parent / "recsys")


def recsys(*arguments: str, home: Path, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RECSYS_HOME": str(home), "COLUMNS": "200"} | variables
    done = subprocess.run([RECSYS, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_help_says_where_to_start(tmp_path):
    assert "Start here" in recsys("--help", home=tmp_path).stdout


def test_data_check_prints_what_is_there_and_json_on_request(trained, tmp_path):
    assert "Data readiness: usable" in recsys("data", "check", str(trained.config_path), home=tmp_path).stdout
    report = json.loads(recsys("data", "check", str(trained.config_path), "--json", home=tmp_path).stdout)
    assert report["findings"]


def test_a_date_that_the_data_do_not_cover_is_told_before_and_refused_by_the_second_step(trained, tmp_path):
    checked = recsys("data", "check", str(trained.config_path), "--set", "as_of=2031-01-01", home=tmp_path, status=4)
    assert "Choose as_of from" in " ".join(checked.stdout.replace("│", " ").split())
    run = recsys("train", "run", str(trained.config_path), "--as-of", "2031-01-01", home=tmp_path, status=2)
    assert "step compute-features failed" in run.stderr
    assert "Choose as_of from" in run.stderr


def test_unknown_configuration_names_the_nearest(tmp_path):
    done = recsys("data", "check", "complete_jorney", home=tmp_path, status=2)
    assert "Did you mean complete_journey?" in done.stderr


def test_wrong_value_of_a_configuration_is_named(trained, tmp_path):
    done = recsys("train", "config", str(trained.config_path), "--set", "tuning.trials=-1", home=tmp_path, status=2)
    assert "tuning.trials" in done.stderr
    assert "greater than or equal to 0" in done.stderr


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("tuning.trails=4", "tuning.trails: there is no such key, did you mean trials?"),
        ("gate.min_querys=4", "gate.min_querys: there is no such key, did you mean min_queries?"),
        ("seed=[1,2", "error --set seed=[1,2: not YAML (while parsing a flow sequence"),
        ("as_of=2017-13-40", "error --set as_of=2017-13-40: not YAML (month must be in 1..12"),
        ("dataset.interactions.columns.userid=a", "no canonical column 'userid', did you mean user_id?"),
    ],
)
def test_a_setting_that_is_none_is_told_in_a_line(tmp_path, pair, said):
    shop = tmp_path / "shop.yaml"
    columns = "{user_id: who, item_id: what, event_timestamp: when}"
    shop.write_text(
        f"""dataset:
  adapter: tables
  name: shop
  label_types: [click]
  interactions: {{files: events.csv, columns: {columns}, types: {{constant: {{type: click}}}}}}
as_of: 2024-01-01
"""
    )
    done = recsys("train", "config", str(shop), "--set", pair, home=tmp_path, status=2)
    assert said in done.stderr
    assert "?." not in done.stderr
    assert "files" not in done.stderr


def test_configuration_that_is_no_text_is_a_clear_error(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: Käse".encode("latin-1"))
    done = recsys("train", "config", str(tmp_path / "latin.yaml"), home=tmp_path, status=2)
    assert "cannot be read" in done.stderr
    assert "Save the file as UTF-8" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "home").write_text("a file")
    said = f"error {tmp_path}/home/feast: Not a directory. See that the folder is there and may be written."
    assert recsys("features", "apply", home=tmp_path / "home", status=1).stderr.strip() == said
    missing = str(tmp_path / "missing" / "train.yaml")
    assert f"error {missing}: No such file" in recsys("train", "compile", "-o", missing, home=tmp_path, status=1).stderr


def _hear() -> None:
    """Shells have what they start in the background ignore the interrupt, and children inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupted_command_says_so(tmp_path):
    """Ctrl-C reaches the whole group of processes, the steps below the command as well."""
    os.mkfifo(tmp_path / "config.yaml")  # read for as long as nobody writes
    command = [RECSYS, "train", "config", str(tmp_path / "config.yaml")]
    with (
        subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_hear
        ) as process,
        (tmp_path / "config.yaml").open("w"),  # goes on once it is read
    ):
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=120)[1] == "stopped\n"
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("model list", "no bundle of recommender yet: `recsys train run` makes one"),
        ("model history", "no alias of recommender was moved yet: `recsys train run` makes the first champion"),
        ("keys list", "no key yet: the door answers on this machine alone; `recsys keys create` makes one"),
        ("rollout status", "no rollout yet; `recsys rollout start` makes one"),
        ("experiment list", "the door knows no experiment yet; `recsys rollout start` makes one"),
        ("monitor history", "no window of recommender was judged yet: `recsys monitor run` judges one"),
        ("monitor decisions", "nothing was decided for recommender yet"),
        ("console", "no model has a bundle yet: `recsys train run` makes one"),
    ],
)
def test_a_list_without_a_row_says_so_and_what_makes_one(tmp_path, command, said):
    assert recsys(*command.split(), home=tmp_path).stdout.splitlines()[0] == said


def test_plan_of_what_is_no_share_of_users_wants_the_deviation(tmp_path):
    plan = ["experiment", "plan", "--baseline", "2", "--lift", "0.1", "--users-per-day", "1000"]
    assert "--baseline 2: expected a share of users between 0 and 1" in recsys(*plan, home=tmp_path, status=2).stderr
    assert "users of both arms" in recsys(*plan, "--deviation", "5", home=tmp_path).stdout


def test_brackets_of_a_message_are_no_markup(tmp_path):
    assert "shop[a].yaml: no such file" in recsys("data", "check", "shop[a].yaml", home=tmp_path, status=2).stderr


def test_names_of_features_are_whole_where_they_are_piped():
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # readline sets it by itself
    done = subprocess.run([RECSYS, "features", "list"], capture_output=True, text=True, check=True, env=environment)
    assert {feature.name for spec in VIEWS for feature in spec.features} <= set(done.stdout.split())


def test_schema_of_a_record_is_printed_and_a_stream_without_a_broker_names_the_variable(tmp_path):
    assert json.loads(recsys("stream", "schema", home=tmp_path).stdout)["required"][:2] == ["event_id", "user_id"]
    assert (
        "RECSYS_KAFKA_BOOTSTRAP_SERVERS: Field required" in recsys("stream", "consume", home=tmp_path, status=2).stderr
    )


def test_models_are_listed_shown_and_compared(trained):
    bundle_id = trained.run.bundle_id
    assert bundle_id in recsys("model", "list", home=trained.home).stdout
    shown = json.loads(recsys("model", "show", home=trained.home).stdout)
    assert shown["manifest"]["bundle_id"] == bundle_id
    assert "two_stage ndcg_at_10" in recsys("model", "compare", bundle_id, "champion", home=trained.home).stdout
    assert "first bundle that passed the gate" in recsys("model", "history", home=trained.home).stdout


def test_model_that_does_not_exist_is_a_clear_error(trained):
    assert "no version 'b-nope'" in recsys("model", "promote", "b-nope", home=trained.home, status=2).stderr


def test_rollback_without_an_earlier_champion_is_a_clear_error(trained):
    assert "no earlier champion" in recsys("model", "rollback", home=trained.home, status=2).stderr


def test_gate_that_refuses_is_exit_code_3(trained):
    done = recsys(
        "train", "run", str(trained.config_path), "--set", "gate.min_queries=100000", home=trained.home, status=3
    )
    assert "the gate refused bundle" in done.stderr


def test_server_without_a_champion_says_how_to_get_one(tmp_path):
    assert "Train one with `recsys train run`" in recsys("serve", home=tmp_path, status=2).stderr


def test_features_are_computed_registered_and_materialised(trained, tmp_path):
    recsys("features", "compute", "--as-of", "2024-04-08", str(trained.config_path), home=tmp_path)
    assert "user_history" in recsys("features", "materialize", "--as-of", "2024-04-08", home=tmp_path).stdout
    assert "user_item_overdue_rate" in recsys("features", "list", home=tmp_path).stdout


@pytest.mark.parametrize("day", ["2024-13-01", "soon"])
def test_date_that_is_none_is_refused(tmp_path, day):
    assert "is not a date" in recsys("features", "materialize", "--as-of", day, home=tmp_path, status=2).stderr


def test_job_of_every_day_names_no_date(trained, tmp_path):
    today = datetime.now(UTC).date()
    copytree(trained.home / "registry", tmp_path / "registry")
    recsys("features", "compute", "--as-of", "2024-04-08", str(trained.config_path), home=tmp_path)
    assert "as of 20240408" in recsys("features", "materialize", home=tmp_path).stdout
    recsys("monitor", "run", "--no-retrain", str(trained.config_path), home=tmp_path, status=4)
    [report] = (tmp_path / "monitoring" / "reports").iterdir()
    assert report.name.startswith(f"{today - timedelta(days=7):%Y%m%d}")
    [metrics] = (tmp_path / "monitoring" / "metrics").glob("*.prom")
    assert "recsys_monitor_last_run_timestamp_seconds" in metrics.read_text()


def test_console_is_written_as_a_page_and_a_user_as_another(trained, tmp_path):
    home = own_home(trained, tmp_path)
    recsys("features", "materialize", "--as-of", "2024-04-15", home=home)
    assert "recommender: INSUFFICIENT" in recsys("console", home=home).stdout
    assert "<title>Recommender console</title>" in (home / "console.html").read_text()
    recsys("console", "--user", "u2", "--now", "2024-04-16", home=home)
    assert "Known to the feature store" in (home / "console-user-u2.html").read_text()
    assert "<title>Recommender console</title>" in (home / "console.html").read_text()  # the operator's stays
