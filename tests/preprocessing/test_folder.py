import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.data.nifti import read_header, read_image, read_label_map, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.folder import run_folder
from sfgkeras.preprocessing.folder.inputs import find_inputs, read_labels_on_grid
from sfgkeras.preprocessing.folder.manifest import COLUMNS, Manifest, Record
from sfgkeras.preprocessing.folder.runners import ProcessRunner, available_cores
from sfgkeras.preprocessing.foreground import foreground_mask
from sfgkeras.preprocessing.histogram import apply_landmarks, fit_landmarks
from sfgkeras.preprocessing.landmark_file import read_landmarks
from sfgkeras.preprocessing.resampling import resample_to_spacing
from sfgkeras.preprocessing.whitening import whiten

from .conftest import AFFINE, body_image


def run(cohort, steps="reorient, whiten", **options):
    return run_folder(cohort / "images", cohort / "out", steps, pictures=options.pop("pictures", False), **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def write_split(path, phases):
    path.write_text("".join(f"{subject},{phase}\n" for subject, phase in phases.items()))
    return path


def test_every_image_comes_out_under_its_name_and_as_the_functions_make_it(cohort):
    result = run(cohort, "resample, whiten", settings={"resample_spacing": "1.7", "resample_order": "3"})
    assert result.done == ("s0", "s1", "s2", "s3")
    assert result.exit_code == 0
    for subject, path in result.outputs.items():
        assert path == cohort / "out" / f"{subject}.nii.gz"
        source, written = read_image(cohort / "images" / path.name), read_image(path)
        expected, affine = resample_to_spacing(source.array, source.affine, 1.7, 3)
        np.testing.assert_allclose(written.array, whiten(expected), atol=1e-6)
        np.testing.assert_allclose(written.affine, affine, atol=1e-5)


def test_landmarks_are_fitted_on_the_training_subjects_alone(cohort):
    split = write_split(
        cohort / "split.csv", {"s0": "training", "s1": "validation", "s2": "training", "s3": "inference"}
    )
    result = run(cohort, "nyul", split=split)
    images = {name: read_image(cohort / "images" / f"{name}.nii.gz").array for name in ("s0", "s1", "s2", "s3")}
    masks = {name: foreground_mask(image) for name, image in images.items()}
    expected = fit_landmarks(images[name][masks[name]] for name in ("s0", "s2"))
    (found,) = read_landmarks(result.fitted["histogram"]).values()
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)
    assert [name.split("@")[0] for name in found.fitted_on] == ["s0", "s2"]
    assert found.foreground == "otsu_plus"
    for name, image in images.items():
        np.testing.assert_allclose(
            read_image(result.outputs[name]).array,
            apply_landmarks(image, expected, foreground_mask=masks[name]),
            atol=1e-4,
        )


def test_landmarks_are_measured_after_the_steps_before(cohort):
    result = run(cohort, "resample, nyul, whiten", settings={"resample_spacing": "3"})
    resampled = []
    for name in ("s0", "s1", "s2", "s3"):
        image = read_image(cohort / "images" / f"{name}.nii.gz")
        resampled.append(resample_to_spacing(image.array, image.affine, 3.0)[0])
    expected = fit_landmarks(image[foreground_mask(image)] for image in resampled)
    (found,) = read_landmarks(result.fitted["histogram"]).values()
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert found.preparation == "resample(spacing=3 3 3, order=1, antialias=yes)"
    assert not (cohort / "out" / ".work").exists()


def test_a_second_run_skips_what_is_done_and_rewrites_nothing(cohort):
    first = run(cohort, "nyul, whiten")
    times = {path: path.stat().st_mtime_ns for path in first.outputs.values()}
    second = run(cohort, "nyul, whiten")
    assert second.done == ()
    assert second.skipped == ("s0", "s1", "s2", "s3")
    assert {path: path.stat().st_mtime_ns for path in second.outputs.values()} == times


