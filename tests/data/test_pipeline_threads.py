"""Threads of TensorFlow inside Python: whole programs, since what goes wrong is that a program does not end."""

import subprocess
import sys
import textwrap

import pytest

START = """
import gc, sys, threading
import numpy as np
from sfgkeras.data import pipeline_threads
from sfgkeras.data.pipeline import original_errors, training_dataset
from sfgkeras.data.pipeline_threads import Owned
from sfgkeras.data.samplers import UniformSampler
from sfgkeras.data.windows import PreparedSubject, WindowSource

def batches_of(start):
    class Sampler(UniformSampler):
        def start(self, subject, rng):
            start()
            return super().start(subject, rng)

    subject = PreparedSubject("p", np.zeros((8, 8, 8, 1), np.float32), {})
    source = WindowSource([subject], (4, 4, 1), Sampler((4, 4, 1)), None, {})
    return source, training_dataset(source, 1, num_threads=1, prefetch=1)
"""


def run(program, timeout=90):
    """Runs a program after `START`; a program that does not end fails the test."""
    text = textwrap.dedent(START) + textwrap.dedent(program)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=timeout)


def test_a_sampler_that_collects_garbage_does_not_free_the_iterator_that_its_own_thread_serves():
    result = run(
        """
        gc.disable()
        collecting, collected = threading.Event(), threading.Event()

        def collect():
            if collecting.is_set():
                gc.collect()
                collected.set()

        def abandon():
            source, dataset = batches_of(collect)
            batches = iter(Owned(dataset))
            next(batches)
            cycle = [batches]
            cycle.append(cycle)
            return batches_left(batches)

        def batches_left(batches):
            # The thread waits with full buffers; one more batch asked for lets it go on, and collect.
            import weakref
            return weakref.ref(batches), batches._batches

        reference, inner = abandon()
        assert reference() is not None
        collecting.set()
        next(inner)
        del inner
        assert collected.wait(20), "the thread that makes batches waits for itself"
        assert reference() is None
        assert len(pipeline_threads._RETIRED) == 1
        _, others = batches_of(lambda: None)
        others = iter(Owned(others))
        next(others)
        assert not pipeline_threads._RETIRED
        print("done")
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "done\n"


def test_an_error_that_was_caught_does_not_keep_the_iterator_of_its_frames():
    result = run(
        """
        def fail():
            raise OSError("the file is gone")

        def read(source, dataset):
            batches = iter(dataset)
            with original_errors(source):
                next(batches)

        source, dataset = batches_of(fail)
        for _ in range(4):
            try:
                read(source, dataset)
            except OSError as error:
                kept = error
                assert str(error) == "the file is gone"
            assert source.failure is None or source.failure.__traceback__ is None
        print("done")
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "done\n"


@pytest.mark.parametrize("owner", ["", "Owned"])
def test_a_program_ends_although_a_batch_is_never_finished(owner):
    result = run(
        f"""
        pipeline_threads.LONGEST_EXIT = 1.0
        entered, never, is_first = threading.Event(), threading.Event(), [True]

        def wait():
            if is_first:
                is_first.clear()
                return
            entered.set()
            never.wait()

        _, dataset = batches_of(wait)
        batches = iter({owner}(dataset))
        next(batches)
        entered.wait()
        print("done", flush=True)
        """
    )
    assert result.stdout == "done\n"
    assert "it ends without it" in result.stderr
    assert "FATAL" not in result.stderr
