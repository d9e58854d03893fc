import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from scipy.stats import chi2_contingency, chisquare

from components.artifacts.errors import ConfigError, ContractError
from serving.api.assignment import (
    BUCKETS,
    CANARY,
    FILE,
    STABLE,
    Experiment,
    ExperimentBook,
    Experiments,
    assign,
    bucket_of,
    in_holdout,
    put_experiment,
    read_experiments,
)

USERS = [f"user-{number}" for number in range(20_000)]
SURELY_OFF = 1e-4
"""A p-value under it says that something is wrong with the hash, not with chance: the users are fixed."""


def running(*experiments: Experiment, **rest) -> Experiments:
    return Experiments(experiments=experiments, **rest)


def half(name: str, **rest) -> Experiment:
    return Experiment(name=name, canary_share=0.5, **rest)


def arms(experiments: Experiments, name: str, users=USERS) -> list[str]:
    found = [{one.experiment: one.arm for one in assign(experiments, user, {})} for user in users]
    return [one.get(name, "none") for one in found]


def test_arm_of_a_user_is_written_in_stone():
    assert [bucket_of("arm:ranker", user) for user in ("1", "anna", "Zoë")] == [5862, 6209, 8036]


def test_another_process_assigns_the_same():
    code = "from serving.api.assignment import bucket_of; print([bucket_of('x', str(n)) for n in range(50)])"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == str([bucket_of("x", str(n)) for n in range(50)])


@pytest.mark.parametrize("salt", ["arm:ranker", "arm:ranker-2", "layer:ranking", "holdout"])
def test_buckets_are_uniform(salt):
    counts = np.bincount([bucket_of(salt, user) // 100 for user in USERS], minlength=BUCKETS // 100)
    assert chisquare(counts).pvalue > SURELY_OFF


def test_arms_of_experiments_are_independent_of_each_other_of_layers_and_of_the_holdout():
    experiments = running(
        half("ranker"), half("colour", layer="page", upstream=STABLE), half("font", layer="text", upstream=STABLE)
    )
    answers = [arms(experiments, name) for name in ("ranker", "colour", "font")]
    answers.append([str(bucket_of("holdout", user) < 1_000) for user in USERS])
    answers.append([str(bucket_of("layer:ranking", user) < 5_000) for user in USERS])
    for one, other in itertools.combinations(answers, 2):
        table = [[sum(pair == (a, b) for pair in zip(one, other, strict=True)) for b in set(other)] for a in set(one)]
        assert chi2_contingency(table).pvalue > SURELY_OFF


def test_a_share_that_grows_lets_no_treated_user_go():
    treated: set[str] = set()
    for share in (0.05, 0.25, 0.5, 1.0):
        found = arms(running(Experiment(name="ranker", canary_share=share)), "ranker")
        now = {user for user, arm in zip(USERS, found, strict=True) if arm == CANARY}
        assert treated <= now
        assert len(now) / len(USERS) == pytest.approx(share, abs=0.01)
        treated = now


def test_propensity_is_the_share_of_the_arm():
    experiments = running(Experiment(name="ranker", canary_share=0.25))
    found = [assign(experiments, user, {})[0] for user in USERS[:200]]
    assert {(one.arm, one.propensity) for one in found} == {(CANARY, 0.25), (STABLE, 0.75)}


def test_experiments_of_one_layer_share_no_user_and_together_take_all():
    experiments = running(half("first", end_bucket=3_000), half("second", first_bucket=3_000))
    taken = [{one.experiment for one in assign(experiments, user, {})} for user in USERS]
    assert {len(one) for one in taken} == {1}
    assert sum("first" in one for one in taken) / len(USERS) == pytest.approx(0.3, abs=0.01)


def test_holdout_users_are_in_no_experiment():
    experiments = running(half("ranker"), holdout_share=0.1)
    held = [user for user in USERS if in_holdout(experiments, user)]
    assert len(held) / len(USERS) == pytest.approx(0.1, abs=0.01)
    assert set(arms(experiments, "ranker", held)) == {"none"}


def test_targeting_takes_only_what_it_names():
    experiments = running(half("ranker", targeting={"store_id": ("s1", "s2")}))
    assert len(assign(experiments, "anna", {"store_id": "s2"})) == 1
    assert assign(experiments, "anna", {"store_id": "s3"}) == assign(experiments, "anna", {}) == ()


def test_somebody_without_an_id_is_in_no_experiment():
    assert assign(running(half("ranker")), "", {}) == ()


def test_an_experiment_that_ended_takes_nobody():
    assert assign(running(half("ranker", is_active=False)), "anna", {}) == ()


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        ([half("a"), half("b", first_bucket=9_999)], "both take buckets of layer ranking"),
        ([half("a"), half("a", is_active=False)], "a name stands twice"),
        ([half("a"), half("b", layer="page")], "a request has one answer"),
    ],
)
def test_experiments_that_are_in_each_others_way_are_refused(experiments, message):
    with pytest.raises(ValidationError, match=message):
        running(*experiments)