def test_a_changed_input_setting_output_or_version_is_done_again_and_nothing_else(cohort, monkeypatch):
    run(cohort)
    write_image(cohort / "images" / "s1.nii.gz", body_image(9)[0], AFFINE)
    assert run(cohort).done == ("s1",)
    (cohort / "out" / "s2.nii.gz").write_bytes(b"damaged")
    assert run(cohort).done == ("s2",)
    (cohort / "out" / "s3.nii.gz").unlink()
    assert run(cohort).done == ("s3",)
    assert len(run(cohort, "reorient, whiten", settings={"whiten_foreground": "otsu"}).done) == 4
    assert len(run(cohort, "reorient, whiten", settings={"whiten_foreground": "otsu"}, restart=True).done) == 4
    monkeypatch.setattr("sfgkeras.preprocessing.folder.job.__version__", "99")
    assert len(run(cohort, "reorient, whiten", settings={"whiten_foreground": "otsu"}).done) == 4


def test_one_bad_file_does_not_stop_the_rest_and_is_named(cohort):
    (cohort / "images" / "broken.nii.gz").write_bytes(b"\x1f\x8b no image")
    bad = np.ones((5, 5, 5), np.float32)
    bad[0, 0, 0] = np.nan
    write_image(cohort / "images" / "nan.nii.gz", bad, AFFINE)
    write_image(cohort / "images" / "empty.nii.gz", np.zeros((5, 5, 5)), AFFINE)
    result = run(cohort, "nyul, whiten")
    assert result.exit_code == 1
    assert result.done == ("s0", "s1", "s2", "s3")
    assert set(result.failed) == {"broken", "nan", "empty"}
    for name, message in result.failed.items():
        assert message.startswith(str(cohort / "images" / f"{name}.nii.gz"))
    assert "1 of 125 voxels are not finite" in result.failed["nan"]
    assert "no foreground" in result.failed["empty"]
    page = result.overview.read_text(encoding="utf-8")
    assert "4 of 7 subjects done, 3 failed" in page
    assert "no foreground" in page
    again = run(cohort, "nyul, whiten")
    assert again.skipped == ("s0", "s1", "s2", "s3")
    assert set(again.failed) == set(result.failed)


def test_stale_and_missing_landmarks_are_refused(cohort):
    split = write_split(cohort / "split.csv", {"s0": "training", "s1": "training", "s2": "inference"})
    run(cohort, "nyul", split=split)
    with pytest.raises(DataError, match=r"stale, fitted with cutoff \(0.01, 0.99\), now \(0.02, 0.98\)"):
        run(cohort, "nyul", split=split, settings={"nyul_cutoff": "0.02, 0.98"})
    with pytest.raises(DataError, match="foreground rule 'otsu_plus', now 'all'"):
        run(cohort, "nyul", split=split, settings={"nyul_foreground": "all"})
    with pytest.raises(DataError, match="stale, fitted with steps before 'none', now .reorient"):
        run(cohort, "reorient, nyul", split=split)
    write_split(split, {"s0": "training", "s2": "training"})
    with pytest.raises(DataError, match="training subjects without s2@.* and with s1@"):
        run(cohort, "nyul", split=split)
    write_split(split, {"s0": "training", "s1": "training"})
    write_image(cohort / "images" / "s1.nii.gz", body_image(9)[0], AFFINE)
    with pytest.raises(DataError, match="training subjects without s1@.* and with s1@"):
        run(cohort, "nyul", split=split)
    with pytest.raises(DataError, match="there are no landmarks; correct histogram_ref_file"):
        run(cohort, "nyul", settings={"nyul_ref_file": cohort / "nowhere.json"})


def test_landmarks_of_a_named_file_are_used_and_never_changed(cohort, tmp_path):
    landmarks = run(cohort, "nyul").fitted["histogram"]
    kept = landmarks.rename(tmp_path / "trained.json")
    before = kept.read_bytes()
    (cohort / "images" / "s3.nii.gz").unlink()
    result = run_folder(cohort / "images", tmp_path / "new", "nyul", {"nyul_ref_file": str(kept)}, pictures=False)
    assert result.fitted["histogram"] == kept
    assert kept.read_bytes() == before
    assert result.done == ("s0", "s1", "s2")
    assert contents(tmp_path / "new").items() <= contents(cohort / "out").items()


