"""The local runner on a small real pipeline of two steps."""

import pytest
from kfp import dsl

from pipelines.local_runner import SilentProgress, StepFailedError, run_package
from pipelines.package import package

IMAGE = "recsys-python:test"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def write_number(number: int, numbers: dsl.Output[dsl.Dataset]) -> bool:
    from pathlib import Path

    print("» writing", number, flush=True)  # noqa: T201 - what the runner shows
    Path(numbers.path).write_text(str(number))
    return number > 1


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def read_number(numbers: dsl.Input[dsl.Dataset], limit: int) -> int:
    from pathlib import Path

    from components.artifacts.errors import ConfigError, GateRefusedError, QuarantineError

    number = int(Path(numbers.path).read_text())
    if limit < 0:
        refusal = {-1: ConfigError, -2: GateRefusedError, -3: QuarantineError}[limit]
        raise refusal(f"limit {limit}: expected 0 or more.")
    if number > limit:
        raise ValueError(f"{number} is over {limit}")
    return number


@dsl.pipeline(name="numbers")
def numbers_pipeline(number: int, limit: int) -> bool:
    written = write_number(number=number)
    with dsl.If(written.outputs["Output"] == True):  # noqa: E712 - kfp compiles this comparison
        read_number(numbers=written.outputs["numbers"], limit=limit).set_caching_options(False)
    return written.outputs["Output"]


class Recorder(SilentProgress):
    def __init__(self):
        self.events = []

    def started(self, step):
        self.events.append(("started", step))

    def said(self, step, line):
        self.events.append(("said", step, line))

    def finished(self, step, seconds):
        self.events.append(("finished", step))


def run(home, name="r", *, number=2, limit=9, progress=None, caching=True):
    arguments = {"number": number, "limit": limit}
    text = package(numbers_pipeline, IMAGE)
    return run_package(text, arguments, home, name, progress=progress or SilentProgress(), caching=caching)


def test_run_tells_its_steps_their_words_and_its_outputs(tmp_path):
    recorder = Recorder()
    result = run(tmp_path, progress=recorder)
    assert recorder.events == [
        ("started", "write-number"),
        ("said", "write-number", "writing 2"),
        ("finished", "write-number"),
        ("started", "read-number"),
        ("finished", "read-number"),
    ]
    assert result.outputs == {"Output": True}
    assert list(result.seconds) == ["write-number", "read-number"]


def test_second_run_takes_unchanged_steps_from_the_cache(tmp_path):
    run(tmp_path)
    again = run(tmp_path)
    assert list(again.seconds) == ["read-number"]
    assert again.cached == ("write-number",)


def test_condition_that_is_false_skips_its_steps(tmp_path):
    assert list(run(tmp_path, number=1).seconds) == ["write-number"]


def test_failed_step_says_which_why_and_where_its_log_lies(tmp_path):
    with pytest.raises(
        StepFailedError, match=r"step read-number failed: ValueError: 2 is over 1\. Its log: .*log\.txt"
    ) as failed:
        run(tmp_path, limit=1)
    assert failed.value.exit_code == 1
    assert "Traceback" in (tmp_path / "runs" / "r" / "log.txt").read_text()


@pytest.mark.parametrize(("limit", "exit_code"), [(-1, 2), (-2, 3), (-3, 4)])
def test_refusal_of_a_step_is_told_in_its_own_words_and_has_its_own_exit_code(tmp_path, limit, exit_code):
    said = rf"^step read-number failed: limit {limit}: expected 0 or more\. Its log: .*log\.txt$"
    with pytest.raises(StepFailedError, match=said) as refused:
        run(tmp_path, limit=limit)
    assert refused.value.exit_code == exit_code