@pytest.mark.parametrize(
    "wrong", [{"name": "A b"}, {"canary_share": 1.1}, {"first_bucket": 5, "end_bucket": 5}, {"url": "file:///etc"}]
)
def test_an_experiment_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Experiment(**{"name": "ranker"} | wrong)


def test_what_is_put_is_read_and_put_again_changes_nothing(tmp_path):
    put_experiment(tmp_path, half("ranker"))
    put_experiment(tmp_path, half("ranker"))
    assert read_experiments(tmp_path) == running(half("ranker"))
    with pytest.raises(ConfigError, match="both take buckets of layer ranking"):
        put_experiment(tmp_path, half("other"))


def test_book_follows_the_file_and_a_broken_file_assigns_nobody(tmp_path, caplog):
    book = ExperimentBook(tmp_path)
    assert book.current == Experiments()
    put_experiment(tmp_path, half("ranker", url="http://127.0.0.1:9"))
    assert book.refresh()
    assert not book.refresh()
    assert book.addresses() == {CANARY: "http://127.0.0.1:9"}
    (tmp_path / FILE).write_text("experiments: [{name: 'x', colour: red}]")
    assert book.refresh()
    assert book.current == Experiments()
    assert "until then nobody is assigned" in caplog.text


def test_book_that_cannot_be_read_just_now_holds_what_held(tmp_path, caplog):
    """As when a network volume does not answer: an empty list would send every user back to stable."""
    put_experiment(tmp_path, half("ranker"))
    book = ExperimentBook(tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert not book.refresh()
    assert book.current == running(half("ranker"))
    assert "what held holds on" in caplog.text
    (tmp_path / FILE).rmdir()
    assert book.refresh()
    assert book.current == Experiments()


def test_book_asks_again_for_a_change_that_it_could_not_read(tmp_path, monkeypatch, caplog):
    """The file does not change once more when it can be read again: an abort must not be missed."""
    put_experiment(tmp_path, half("ranker"))
    book = ExperimentBook(tmp_path)
    put_experiment(tmp_path, half("ranker", is_active=False))
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", fails_to_read)
        assert not book.refresh()
        assert not book.refresh()
    assert book.current == running(half("ranker"))
    assert caplog.text.count("what held holds on") == 1
    assert book.refresh()
    assert book.current == running(half("ranker", is_active=False))


def fails_to_read(path: Path) -> bytes:
    raise OSError(5, "Input/output error", str(path))


def test_book_that_is_reread_finds_what_its_time_does_not_show(tmp_path):
    put_experiment(tmp_path, half("ranker"))
    book = ExperimentBook(tmp_path)
    before = (tmp_path / FILE).stat()
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace("name: ranker", "name: banker"))
    os.utime(tmp_path / FILE, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not book.refresh()
    assert book.reread()
    assert [one.name for one in book.current.experiments] == ["banker"]
    assert not book.reread()


def test_file_of_a_stranger_is_refused_with_its_place(tmp_path):
    (tmp_path / FILE).write_text(yaml.safe_dump({"format_version": 2}))
    with pytest.raises(ContractError, match="no readable list of experiments"):
        read_experiments(tmp_path)