def test_niftynets_landmarks_are_used_as_ours(cohort, tmp_path):
    settings = {"nyul_foreground": "all"}
    ours = run(cohort, "nyul", settings=settings)
    (found,) = read_landmarks(ours.fitted["histogram"]).values()
    text = tmp_path / "histogram_ref.txt"
    values = " ".join(repr(float(value)) for value in found.values)
    text.write_text(f"FLAIR {values}\nT2 {values}\n")
    with pytest.raises(DataError, match=r"has landmarks of FLAIR, T2; name one by histogram_modality"):
        run(cohort, "nyul", settings={**settings, "nyul_ref_file": str(text)})
    settings["nyul_modality"] = "T2"
    result = run_folder(
        cohort / "images", tmp_path / "new", "nyul", {**settings, "nyul_ref_file": str(text)}, pictures=False
    )
    assert result.fitted["histogram"] == text
    assert contents(tmp_path / "new") == contents(cohort / "out")


def test_a_training_subject_that_was_repaired_makes_landmarks_without_it_stale(cohort):
    path = cohort / "images" / "s1.nii.gz"
    good = path.read_bytes()
    path.write_bytes(b"\x1f\x8b no image")
    assert set(run(cohort, "nyul").failed) == {"s1"}
    assert set(run(cohort, "nyul").failed) == {"s1"}
    path.write_bytes(good)
    with pytest.raises(DataError, match="stale, fitted with training subjects without s1@"):
        run(cohort, "nyul")
    assert run(cohort, "nyul", restart=True).done == ("s0", "s1", "s2", "s3")


def test_landmarks_can_be_required_and_every_training_subject_be_measured(cohort):
    with pytest.raises(DataError, match=r"landmarks\.json: there are no landmarks; train first"):
        run(cohort, "nyul", fitting="require")
    path = cohort / "images" / "s1.nii.gz"
    good = path.read_bytes()
    path.write_bytes(b"\x1f\x8b no image")
    with pytest.raises(DataError, match=r"s1\.nii\.gz.*\n1 of 4 training subjects cannot be used"):
        run(cohort, "nyul", fitting="fit on all")
    path.write_bytes(good)
    assert run(cohort, "nyul", fitting="fit on all", training_subjects=["s0", "s1"]).exit_code == 0
    # Those that the landmarks were fitted on need not be there any more.
    (cohort / "images" / "s0.nii.gz").unlink()
    path.unlink()
    result = run(cohort, "nyul", fitting="require", training_subjects=["s0", "s1"])
    assert result.skipped == ("s2", "s3")


def test_a_split_that_names_nobody_here_is_refused(cohort):
    with pytest.raises(ConfigError, match=r"none of 1 training subjects \(x\) is in the folder"):
        run(cohort, "nyul", training_subjects=["x"])


def test_labels_go_along_with_their_images(cohort):
    (cohort / "labels" / "stranger.nii.gz").write_bytes((cohort / "labels" / "s0.nii.gz").read_bytes())
    (cohort / "labels" / "s3.nii.gz").unlink()
    messages = []
    result = run(
        cohort, "crop_foreground, resample, whiten", labels=cohort / "labels", log=messages.append,
        settings={"resample_spacing": "1.5"},
    )  # fmt: skip
    assert set(result.label_outputs) == {"s0", "s1", "s2"}
    for name, path in result.label_outputs.items():
        assert path == cohort / "out" / "labels" / f"{name}.nii.gz"
        label_map, image = read_label_map(path), read_header(result.outputs[name])
        assert label_map.array.shape == image.shape
        np.testing.assert_allclose(label_map.affine, image.affine)
        assert set(np.unique(label_map.array)) == {0, 1, 2, 3}
    assert any("label map without an image" in message and "stranger" in message for message in messages)


