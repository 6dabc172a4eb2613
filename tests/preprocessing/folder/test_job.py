"""One subject's work: what makes it another job, when it is done already, and how it may fail."""

import json
import os
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from sfgkeras.data.nifti import read_image
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.preprocessing import table
from sfgkeras.preprocessing.fitted import FittedValues
from sfgkeras.preprocessing.folder import job as module
from sfgkeras.preprocessing.folder.job import failed_result, hash_inputs, run_job, skip_job
from sfgkeras.preprocessing.foreground import foreground_mask
from sfgkeras.preprocessing.histogram import foreground_percentiles
from sfgkeras.preprocessing.whitening import whiten

from .conftest import write_small


@pytest.fixture
def done(job_of):
    job = job_of()
    return replace(job, recorded=run_job(job).record)


def test_the_hash_of_the_settings_is_of_steps_settings_and_what_was_fitted(job_of):
    job = job_of()
    same = job.settings_hash()
    assert job_of("other").settings_hash() == same, "whoever the subject is"
    others = [
        job_of(steps="reorient, whiten"),
        job_of(settings={"whiten_foreground": "otsu"}),
        replace(job, fitted={"histogram": FittedValues({"a": 1.0})}),
        replace(job, fitted={"histogram": FittedValues({"a": 2.0})}),
    ]
    assert len({same, *(each.settings_hash() for each in others)}) == 5
    remembered = FittedValues({"a": 1.0}, modality="T2", fitted_on=("x",))
    assert replace(job, fitted={"histogram": remembered}).settings_hash() == others[2].settings_hash(), "by value alone"


def test_a_newer_version_does_everything_anew(job_of, monkeypatch):
    before = job_of().settings_hash()
    monkeypatch.setattr(module, "__version__", "99.0")
    assert job_of().settings_hash() != before


def test_the_hash_of_the_inputs_is_of_their_contents_and_not_of_their_names(job_of, tmp_path):
    job = job_of()
    before = hash_inputs(job)
    moved = job.image.with_name("renamed.nii.gz")
    job.image.rename(moved)
    assert hash_inputs(replace(job, image=moved)) == before
    label_map = write_small(tmp_path / "l.nii.gz", 5)
    with_labels = hash_inputs(replace(job, image=moved, labels={"labels": label_map}))
    by_another_reader = hash_inputs(replace(job, image=moved, loader="simpleitk"))
    write_small(moved, 99)
    assert len({before, with_labels, by_another_reader, hash_inputs(replace(job, image=moved))}) == 4


def test_files_of_a_step_are_inputs_but_for_what_it_was_fitted_to(job_of, tmp_path):
    """Landmarks belong to the cohort, and are in the hash of the settings by value."""
    like = write_small(tmp_path / "like.nii.gz", 3)
    job = job_of(steps="resample_like", settings={"resample_like_reference": str(like)})
    before = hash_inputs(job)
    write_small(like, 4)
    assert hash_inputs(job) != before
    plain = hash_inputs(job_of(steps="histogram"))
    assert hash_inputs(job_of(steps="histogram", settings={"histogram_ref_file": str(tmp_path / "no.json")})) == plain


def test_a_job_writes_what_its_steps_make_and_says_so(job_of):
    job = job_of()
    result = run_job(job)
    record = result.record
    expected = whiten(read_image(job.image).array)
    np.testing.assert_allclose(read_image(job.folder / "s1.nii.gz").array, expected, atol=1e-6)
    assert (record.status, record.output, record.input) == ("done", "s1.nii.gz", str(job.image))
    assert (record.input_hash, record.settings_hash) == (hash_inputs(job), job.settings_hash())
    told = json.loads((job.folder / "provenance" / "s1.json").read_text())
    assert told["input_sha256"] == file_fingerprint(job.image)
    assert told["outputs"] == {"s1.nii.gz": file_fingerprint(job.folder / "s1.nii.gz")}
    assert [step["step"] for step in told["steps"]] == ["whiten"]
    assert told["before"]["shape"] == told["after"]["shape"] == [6, 5, 4]
    assert told["before"]["spacing"] == [2, 2, 3]
    np.testing.assert_allclose(told["after"]["range"], [expected.min(), expected.max()], rtol=1e-5)
    assert set(told["seconds"]) == {"whiten", "total"}
    assert set(told["software"]) >= {"python", "sfgkeras", "numpy", "nibabel"}
    assert not (job.folder / "pictures").exists()


