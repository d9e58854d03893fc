import subprocess
import sys

from benchmarks.cost.usage import UsageMeter, _cpu_seconds, _descendants, _memory_of
from pipelines.local_runner import SilentProgress

HOLDS_MEMORY = "held = bytearray(b'x' * 200 * 2**20); print('held', flush=True); input()"
BURNS_CPU = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"


def test_memory_counts_what_a_child_of_a_child_holds():
    others = _memory_of(_descendants())  # of other tests' servers
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS_MEMORY!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        seen = _memory_of(_descendants()) - others
        process.communicate("\n")
    assert 200 * 2**20 <= seen < 300 * 2**20


def test_cpu_seconds_are_those_of_ended_steps_of_a_run_that_is_on():
    worker = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURNS_CPU!r}]); "
        "print('done', flush=True); input()"
    )
    before = _cpu_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        burnt = _cpu_seconds() - before
        process.communicate("\n")
    assert 0.35 <= burnt < 3.0  # the kernel counts in ticks and may leave the last one out


def test_peak_belongs_to_the_step_that_was_running():
    held = iter([100, 700, 300, 400])
    meter = UsageMeter(SilentProgress(), memory=lambda: next(held))
    for step, looks in (("ingest-events", 3), ("compute-features", 1)):
        meter.started(step)
        for _ in range(looks):
            meter.look()
        meter.finished(step, 2.0)
    assert {name: usage.peak_bytes for name, usage in meter.steps.items()} == {
        "ingest-events": 700,
        "compute-features": 400,
    }
    assert meter.steps["ingest-events"].seconds == 2.0