def test_labels_in_another_orientation_land_on_their_voxels_and_other_grids_are_refused(tmp_path):
    _, labels = body_image(0)
    flipped_affine = AFFINE @ np.array([[-1, 0, 0, 25], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    path = tmp_path / "labels.nii.gz"
    write_image(path, labels[::-1], flipped_affine)
    np.testing.assert_array_equal(read_labels_on_grid(path, labels.shape, AFFINE, Path("image.nii.gz")), labels)
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    write_image(path, labels, shifted)
    with pytest.raises(DataError, match="another grid than image.nii.gz .its corners lie up to 1.00 mm off"):
        read_labels_on_grid(path, labels.shape, AFFINE, Path("image.nii.gz"))
    write_image(path, labels[:-1], AFFINE)
    with pytest.raises(DataError, match=r"shape \(25, 28, 22\) where the image has \(26, 28, 22\)"):
        read_labels_on_grid(path, labels.shape, AFFINE, Path("image.nii.gz"))


def test_a_label_map_of_another_grid_fails_its_subject_alone(cohort):
    write_image(cohort / "labels" / "s2.nii.gz", body_image(0)[1], np.diag([1.0, 1, 1, 1]))
    result = run(cohort, labels=cohort / "labels")
    assert set(result.failed) == {"s2"}
    assert str(cohort / "labels" / "s2.nii.gz") in result.failed["s2"]


def test_every_subject_gets_provenance_and_picture_and_the_page_links_them(cohort):
    result = run(cohort, "n4, nyul", pictures=True, settings={"n4_iterations": "3", "n4_save_field": "yes"})
    out = cohort / "out"
    record = json.loads((out / "provenance" / "s1.json").read_text(encoding="utf-8"))
    assert [step["step"] for step in record["steps"]] == ["bias_field", "histogram"]
    assert record["steps"][0]["iterations"] == [3]
    assert record["input"] == str(cohort / "images" / "s1.nii.gz")
    assert set(record["outputs"]) == {"s1.nii.gz", "bias_field/s1.nii.gz"}
    assert set(record["software"]) >= {"sfgkeras", "numpy", "SimpleITK", "python"}
    assert len(record["fitted"]["histogram"]["values"]) == 13
    assert set(record["seconds"]) == {"bias_field", "histogram", "total"} - {"bias_field"}
    assert (out / "pictures" / "s1.png").read_bytes().startswith(b"\x89PNG")
    page = result.overview.read_text(encoding="utf-8")
    assert 'src="pictures/s1.png"' in page
    assert 'href="provenance/s1.json"' in page
    field, image = read_image(out / "bias_field" / "s1.nii.gz"), read_header(cohort / "images" / "s1.nii.gz")
    assert field.array.shape == image.shape


def test_the_manifest_holds_one_row_per_subject_with_hashes(cohort):
    run(cohort)
    run(cohort)
    lines = (cohort / "out" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 5
    record = Manifest(cohort / "out" / "manifest.csv").records["s0"]
    assert (record.status, record.output) == ("done", "s0.nii.gz")
    assert len(record.input_hash) == len(record.settings_hash) == len(record.output_hash) == 64


def test_a_manifest_cut_short_by_a_kill_loses_only_its_last_row(tmp_path):
    path = tmp_path / "manifest.csv"
    manifest = Manifest(path)
    manifest.add(Record("a", "done", message='with "quotes", commas\nand lines'))
    manifest.add(Record("b", "done"))
    path.write_bytes(path.read_bytes()[:-5])
    found = Manifest(path)
    assert set(found.records) == {"a"}
    assert found.records["a"].message == 'with "quotes", commas\nand lines'
    path.write_text("something,else\n")
    with pytest.raises(DataError, match="is no manifest of this version"):
        Manifest(path)


def test_a_killed_run_goes_on_where_it_stopped(cohort):
    class Killed(Exception):
        pass

    def kill_after_two(done, total, subject_id, status):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        run(cohort, "resample, whiten", progress=kill_after_two)
    result = run(cohort, "resample, whiten")
    assert result.skipped == ("s0", "s1")
    assert result.done == ("s2", "s3")
    assert not list((cohort / "out").rglob("*.tmp"))


def test_progress_counts_every_subject_once(cohort):
    events = []
    run(cohort, progress=lambda *event: events.append(event))
    assert events[0] == (0, 4, "", "started")
    assert [event[:2] for event in events[1:]] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {event[3] for event in events[1:]} == {"done"}
    events.clear()
    run(cohort, progress=lambda *event: events.append(event))
    assert {event[3] for event in events[1:]} == {"skipped"}
    events.clear()
    run(cohort, "nyul", progress=lambda *event: events.append(event), overwrite=True)
    assert [event[3] for event in events] == [*["measured"] * 5, "started", *["done"] * 4]


def test_the_output_is_the_same_over_two_processes(cohort):
    steps, settings = "n4, resample, nyul, whiten", {"n4_iterations": "4", "resample_spacing": "3"}
    serial = run_folder(cohort / "images", cohort / "one", steps, settings, pictures=False)
    parallel = run_folder(cohort / "images", cohort / "two", steps, settings, workers=2, pictures=False)
    assert sorted(parallel.done) == sorted(serial.done)
    for name in serial.done:
        np.testing.assert_allclose(
            read_image(parallel.outputs[name]).array, read_image(serial.outputs[name]).array, atol=2e-3
        )


def test_threads_of_the_workers_fill_the_cores_once():
    assert ProcessRunner(1).threads == available_cores()
    assert ProcessRunner(available_cores()).threads == 1
    assert ProcessRunner(10 * available_cores()).threads == 1
    with pytest.raises(ConfigError, match="workers = 0"):
        ProcessRunner(0)


def test_the_input_folder_is_never_written_to(cohort):
    with pytest.raises(ConfigError, match="is the input folder itself"):
        run_folder(cohort / "images", cohort / "images", "whiten")
    with pytest.raises(ConfigError, match="holds the input itself"):
        run_folder({"s0": cohort / "images" / "s0.nii.gz"}, cohort / "images", "whiten")


def files_below(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_label_maps_are_never_written_over_by_their_images(cohort):
    before = files_below(cohort / "labels")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="would be written over, and it is read here .4 files: s0"):
            run_folder(cohort / "images", cohort / "labels", "whiten", labels=cohort / "labels", overwrite=overwrite)
    link = cohort / "link"
    link.symlink_to(cohort / "labels")
    with pytest.raises(DataError, match="would be written over"):
        run_folder(cohort / "images", link, "whiten", labels=cohort / "labels", overwrite=True)
    assert files_below(cohort / "labels") == before


@pytest.mark.parametrize("name", ["s1.nii.gz", "overview.html", "preprocess.log", "pictures/s2.png"])
def test_files_of_somebody_else_are_replaced_only_when_asked_and_then_named(cohort, name):
    foreign = cohort / "out" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=rf"1 file: {foreign.name}\); choose another output folder, or add --overw"):
        run(cohort, pictures=True)
    assert files_below(cohort / "out") == {foreign: b"mine"}
    said = []
    assert len(run(cohort, pictures=True, overwrite=True, log=said.append).done) == 4
    assert f"replaced, made by something else: {foreign}" in said
    assert foreign.read_bytes() != b"mine"
    # From now on it is its own, and so is what a killed run left.
    (cohort / "out" / "manifest.csv").unlink()
    assert len(run(cohort, pictures=True).done) == 4


def test_an_image_put_among_the_results_later_is_not_replaced(cohort):
    run(cohort)
    write_image(cohort / "images" / "s9.nii.gz", body_image(9)[0], AFFINE)
    (cohort / "out" / "s9.nii.gz").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="1 file: s9.nii.gz"):
        run(cohort, restart=True)


def test_results_of_other_steps_are_replaced_only_when_asked(cohort):
    run(cohort)
    before = contents(cohort / "out")
    with pytest.raises(ConfigError, match=r"holds results of other steps \(reorient, whiten\) of 4 subjects"):
        run(cohort, "whiten")
    assert contents(cohort / "out") == before
    assert len(run(cohort, "whiten", overwrite=True).done) == 4
    assert len(run(cohort, "reorient, whiten", restart=True).done) == 4


def test_the_split_is_never_written_over(cohort):
    split = write_split(cohort / "images" / "manifest.csv", {"s0": "training"})
    (cohort / "out").mkdir()
    kept = split.rename(cohort / "out" / "overview.html")
    with pytest.raises(DataError, match="would be written over"):
        run(cohort, "nyul", split=kept, overwrite=True)


def test_an_output_folder_inside_the_input_is_not_taken_for_input(cohort):
    first = run_folder(cohort / "images", cohort / "images" / "out", "whiten", pictures=False)
    second = run_folder(cohort / "images", cohort / "images" / "out", "whiten", pictures=False)
    assert first.done == second.skipped == ("s0", "s1", "s2", "s3")


def test_label_maps_and_earlier_outputs_below_the_input_are_no_images(cohort):
    root = cohort / "images"
    (cohort / "labels").rename(root / "labels")
    earlier = run_folder({"s0": root / "s0.nii.gz"}, root / "earlier", "n4", {"n4_save_field": "yes"}, pictures=False)
    assert (root / "earlier" / "bias_field").is_dir()
    said = []
    result = run(cohort, "whiten", labels=root / "labels", log=said.append)
    assert earlier.done == ("s0",)
    assert result.done == ("s0", "s1", "s2", "s3")
    assert set(result.left_out) == {root / "labels", root / "earlier"}
    for folder in result.left_out:
        assert f"left out, holds label maps or what an earlier run wrote: {folder}" in said
    # An output as the next input gives its images and nothing that steps wrote besides.
    chained = run_folder(root / "earlier", cohort / "chained", "whiten", pictures=False)
    assert chained.done == ("s0",)
    assert chained.left_out == (root / "earlier" / "bias_field", root / "earlier" / "provenance")


def test_images_and_labels_in_one_folder_are_refused(cohort):
    with pytest.raises(ConfigError, match="is named as the folder of images and of label maps"):
        run(cohort, labels=cohort / "images")


def test_a_pipe_among_the_images_is_not_waited_for(cohort):
    os.mkfifo(cohort / "images" / "pipe.nii")
    assert run(cohort).done == ("s0", "s1", "s2", "s3")
    result = run_folder({"pipe": cohort / "images" / "pipe.nii"}, cohort / "piped", "whiten", pictures=False)
    assert "is a pipe, a socket or a device and no file" in result.failed["pipe"]


PARENT = """
import sys
from pathlib import Path
from sfgkeras.preprocessing.folder import run_folder
if __name__ == "__main__":
    run_folder(sys.argv[1], sys.argv[2], "n4", {"n4_iterations": "500, 500, 500, 500"}, workers=2, pictures=False)
"""


def children_of(pid):
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            command = (entry.parent / "cmdline").read_bytes()
            if int(fields[1]) == pid and b"spawn_main" in command:
                found.append(int(entry.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_their_parent(cohort):
    script = cohort / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(cohort / "images"), str(cohort / "out")])
    deadline = time.monotonic() + 120
    while len(children_of(parent.pid)) < 2 and time.monotonic() < deadline and parent.poll() is None:
        time.sleep(0.1)
    workers = children_of(parent.pid)
    assert len(workers) == 2
    time.sleep(3)  # they have started by now, or do so without a parent
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    alive = workers
    while alive and time.monotonic() < deadline:
        alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        time.sleep(0.1)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert not alive


def test_files_can_be_named_by_subject_and_folders_be_nested(cohort):
    nested = cohort / "images" / "site" / "a"
    nested.mkdir(parents=True)
    (cohort / "images" / "s3.nii.gz").rename(nested / "t2.nii.gz")
    (nested / "notes.txt").write_text("x")
    result = run(cohort)
    assert result.outputs["site/a/t2"] == cohort / "out" / "site" / "a" / "t2.nii.gz"
    assert [path.name for path in result.ignored] == ["notes.txt"]
    named = run_folder({"p7": nested / "t2.nii.gz"}, cohort / "named", "reorient, whiten", pictures=False)
    assert named.outputs["p7"].read_bytes() == result.outputs["site/a/t2"].read_bytes()


def test_folders_without_images_and_doubled_names_are_refused(cohort, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no NIfTI file and no DICOM series"):
        find_inputs(tmp_path / "empty")
    with pytest.raises(ConfigError, match="is no folder"):
        find_inputs(tmp_path / "nowhere")
    (cohort / "images" / "s0.nii").write_bytes(b"")
    with pytest.raises(ConfigError, match="has the name of .* but for its ending"):
        find_inputs(cohort / "images")


def test_a_second_run_at_the_same_time_is_refused(cohort):
    def start_another(done, total, subject_id, status):
        with pytest.raises(ConfigError, match=rf"another run is writing there \(process {os.getpid()} on .*, since 20"):
            run(cohort)

    assert len(run(cohort, progress=start_another).done) == 4


def test_settings_are_checked_before_anything_is_written(cohort):
    with pytest.raises(ConfigError, match="unknown step 'whitn', did you mean"):
        run(cohort, "whitn")
    assert not (cohort / "out").exists()


def test_a_worker_that_dies_fails_its_subject_and_not_the_others(cohort, monkeypatch, tmp_path):
    # Spawned workers share nothing with this process but the environment, so the killer comes from there.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, threading\n"
        "import importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'sfgkeras.preprocessing.folder.job':\n"
        "            sys.meta_path.remove(self)\n"
        "            import sfgkeras.preprocessing.folder.inputs as inputs\n"
        "            read = inputs.read_subject\n"
        "            def deadly(image, labels, loader=None):\n"
        "                if image.name == 's1.nii.gz':\n"
        "                    os._exit(9)\n"
        "                return read(image, labels, loader)\n"
        "            inputs.read_subject = deadly\n"
        "        return None\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run(cohort, workers=2)
    assert set(result.failed) == {"s1"}
    assert "its worker process died twice" in result.failed["s1"]
    assert sorted(result.done) == ["s0", "s2", "s3"]


@pytest.mark.parametrize(
    "kind", ["big-endian", "NIfTI-2", "scaled", "float64", "uncompressed", "pair", "trailing axis"]
)
def test_unusual_files_give_what_the_usual_one_gives(kind, tmp_path):
    image, _ = body_image(0)
    folder = tmp_path / "in"
    folder.mkdir()
    header = nib.Nifti1Header(endianness=">") if kind == "big-endian" else None
    data = image * 0.5 + 100 if kind == "scaled" else image
    if kind == "NIfTI-2":
        nib.save(nib.Nifti2Image(image, AFFINE), folder / "s.nii.gz")
    elif kind == "pair":
        nib.save(nib.Nifti1Pair(image, AFFINE), folder / "s.img")
    elif kind == "trailing axis":
        nib.save(nib.Nifti1Image(image[..., None], AFFINE), folder / "s.nii.gz")
    else:
        nifti = nib.Nifti1Image(data.astype(np.float64) if kind == "float64" else data, AFFINE, header)
        if kind == "scaled":
            nifti.set_data_dtype(np.uint8)
        nib.save(nifti, folder / ("s.nii" if kind == "uncompressed" else "s.nii.gz"))
    result = run_folder(folder, tmp_path / "out", "resample, whiten", {"resample_spacing": "1.5"}, pictures=False)
    assert result.exit_code == 0
    assert result.outputs["s"].name == ("s.nii" if kind == "uncompressed" else "s.nii.gz")
    expected = whiten(resample_to_spacing(image.astype(np.float32), AFFINE, 1.5)[0])
    written = read_image(result.outputs["s"])
    np.testing.assert_allclose(written.array, expected, atol=0.02 if kind == "scaled" else 1e-5)


def test_the_log_names_padding_and_metal_of_a_ct(tmp_path):
    hu = np.full((12, 12, 12), 40, np.int16)
    hu[0], hu[6, 6, 6] = -3024, 5000
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "ct.nii.gz", hu, np.eye(4))
    run_folder(tmp_path / "in", tmp_path / "out", "ct", pictures=False)
    log = (tmp_path / "out" / "preprocess.log").read_text(encoding="utf-8")
    assert "ct: padding outside the field of view: 8.33 % of the voxels are below -1024 HU (lowest -3024)" in log
    assert "ct: metal: 1 voxels are above 2500 HU (highest 5000)" in log


@pytest.mark.real_data
def test_a_dicom_series_becomes_the_nifti_that_another_program_made_of_it(real_data, tmp_path):
    result = run_folder(real_data / "dicom_mr_pelvis", tmp_path, "convert")
    (name,) = result.done
    assert name == "ProstateX-0000_t2tra"
    written = read_image(result.outputs[name])
    expected = read_image(real_data / "mr_pelvis" / "ProstateX-0000_t2tra.nii.gz")
    np.testing.assert_array_equal(written.array, expected.array)
    np.testing.assert_allclose(written.affine, expected.affine, atol=1e-3)
    assert written.header.dtype.kind in "iu"


@pytest.mark.real_data
@pytest.mark.slow
def test_every_real_file_gives_a_right_result_or_a_refusal_that_names_it(real_data, tmp_path):
    found = {}
    for folder in sorted(path for path in real_data.iterdir() if path.is_dir()):
        if any(path.name.endswith((".nii", ".nii.gz", ".dcm")) for path in folder.rglob("*")):
            found |= {f"{folder.name}/{name}": path for name, path in find_inputs(folder).files.items()}
    assert len(found) > 60
    result = run_folder(
        found, tmp_path, "reorient, resample, whiten", {"resample_spacing": "3"}, workers=2, pictures=False
    )
    expected_refusals = {
        "mr_cord/dmri": "4-D", "mr_cord/fmri": "4-D", "mr_cord/venc": "4-D", "nifti_small/example4d": "4-D",
        "nifti_small/example_nifti2": "4-D", "mr_cord/mtr": "633 of 8000 voxels are not finite",
        "mr_cord/fmri_tsnr": "408 of 27744 voxels are not finite",
    }  # fmt: skip
    assert set(result.failed) == set(expected_refusals)
    for name, reason in expected_refusals.items():
        assert reason in result.failed[name]
        assert str(found[name]) in result.failed[name]
    for name, path in result.outputs.items():
        written, source = read_image(path), read_header(found[name])
        assert np.isfinite(written.array).all()
        assert abs(written.array.mean(dtype=float)) < 1e-3
        assert abs(written.array.std(dtype=float) - 1) < 1e-3
        extent = np.sort(np.array(written.array.shape) * written.header.spacing)
        wanted = np.sort(np.maximum(np.array(source.shape[:3]) * source.spacing, 3.0))
        np.testing.assert_allclose(extent, wanted, atol=1.6)


@pytest.mark.real_data
def test_a_ct_that_is_none_is_refused_and_a_true_one_scaled(real_data, tmp_path):
    files = {
        "cormack": real_data / "ct_head" / "scct_cormack.nii",
        "pelvis": real_data / "ct_pelvis" / "pelvis_crop_ct.nii.gz",
    }
    result = run_folder(files, tmp_path, "ct", pictures=False)
    assert "no Hounsfield units" in result.failed["cormack"]
    scaled = read_image(result.outputs["pelvis"]).array
    np.testing.assert_allclose((scaled - 1) * 1024, np.clip(read_image(files["pelvis"]).array, -1024, 2500), atol=1e-3)
