"""What a steady load says of the server, beside what the queue and the machine do on their own."""

import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.serving.client import Load
from benchmarks.serving.measure import _between, _queue_p99
from benchmarks.serving.stalls import Stalls, watched


def test_queue_of_a_constant_service_is_lindleys():
    arrivals = np.array([0.0, 0.001, 0.002, 1.0])
    load = Load(1.0, np.zeros(4), 0, arrivals)
    waits = [0.010, 0.019, 0.028, 0.010]
    assert _queue_p99(load, 0.010) == pytest.approx(np.quantile(waits, 0.99) * 1e3)


def test_seconds_with_a_stall_and_the_one_behind_are_left_out():
    arrivals = 100 + np.array([0.0, 0.5, 1.5, 2.5, 3.5])
    load = Load(4.0, np.array([0.001, 0.001, 0.2, 0.1, 0.002]), 0, arrivals)
    assert _between(load, Stalls(True, [(101.4, 101.6)])) == pytest.approx(2.0, rel=0.02)
    assert _between(load, Stalls(True, [(100.0, 104.0)])) is None


def test_a_core_that_does_not_run_is_seen():
    """Another process that goes before everything else, and before the watcher, is as good as a host that takes the core."""
    busy = "import os,time; os.sched_setaffinity(0,{0}); os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(90))\n"
    busy += "end=time.perf_counter()+0.15\nwhile time.perf_counter()<end: pass"
    with watched() as stalls:
        time.sleep(1)
        is_permitted = (
            subprocess.run([sys.executable, "-c", busy], stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
        time.sleep(0.3)
    assert stalls.is_known == is_permitted
    assert not stalls.is_known or any(stop - start > 0.1 for start, stop in stalls.spans)
