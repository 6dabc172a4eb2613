"""Inference over several subjects: what is done stays done, and a mistake is told as what it is."""

import shutil
import threading

import numpy as np
import pytest

from sfgkeras.applications.inference import results as inference
from sfgkeras.applications.inference.results import infer_volumes, result_paths
from sfgkeras.applications.records.files import Provenance
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.data.nifti import read_image
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter


class Copies:
    """A network's stand-in: the CT is the image, organs are where it is bright.

    Args:
        fails_at: The call that fails.
        then: Called with the number of every call.
    """

    def __init__(self, fails_at=None, then=lambda call: None):
        self.calls = 0
        self._fails_at = fails_at
        self._then = then

    def of(self, subject_id):
        return self

    def slabs(self, image):
        call, self.calls = self.calls, self.calls + 1
        if call == self._fails_at:
            raise RuntimeError("out of memory")
        self._then(call)
        for z in range(image.shape[2]):
            region = (slice(None), slice(None), slice(z, z + 1))
            values = np.asarray(image[region])
            yield "ct", region, values
            yield "organs", region, np.concatenate([-values, values, *[np.full_like(values, -9)] * 4], axis=-1)


@pytest.fixture
def run(make_config, cohort, tmp_path):
    """A session over a copy of the cohort, and a function that infers it and returns which subjects are done."""
    folder = tmp_path / "images"
    shutil.copytree(cohort, folder)
    sources = {f"{name}.path_to_search": folder for name in ("MR", "CT", "ORGANS")}
    config = make_config({**sources, "NETWORK.normalisation": "no", "NETWORK.whitening": "yes"})
    config.inference.save_seg_dir.mkdir(parents=True)
    session = open_session(config, SilentReporter(), training=False)
    subjects = list(session.cohort.subjects.values())

    def infer(predictor):
        infer_volumes(session, predictor, subjects, provenance(), SilentReporter())

    def provenance():
        return Provenance(config.inference.save_seg_dir, "test")

    def done():
        known = provenance()
        return [known.is_done(result_paths(session, subject)) for subject in subjects]

    infer.done, infer.session, infer.subjects = done, session, subjects
    return infer


def test_what_was_done_is_not_done_again(run):
    first = Copies()
    run(first)
    assert first.calls == 4
    assert run.done() == [True] * 4
    result_paths(run.session, run.subjects[2])[0].unlink()
    again = Copies()
    run(again)
    assert again.calls == 1
    assert run.done() == [True] * 4


def test_an_image_that_cannot_be_read_is_named_after_all_before_it_were_written(run):
    path = run.subjects[2].images["MR"].path
    path.write_bytes(path.read_bytes()[:-2000])
    predictor = Copies()
    with pytest.raises(DataError, match=f"{path}: .*truncated"):
        run(predictor)
    assert predictor.calls == 2
    assert run.done() == [True, True, False, False]


def test_a_failing_network_leaves_what_was_predicted_before(run):
    with pytest.raises(RuntimeError, match="out of memory"):
        run(Copies(fails_at=2))
    assert run.done() == [True, True, False, False]


def test_a_result_that_cannot_be_written_ends_the_run_and_is_not_counted(run, monkeypatch):
    write, blocked = inference.write_image, str(result_paths(run.session, run.subjects[1])[1])

    def fail(path, *arguments):
        if str(path) == blocked:
            raise DataError(f"{path}: cannot be written, the disk is full")
        write(path, *arguments)

    monkeypatch.setattr(inference, "write_image", fail)
    predictor = Copies()
    with pytest.raises(DataError, match=f"{blocked}: cannot be written"):
        run(predictor)
    assert run.done() == [True, False, False, False]
    # It was noticed when the next subject was to be written.
    assert predictor.calls <= 3
    monkeypatch.undo()
    run(Copies())
    assert run.done() == [True] * 4


def test_reading_network_and_writing_overlap(run, monkeypatch):
    """While subject 1 is predicted, subject 2 is read and subject 0 written: each waits for the others to happen."""
    write, read = inference.write_image, inference._read
    was_read, is_predicted, was_written = threading.Event(), threading.Event(), threading.Event()

    def reading(session, subject):
        found = read(session, subject)
        if subject is run.subjects[2]:
            was_read.set()
        return found

    def writing(path, *arguments):
        if path.name.startswith(run.subjects[0].subject_id):
            assert is_predicted.wait(20)
        write(path, *arguments)
        if path in result_paths(run.session, run.subjects[0])[-1:]:
            was_written.set()

    def then(call):
        if call == 1:
            is_predicted.set()
            assert was_read.wait(20)
            assert was_written.wait(20)

    monkeypatch.setattr(inference, "_read", reading)
    monkeypatch.setattr(inference, "write_image", writing)
    run(Copies(then=then))
    assert run.done() == [True] * 4


def test_a_large_subject_is_written_before_the_next_is_read(run, monkeypatch):
    monkeypatch.setattr(inference, "LARGE_VOLUME", 1)
    read = inference._read
    seen = []

    def reading(session, subject):
        seen.append(run.done())
        return read(session, subject)

    monkeypatch.setattr(inference, "_read", reading)
    run(Copies())
    assert seen == [[True] * n + [False] * (4 - n) for n in range(4)]


def test_results_are_the_same_in_memory_and_on_disk(run, monkeypatch):
    class OnDisk(inference.Scratch):
        def __init__(self, folder):
            super().__init__(folder, in_memory=0)

    def results():
        return [read_image(path).array for subject in run.subjects for path in result_paths(run.session, subject)]

    run(Copies())
    expected = results()
    for subject in run.subjects:
        for path in result_paths(run.session, subject):
            path.unlink()
    monkeypatch.setattr(inference, "Scratch", OnDisk)
    run(Copies())
    for found, wanted in zip(results(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert np.ptp(found) > 0
