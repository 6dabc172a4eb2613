"""Which training subjects steps are fitted on, and what happens where some cannot be measured or a file is there."""

import os
from dataclasses import replace

import numpy as np
import pytest

from sfgkeras.data.nifti import read_image, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.folder.fitting import fit_on_cohort
from sfgkeras.preprocessing.folder.job import hash_inputs
from sfgkeras.preprocessing.folder.manifest import Record
from sfgkeras.preprocessing.folder.runners import SerialRunner, limited_threads
from sfgkeras.preprocessing.foreground import foreground_mask
from sfgkeras.preprocessing.histogram import fit_landmarks
from sfgkeras.preprocessing.landmark_file import read_landmarks

SUBJECTS = ("a", "b", "c")


class Cohort:
    """Jobs of three subjects, and what was said while a step was fitted on them."""

    def __init__(self, job_of, settings=None):
        self.jobs = [job_of(name, "histogram", settings) for name in SUBJECTS]
        self.sentences, self.events = [], []

    def fit(self, training=None, records=None, **options):
        (step,) = self.jobs[0].pipeline.fitted
        return fit_on_cohort(
            step, self.jobs, training, SerialRunner(), records or {}, self.sentences.append,
            lambda *event: self.events.append(event), **options,
        )  # fmt: skip

    def spoil(self, name):
        job = self.jobs[SUBJECTS.index(name)]
        write_image(job.image, np.full((6, 5, 4), 7, np.int16), np.eye(4))
        return job

    def expected(self, names):
        images = [read_image(self.jobs[SUBJECTS.index(name)].image).array for name in names]
        return fit_landmarks([image[foreground_mask(image)] for image in images])


@pytest.fixture
def cohort(job_of):
    return Cohort(job_of)


@pytest.mark.parametrize("training", [("a", "c"), ("b",), None])
def test_landmarks_are_those_of_the_training_subjects_and_kept_beside_the_output(cohort, training):
    found = cohort.fit(training)
    chosen = training or SUBJECTS
    np.testing.assert_allclose(found.fitted.values, cohort.expected(chosen).values)
    assert read_landmarks(found.path)["image"] == found.fitted
    assert [name.partition("@")[0] for name in found.fitted.fitted_on] == list(chosen)
    assert found.path == cohort.jobs[0].folder / "landmarks.json"
    assert found.fitted.preparation == "none"
    assert cohort.events == [
        (0, len(chosen), "", "measured"),
        *((number, len(chosen), name, "measured") for number, name in enumerate(chosen, 1)),
    ]
    warned = [text for text in cohort.sentences if "no training subjects were named" in text]
    assert len(warned) == (training is None)


def test_what_was_fitted_is_read_and_nobody_is_measured_again(cohort):
    first = cohort.fit(("a", "b"))
    cohort.events.clear()
    assert cohort.fit(("a", "b")).fitted == first.fitted
    assert cohort.events == []
    with pytest.raises(DataError, match="these landmarks are stale, fitted with training subjects without c@"):
        cohort.fit(("a", "b", "c"))


def test_subjects_of_the_split_that_are_not_here_are_told_and_none_of_them_is_an_error(cohort):
    cohort.fit(("a", "x", "y"))
    assert "2 training subjects are not in the folder: x, y" in cohort.sentences
    with pytest.raises(ConfigError, match=r"none of 2 training subjects \(x, y\) is in the folder"):
        cohort.fit(("x", "y"))


def test_who_cannot_be_measured_is_left_out_and_told(cohort):
    cohort.spoil("b")
    found = cohort.fit(SUBJECTS)
    assert set(found.failed) == {"b"}
    np.testing.assert_allclose(found.fitted.values, cohort.expected(("a", "c")).values)
    found.path.unlink()
    with pytest.raises(DataError, match=r"(?s)b\.nii\.gz.*\n1 of 3 training subjects cannot be used for the histogram"):
        cohort.fit(SUBJECTS, complete=True)
    assert not found.path.exists()


def test_where_nobody_can_be_measured_there_is_no_fit(cohort):
    for name in SUBJECTS:
        cohort.spoil(name)
    with pytest.raises(DataError, match=r"no landmarks: none of 3 training subjects could be measured; first: .*a\."):
        cohort.fit()


def test_one_that_is_known_to_fail_does_not_make_landmarks_stale_until_it_is_repaired(cohort):
    job = cohort.spoil("b")
    cohort.fit(SUBJECTS)
    failed = Record("b", "failed", input_hash=hash_inputs(job))
    cohort.fit(SUBJECTS, {"b": failed})
    cohort.fit(SUBJECTS, {"b": replace(failed, input_hash="")})  # its worker died and could not tell
    for records in ({}, {"b": replace(failed, status="done")}, {"b": replace(failed, input_hash="other")}):
        with pytest.raises(DataError, match="stale, fitted with training subjects without b@"):
            cohort.fit(SUBJECTS, records)


def test_without_leave_to_fit_a_file_must_be_there_and_its_subjects_need_not(cohort):
    with pytest.raises(DataError, match=r"there are no landmarks; train first, which fits them, or name hist"):
        cohort.fit(fit=False)
    first = cohort.fit(("a",))
    assert cohort.fit(("nobody",), fit=False).fitted == first.fitted
    assert cohort.fit(None, fit=False).path == first.path


def test_a_named_file_is_read_and_held_against_the_subjects_only_where_they_are_named(job_of, tmp_path):
    path = Cohort(job_of).fit(("a",)).path.rename(tmp_path / "named.json")
    named = Cohort(job_of, {"histogram_ref_file": str(path)})
    assert named.fit().path == path
    assert named.events == []
    with pytest.raises(DataError, match=r"named\.json: these landmarks are stale"):
        named.fit(("b",))
    path.unlink()
    with pytest.raises(DataError, match=r"named\.json: there are no landmarks; correct histogram_ref_file"):
        named.fit()


def test_threads_of_processes_started_meanwhile_are_limited_and_the_rest_is_as_before(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with limited_threads(3):
        limited = {os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        assert limited == {"3"}
        assert os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "3"
    assert dict(os.environ) == before
    with pytest.raises(RuntimeError), limited_threads(1):
        raise RuntimeError
    assert dict(os.environ) == before