def test_a_picture_is_drawn_where_it_is_asked_for(job_of):
    job = job_of(picture=True)
    assert run_job(job).record.status == "done"
    assert (job.folder / "pictures" / "s1.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_done_and_unchanged_is_skipped(done):
    for result in (skip_job(done), run_job(done)):
        assert result.record == replace(done.recorded, status="skipped")


@pytest.mark.parametrize(
    "change",
    [
        lambda job: (job.folder / job.output).write_bytes(b"other"),
        lambda job: (job.folder / job.output).unlink(),
        lambda job: (job.folder / "provenance" / "s1.json").unlink(),
        lambda job: (job.folder / "provenance" / "s1.json").write_text("[]"),
        lambda job: (job.folder / "provenance" / "s1.json").write_text('{"outputs": {}}'),
        lambda job: write_small(job.image, 77),
    ],
)
def test_a_changed_input_or_result_is_done_again(done, change):
    change(done)
    assert skip_job(done) is None
    assert run_job(done).record.status == "done"
    np.testing.assert_allclose(
        read_image(done.folder / done.output).array, whiten(read_image(done.image).array), atol=1e-6
    )


def test_what_was_never_done_failed_or_done_with_other_settings_is_not_skipped(done, job_of):
    assert skip_job(replace(done, recorded=None)) is None
    assert skip_job(replace(done, recorded=replace(done.recorded, status="failed"))) is None
    other = job_of(steps="reorient")
    assert skip_job(replace(other, recorded=done.recorded)) is None
    assert run_job(replace(done, recorded=replace(done.recorded, output_hash="0"))).record.status == "done"


def test_a_missing_image_is_left_to_the_job_to_report(done):
    done.image.unlink()
    assert skip_job(done) is None
    record = run_job(done).record
    assert record.status == "failed"
    assert "s1.nii.gz" in record.message


@pytest.mark.parametrize(
    ("error", "message", "has_traceback"),
    [
        (MemoryError(), "memory is exhausted; use fewer workers", False),
        (RuntimeError("first line\nsecond"), "unexpected RuntimeError: first line", True),
        (KeyError(), "unexpected KeyError: no message", True),
    ],
)
def test_whatever_goes_wrong_is_a_failed_result_with_the_name_of_the_image(
    error, message, has_traceback, job_of, monkeypatch
):
    def fail(*_):
        raise error

    job = job_of()
    monkeypatch.setattr(module, "read_subject", fail)
    result = run_job(job)
    assert (result.record.status, result.record.message) == ("failed", f"{job.image}: {message}")
    assert result.details.startswith("Traceback") == has_traceback
    assert not (job.folder / job.output).exists()


def test_messages_are_one_line_each(job_of):
    result = failed_result(job_of(), "died\n  twice")
    assert result.record.message.endswith("s1.nii.gz: died twice")
    assert (result.record.status, result.record.input_hash) == ("failed", "")


def test_a_result_that_is_not_finite_is_never_written(job_of, monkeypatch):
    def spoil(volume, settings, context):
        return volume.with_array(np.full(volume.array.shape, np.nan, np.float32))

    monkeypatch.setitem(table.STEPS, "whiten", replace(table.STEPS["whiten"], apply=spoil))
    job = job_of()
    result = run_job(job)
    assert "the result has values that are not finite; look at the steps and the image" in result.record.message
    assert not (job.folder / job.output).exists()


def test_a_refusal_names_the_image_and_the_step(job_of):
    job = job_of(steps="ct")
    record = run_job(job).record
    assert record.message.startswith(f"{job.image}: step ct: no Hounsfield units")


def test_threads_are_limited_where_the_job_says_so(job_of, monkeypatch):
    import SimpleITK

    monkeypatch.delenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", raising=False)
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        run_job(job_of())
        assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == before
        assert "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS" not in os.environ
        run_job(job_of("s2", threads=3))
        assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
        assert os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "3"
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
        os.environ.pop("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", None)


def test_label_maps_and_what_steps_save_lie_in_their_folders(job_of, tmp_path):
    label_map = tmp_path / "l.nii.gz"
    labels = (np.arange(120).reshape(6, 5, 4) % 3).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([2.0, 2.0, 3.0, 1.0])), label_map)
    job = job_of(
        steps="pad",
        settings={"pad_voxels": "1"},
        labels={"labels": label_map},
        label_outputs={"labels": "labels/s1.nii"},
    )
    record = run_job(job).record
    written = np.asarray(nibabel.load(job.folder / "labels" / "s1.nii").dataobj)
    np.testing.assert_array_equal(written, np.pad(labels, 1))
    told = json.loads((job.folder / "provenance" / "s1.json").read_text())
    assert sorted(told["outputs"]) == ["labels/s1.nii", "s1.nii.gz"]
    assert told["before"]["labels"] == {"labels": [0, 1, 2]}
    assert "padded from (6, 5, 4) to (8, 7, 6) voxels" in record.message


def test_a_subject_is_measured_as_the_steps_before_leave_it_and_goes_on_from_there(job_of, monkeypatch):
    job = job_of(steps="clip, histogram, whiten", settings={"clip_limits": "0, 400"})
    measured = run_job(replace(job, measures="histogram"))
    clipped = np.clip(read_image(job.image).array, 0, 400)
    np.testing.assert_allclose(measured.measured, foreground_percentiles(clipped[foreground_mask(clipped)]), rtol=1e-6)
    assert len(list((job.folder / ".work").iterdir())) == 1
    (step,) = job.pipeline.fitted
    fitted = step.fit([np.array(measured.measured)], "image", ["s1"], "")
    ran = []

    def watched(volume, settings, context, apply=table.STEPS["clip"].apply):
        ran.append("clip")
        return apply(volume, settings, context)

    monkeypatch.setitem(table.STEPS, "clip", replace(table.STEPS["clip"], apply=watched))
    assert run_job(replace(job, fitted={"histogram": fitted})).record.status == "done"
    assert ran == [], "clipping was done when it was measured"
    assert not list((job.folder / ".work").iterdir()), "what was kept half way is removed"
