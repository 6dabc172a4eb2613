"""`[PREPROCESSING]`: its mistakes, what training and inference read instead of the originals, and the way back."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from sfgkeras.applications.check import check_run
from sfgkeras.applications.inference.results import infer_volumes
from sfgkeras.applications.records.files import Provenance, prediction_path
from sfgkeras.applications.subjects.image_pipeline import preparation_text
from sfgkeras.applications.subjects.preprocessed import preprocess, source_folder
from sfgkeras.applications.subjects.preprocessing_settings import build_steps, describe_steps, read_run
from sfgkeras.applications.subjects.session import open_session, prepare_phase
from sfgkeras.applications.training import fingerprint
from sfgkeras.data.nifti import read_header, read_image, read_label_map, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing import table
from sfgkeras.preprocessing.fitted import read_values, write_values
from sfgkeras.preprocessing.folder import run_folder
from sfgkeras.preprocessing.landmark_file import read_landmarks
from sfgkeras.preprocessing.resampling import resample_like, resample_to_spacing
from sfgkeras.preprocessing.whitening import whiten
from sfgkeras.reporter import SilentReporter

from ...preprocessing.cohort_score import COHORT_SCORE

SHAPE = (26, 28, 22)
# Stored LPS, off the origin and 10 degrees oblique.
COS, SIN = np.cos(np.radians(10)), np.sin(np.radians(10))
AFFINE = np.array([[-2 * COS, 2 * SIN, 0, 30], [-2 * SIN, -2 * COS, 0, 20], [0, 0, 2.5, -10], [0, 0, 0, 1]])
SPLIT = {"a": "training", "b": "training", "c": "validation", "d": "inference"}
INI = """
    [MR]
    path_to_search = {folder}/images
    filename_contains = _mr
    spatial_window_size = 8, 8, 1

    [CT]
    path_to_search = {folder}/images
    filename_contains = _ct
    scaling = ct
    padding_value = -1024

    [ORGANS]
    path_to_search = {folder}/images
    filename_contains = _organs

    [SYSTEM]
    model_dir = {folder}/model
    dataset_split_file = {folder}/split.csv

    [NETWORK]
    name = highresnet

    [TRAINING]
    validation_every_n = 1

    [MULTITASK]
    image = MR
    tasks = ct, organs

    [TASK ct]
    type = regression
    target = CT

    [TASK organs]
    type = segmentation
    target = ORGANS
    num_classes = 4
"""
FAST = {"PREPROCESSING.pictures": "no"}


def body(seed, gain):
    """Three nested tissues in air, with a slope of 30 % across the volume; their label map; and a CT of them."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(sum((axis - shift) ** 2 for axis, shift in zip(grid, rng.uniform(-0.1, 0.1, 3), strict=True)))
    organs = np.digitize(-radius, [-0.7, -0.5, -0.3]).astype(np.uint8)
    levels = np.array([0.0, 250, 500, 800])[organs] * gain * (1 + 0.3 * grid[0])
    noise = np.where(organs > 0, rng.normal(0, 20 * gain, SHAPE), np.abs(rng.normal(0, 3 * gain, SHAPE)))
    hu = np.array([-1000, -100, 40, 700], np.int16)[organs]
    return np.maximum(np.rint(levels + noise), 0).astype(np.int16), organs, hu


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for number, subject_id in enumerate(SPLIT):
        mr, organs, hu = body(number, 0.5 + 0.4 * number)
        for name, array in (("mr", mr), ("ct", hu), ("organs", organs)):
            write_image(tmp_path / "images" / f"{subject_id}_{name}.nii.gz", array, AFFINE)
    (tmp_path / "split.csv").write_text("".join(f"{name},{phase}\n" for name, phase in SPLIT.items()))
    return tmp_path


def config_of(folder, steps=None, **overrides):
    path = folder / "run.ini"
    path.write_text(textwrap.dedent(INI).format(folder=folder))
    given = FAST | {"PREPROCESSING.steps": steps} if steps is not None else {}
    given |= {name.replace("__", "."): str(value) for name, value in overrides.items()}
    return read_run(path, list(given.items()))


def open_at(folder, steps=None, training=True, reporter=None, **overrides):
    return open_session(config_of(folder, steps, **overrides), reporter or SilentReporter(), training)


def by_folder_command(folder, steps, settings=None, **options):
    """What `sfgkeras preprocess --input` makes of the same files."""
    files = {name: folder / "images" / f"{name}_mr.nii.gz" for name in SPLIT}
    options = {"split": folder / "split.csv", "pictures": False, **options}
    return run_folder(files, folder / "by_folder", steps, settings, **options)


@pytest.fixture
def score(monkeypatch):
    """A step from outside the package, one more line in the table."""
    monkeypatch.setitem(table.STEPS, "cohort_score", COHORT_SCORE)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


MISTAKES = {
    "steps = nyull, whiten": "steps = 'nyull, whiten' cannot be used: unknown step 'nyull', did you mean 'nyul'?",
    "steps = n4, n4": "steps = 'n4, n4' cannot be used: 'n4' is there twice; name each step once",
    "steps =": "steps = '' cannot be used: is empty; name at least one of bias_field",
    "steps = whiten, n4": "cannot be used: bias_field comes after whiten, but N4 needs positive intensities",
    "steps = register\nregister_reference = x": "steps = 'register' has register, which moves the image away",
    "steps = whiten\nsources = CT": "sources = 'CT' has 'CT', which the network does not see",
    "steps = clip": "steps = 'clip' cannot be used: clip needs either clip_limits or clip_percentiles",
    "steps = n4\nn4_shrink_factor = two": "n4_shrink_factor = 'two' is not a whole number",
    "steps = n4\nn4_engine = spm": "n4_engine = 'spm' is not known; choose one of simpleitk, antspyx",
    "steps = resample\nresample_order = 7": "resample_order = '7' does not exist; known are 0 (nearest)",
    "steps = resample\nresample_spacng = 1": "has no option 'resample_spacng', did you mean 'resample_spacing'?",
    "steps = resample\nn4_convergence = 1": "n4_convergence = '1' has no effect: bias_field is not among the steps",
    "steps = resample\nresample_spacing = 1;2;3": "resample_spacing = '1;2;3' has an element '1;2;3' that is not",
    "steps = whiten\nmax_iter = 1": "has no option 'max_iter'; it belongs in [TRAINING]",
    "steps = whiten\nwhitening_foreground = all\nwhiten_foreground = all": "repeats whitening_foreground",
}


@pytest.mark.parametrize("lines", MISTAKES)
def test_every_mistake_of_the_section_is_named_with_its_line(folder, lines):
    path = folder / "run.ini"
    text = textwrap.dedent(INI).format(folder=folder)
    path.write_text(f"{text}[PREPROCESSING]\n{lines}\n")
    with pytest.raises(ConfigError) as refusal:
        read_run(path)
    (message,) = str(refusal.value).splitlines()
    last = len(text.splitlines()) + 1
    assert message.startswith(tuple(f"{path}:{line}: [PREPROCESSING] " for line in range(last, last + 4)))
    assert MISTAKES[lines] in message


def test_mistakes_of_steps_and_of_other_sections_come_at_once(folder):
    with pytest.raises(ConfigError) as refusal:
        config_of(folder, "n4, nyull", TRAINING__lr="fast", PREPROCESSING__n4_bins="3", PREPROCESSING__workers="0")
    message = str(refusal.value)
    assert len(message.splitlines()) == 4
    for part in ("unknown step 'nyull', did you mean 'nyul'", "lr = 'fast'", "no option 'n4_bins'", "workers = '0'"):
        assert part in message


def test_values_are_read_as_in_every_other_section(folder):
    config = config_of(
        folder, "resample, n4", PREPROCESSING__resample_spacing="1/2", PREPROCESSING__n4_save_field="y",
        PREPROCESSING__pictures="y",
    )  # fmt: skip
    resample, n4 = build_steps(config).steps
    assert resample.settings.spacing == (0.5, 0.5, 0.5)
    assert n4.settings.save_field is config.preprocessing.pictures is True


def test_what_contradicts_other_sections_is_refused(folder):
    with pytest.raises(ConfigError, match="has histogram beside .NETWORK. normalisation = yes; keep one"):
        config_of(folder, "nyul", NETWORK__normalisation="yes", NETWORK__histogram_ref_file="l.json")
    with pytest.raises(ConfigError, match=r"has ct beside scaling = ct in \[CT\]; keep one of them"):
        config_of(folder, "ct", MULTITASK__image="CT", MULTITASK__tasks="organs", CT__spatial_window_size="8, 8, 1")


def test_a_python_caller_who_does_not_check_is_told_before_any_work(folder):
    from sfgkeras.config import read_config

    path = config_of(folder).path
    config = read_config(path, [("PREPROCESSING.steps", "n4"), ("PREPROCESSING.n4_bins", "3")])
    with pytest.raises(ConfigError, match=r"run.ini: \[PREPROCESSING\] unknown setting 'n4_bins'"):
        open_session(config, SilentReporter(), True)
    assert not (folder / "model" / "preprocessed").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_training_reads_exactly_what_the_folder_command_makes(folder, workers):
    steps, settings = "n4, resample, nyul, whiten", {"n4_iterations": "4", "resample_spacing": "3"}
    options = {f"PREPROCESSING__{key}": value for key, value in settings.items()}
    session = open_at(folder, steps, PREPROCESSING__workers=workers, **options)
    expected = by_folder_command(folder, steps, settings, training_subjects=["a", "b"], split=None, workers=workers)
    prepared = prepare_phase(session, "training", SilentReporter())
    prepared += prepare_phase(session, "validation", SilentReporter())
    assert [subject.subject_id for subject in prepared] == ["a", "b", "c"]
    for subject in prepared:
        written = session.preprocessed.images["MR"][subject.subject_id].path
        assert written == folder / "model" / "preprocessed" / "MR" / f"{subject.subject_id}.nii.gz"
        # ITK's threads add in an order of their own, so that N4 is the same only within rounding.
        np.testing.assert_allclose(
            read_image(written).array, read_image(expected.outputs[subject.subject_id]).array, atol=1e-3
        )
        np.testing.assert_array_equal(subject.image[..., 0], read_image(written).array)
    # The subject to infer is not needed yet.
    assert not (folder / "model" / "preprocessed" / "MR" / "d.nii.gz").exists()
    (found,) = read_landmarks(folder / "model" / "preprocessed" / "MR" / "landmarks.json").values()
    assert [name.split("@")[0] for name in found.fitted_on] == ["a", "b"]


def test_targets_follow_the_image_onto_its_new_grid(folder):
    steps = "reorient, crop, resample"
    session = open_at(folder, steps, PREPROCESSING__resample_spacing="3, 3, 2", PREPROCESSING__crop_margin="2")
    for subject in prepare_phase(session, "training", SilentReporter()):
        name = subject.subject_id
        grid = session.preprocessed.images["MR"][name].header()
        assert grid.axcodes == ("R", "A", "S")
        assert subject.image.shape[:3] == grid.shape
        organs = read_label_map(folder / "images" / f"{name}_organs.nii.gz")
        expected = resample_like(organs.array, organs.affine, grid.shape, grid.affine, 0)
        np.testing.assert_array_equal(np.asarray(subject.target("organs")).reshape(grid.shape), expected)
        hu = read_image(folder / "images" / f"{name}_ct.nii.gz")
        expected = resample_like(hu.array, hu.affine, grid.shape, grid.affine, 1, fill=-1024)
        np.testing.assert_allclose(np.asarray(subject.target("ct")).reshape(grid.shape), expected / 1024 + 1, atol=1e-5)


def test_a_target_of_a_grid_that_never_was_the_images_is_still_refused(folder):
    image = read_image(folder / "images" / "b_ct.nii.gz")
    write_image(folder / "images" / "b_ct.nii.gz", image.array[2:], image.affine)
    with pytest.raises(DataError, match=r"b_ct\.nii\.gz: its grid .* is not that of its image"):
        open_at(folder, "crop")
    # Where headers are not looked at together, the voxels are not read onto a wrong place either.
    write_image(folder / "images" / "b_ct.nii.gz", image.array, image.affine)
    session = open_at(folder, "crop")
    write_image(folder / "images" / "b_ct.nii.gz", image.array[2:], image.affine)
    with pytest.raises(DataError, match=r"b_ct\.nii\.gz: its grid .* differs from that of \[MR\]"):
        prepare_phase(session, "training", SilentReporter())


def test_an_image_can_be_brought_onto_the_grids_of_its_targets(folder):
    (folder / "grids").mkdir()
    for name in SPLIT:
        path = folder / "images" / f"{name}_ct.nii.gz"
        image = read_image(path)
        coarse, affine = resample_to_spacing(image.array, image.affine, 3.0)
        write_image(path, coarse, affine)
        (folder / "grids" / f"{name}.nii.gz").write_bytes(path.read_bytes())
    options = {"PREPROCESSING__resample_like_reference": str(folder / "grids")}
    subject = prepare_phase(open_at(folder, "resample_like", **options), "training", SilentReporter())[0]
    coarse = read_image(folder / "images" / "a_ct.nii.gz").array
    np.testing.assert_allclose(
        np.asarray(subject.target("ct")).reshape(coarse.shape), np.clip(coarse, -1024, 2500) / 1024 + 1, atol=1e-5
    )
    # Here CT and MR are of one grid no more, and nothing brings them together.
    with pytest.raises(DataError, match=r"a_ct\.nii\.gz: its grid .* is not that of its image"):
        open_at(folder, "whiten")


def test_files_that_steps_name_are_missed_before_any_work(folder, reporter):
    config = config_of(folder, "resample_like", PREPROCESSING__resample_like_reference=folder / "nowhere")
    with pytest.raises(DataError, match=r"nowhere: \[PREPROCESSING\] resample_like_reference does not exist; correct"):
        open_session(config, SilentReporter(), True)
    assert not check_run(config, reporter)
    assert not (folder / "model" / "preprocessed").exists()


def test_the_image_as_its_own_target_stays_the_original(folder):
    session = open_at(
        folder, "resample, whiten", PREPROCESSING__resample_spacing="2, 2, 2.5", MULTITASK__tasks="own",
        **{"TASK own__type": "regression", "TASK own__target": "MR"},
    )  # fmt: skip
    subject = prepare_phase(session, "training", SilentReporter())[0]
    original = read_image(folder / "images" / "a_mr.nii.gz").array
    np.testing.assert_allclose(subject.image[..., 0], whiten(original), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(subject.target("own")).reshape(SHAPE), original)


def test_a_second_training_does_nothing_again_and_a_changed_file_or_setting_is_done_again(folder, reporter):
    place = folder / "model" / "preprocessed" / "MR"
    open_at(folder, "n4, whiten", PREPROCESSING__n4_iterations="3")
    first, manifest = stamps(place), (place / "manifest.csv").read_text()
    open_at(folder, "n4, whiten", PREPROCESSING__n4_iterations="3", PREPROCESSING__workers=2, reporter=reporter)
    assert stamps(place) == first
    assert (place / "manifest.csv").read_text() == manifest
    assert any("0 done, 3 done before, 0 failed" in message for message in reporter.messages)
    # The same image under another time stamp is the same image; another one is not.
    (folder / "images" / "a_mr.nii.gz").touch()
    write_image(folder / "images" / "b_mr.nii.gz", body(9, 1.0)[0], AFFINE)
    open_at(folder, "n4, whiten", PREPROCESSING__n4_iterations="3")
    assert {path.name for path, stamp in stamps(place).items() if first[path] != stamp} == {"b.nii.gz"}
    second = stamps(place)
    open_at(folder, "n4, whiten", PREPROCESSING__n4_iterations="4")
    assert all(second[path] != stamp for path, stamp in stamps(place).items())


def test_what_is_done_needs_no_scheduler_and_no_worker(folder, monkeypatch):
    open_at(folder, "whiten")
    monkeypatch.setattr("sfgkeras.preprocessing.folder.runners.ProcessRunner._pool", lambda *_: pytest.fail("a pool"))
    open_at(folder, "whiten", PREPROCESSING__workers=2)
    # Nobody answers at this address.
    open_at(folder, "whiten", PREPROCESSING__scheduler="tcp://127.0.0.1:9")


def test_a_fitted_step_from_outside_stands_in_an_ini_file_like_any_other(folder, score):
    with pytest.raises(ConfigError, match=r"\[PREPROCESSING\] has no option 'cohort_score_abov', did you mean"):
        config_of(folder, "cohort_score", PREPROCESSING__cohort_score_abov=1)
    place = folder / "model" / "preprocessed" / "MR"
    session = open_at(folder, "cohort_score", training=False)
    with pytest.raises(DataError, match=r"cohort_score\.json: there are no values; train first"):
        session.preprocessed.make(session.cohort.phase("inference"), SilentReporter())
    session = open_at(folder, "cohort_score", PREPROCESSING__cohort_score_above=30)
    (kept,) = read_values(place / "cohort_score.json").values()
    measured = [read_image(folder / "images" / f"{name}_mr.nii.gz").array for name in ("a", "b")]
    assert kept.modality == "MR"
    assert kept.numbers["mean"] == pytest.approx(np.mean([image[image > 30].mean() for image in measured]), rel=1e-5)
    image = session.preparation.image(session.cohort.subjects["c"])[..., 0]
    original = read_image(folder / "images" / "c_mr.nii.gz").array
    np.testing.assert_allclose(
        image, (original - kept.numbers["mean"]) / kept.numbers["deviation"], rtol=1e-4, atol=1e-4
    )
    config = session.config
    before = fingerprint.network_fingerprint(config)
    write_values(place / "cohort_score.json", {"MR": replace(kept, numbers={**kept.numbers, "mean": 1.0})})
    after = fingerprint.network_fingerprint(config)
    assert {key for key in before if before[key] != after[key]} == {"cohort_score of [MR]"}


def test_inference_takes_the_landmarks_of_training_and_never_fits_any(folder):
    place = folder / "model" / "preprocessed" / "MR"
    session = open_at(folder, "nyul", training=False)
    with pytest.raises(DataError, match=r"landmarks\.json: there are no landmarks; train first"):
        session.preprocessed.make(session.cohort.phase("inference"), SilentReporter())
    open_at(folder, "nyul")
    before = (place / "landmarks.json").read_bytes()
    session = open_at(folder, "nyul", training=False)
    # Whoever asks for an image gets it, also without having announced it.
    image = session.preparation.image(session.cohort.subjects["d"])
    np.testing.assert_array_equal(image[..., 0], read_image(place / "d.nii.gz").array)
    assert (place / "landmarks.json").read_bytes() == before
    expected = by_folder_command(folder, "nyul", training_subjects=["a", "b"], split=None)
    np.testing.assert_array_equal(read_image(place / "d.nii.gz").array, read_image(expected.outputs["d"]).array)
    page = (place / "overview.html").read_text()
    assert all(f"provenance/{name}.json" in page for name in SPLIT)


class Echo:
    """A network that has learned everything: it gives what it would be trained with."""

    def __init__(self, session):
        self._session = session
        self._subjects = iter(session.cohort.phase("inference"))

    def of(self, subject_id):
        return self

    def slabs(self, image):
        target = self._session.preparation.subject(next(self._subjects))
        organs = np.asarray(target.target("organs")).reshape(image.shape[:3])
        whole = (slice(None),) * 3
        yield "ct", whole, np.asarray(target.target("ct")).reshape((*image.shape[:3], 1))
        yield "organs", whole, np.eye(4)[organs]


@pytest.mark.parametrize("steps", ["whiten", "reorient, crop", "resample"])
def test_results_go_back_to_the_grid_and_the_units_of_the_original(folder, steps):
    session = open_at(folder, steps, training=False)
    subjects = session.cohort.phase("inference")
    session.preprocessed.make(subjects, SilentReporter())
    session.config.inference.save_seg_dir.mkdir(parents=True)
    results = Provenance(session.config.inference.save_seg_dir, "test")
    infer_volumes(session, Echo(session), subjects, results, SilentReporter())
    original = read_header(folder / "images" / "d_mr.nii.gz")
    written = read_image(prediction_path(session.config, "d", "ct"))
    assert written.array.shape == original.shape
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-5)
    labels = read_label_map(folder / "images" / "d_organs.nii.gz").array
    errors = np.abs(written.array - read_image(folder / "images" / "d_ct.nii.gz").array)[labels > 0]
    organs = read_label_map(prediction_path(session.config, "d", "organs")).array
    if steps == "resample":
        # Down and up again blurs borders; half a voxel's shift would more than double the errors.
        assert errors.mean() < 100
        assert np.mean(organs == labels) > 0.97
    else:
        assert errors.max() < 0.05
        np.testing.assert_array_equal(organs, labels)


def test_a_bad_training_subject_is_named_before_training_and_the_others_are_kept(folder):
    bad = folder / "images" / "b_mr.nii.gz"
    good = bad.read_bytes()
    write_image(bad, np.full(SHAPE, 7, np.int16), AFFINE)
    with pytest.raises(DataError) as refusal:
        open_at(folder, "whiten")
    message = str(refusal.value)
    assert f"{bad}: step whiten: the foreground is constant" in message
    assert "1 image cannot be preprocessed, the others are done and kept; repair the files" in message
    assert str(folder / "split.csv") in message
    kept = stamps(folder / "model" / "preprocessed" / "MR")
    assert {path.name for path in kept} == {"a.nii.gz", "c.nii.gz"}
    bad.write_bytes(good)
    open_at(folder, "whiten")
    assert kept.items() < stamps(folder / "model" / "preprocessed" / "MR").items()


def test_landmarks_are_not_fitted_without_a_bad_training_subject(folder):
    write_image(folder / "images" / "b_mr.nii.gz", np.full(SHAPE, 7, np.int16), AFFINE)
    with pytest.raises(DataError, match=r"b_mr\.nii\.gz.*\n1 of 2 training subjects cannot be used"):
        open_at(folder, "nyul")
    assert not (folder / "model" / "preprocessed" / "MR" / "landmarks.json").exists()


def test_a_state_of_other_preprocessing_is_not_gone_on_with(folder):
    saved = fingerprint.network_fingerprint(config_of(folder, "n4, whiten"))
    saved = json.loads(json.dumps(saved))
    fingerprint.refuse_other_network(config_of(folder, "bias_field, whiten", PREPROCESSING__workers=2), saved, folder)
    for other in (config_of(folder), config_of(folder, "n4, whiten", PREPROCESSING__n4_shrink_factor=2)):
        with pytest.raises(ConfigError, match="was trained with preprocessing = 'bias_field"):
            fingerprint.refuse_other_network(other, saved, folder)


def test_check_says_what_preprocessing_will_do_and_writes_nothing(folder, reporter):
    config = config_of(folder, "n4, resample", PREPROCESSING__n4_engine="antspyx", PREPROCESSING__workers=2)
    assert check_run(config, reporter)
    place = folder / "model" / "preprocessed"
    assert f"preprocessing of MR: bias_field, resample; 2 processes; into {place}" in reporter.messages
    settings = dict(reporter.tables["settings of its steps"][1])
    assert settings["bias_field_engine"] == "antspyx"
    assert settings["resample_spacing"] == "1.0, 1.0, 1.0"
    assert settings["resample_antialias"] == "yes"
    assert not (folder / "model" / "preprocessed").exists()


def test_the_verb_does_all_subjects_and_goes_on_past_a_bad_one(folder, reporter):
    config = config_of(folder, "reorient, whiten")
    bad = folder / "images" / "d_mr.nii.gz"
    bad.write_bytes(b"\x1f\x8b no image")
    assert preprocess(config, reporter) == 1
    place = source_folder(config.preprocessing, "MR")
    assert {path.name for path in place.glob("*.nii.gz")} == {"a.nii.gz", "b.nii.gz", "c.nii.gz"}
    assert any(str(bad) in warning for warning in reporter.warnings)
    write_image(bad, body(3, 1.7)[0], AFFINE)
    before = stamps(place)
    assert preprocess(config, reporter) == 0
    assert before.items() < stamps(place).items()
    assert preprocess(config, reporter, restart=True) == 0
    assert all(stamps(place)[path] != stamp for path, stamp in before.items())
    with pytest.raises(ConfigError, match=r"run\.ini: has no \[PREPROCESSING\]; add it with a line steps"):
        preprocess(config_of(folder), reporter)


def test_the_verb_draws_the_split_before_it_fits_landmarks(folder, reporter):
    (folder / "split.csv").unlink()
    config = config_of(folder, "nyul", TRAINING__exclude_fraction_for_inference=0.5)
    assert preprocess(config, reporter) == 0
    training = {line.split(",")[0] for line in (folder / "split.csv").read_text().splitlines() if "training" in line}
    assert len(training) == 2
    (found,) = read_landmarks(source_folder(config.preprocessing, "MR") / "landmarks.json").values()
    assert {name.split("@")[0] for name in found.fitted_on} == training
    assert found.modality == "MR"


def test_every_source_has_a_folder_of_its_own(folder):
    section = config_of(folder, "n4").preprocessing
    folders = [source_folder(section, name) for name in ("MR", "T2/fs", "..", "T2 fs")]
    assert len(set(folders)) == 4
    assert all(path.parent == section.output for path in folders)


def run_cli(*arguments):
    command = [sys.executable, "-c", "from sfgkeras.cli import main; main()", "preprocess", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}, check=False)


def test_the_command_line_takes_an_ini_file_or_a_folder_and_not_both_or_neither(folder):
    path = config_of(folder).path
    path.write_text(f"{path.read_text()}\n[PREPROCESSING]\nsteps = whiten\npictures = no\n")
    ended = run_cli("-c", path, "--PREPROCESSING.output", folder / "elsewhere")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "preprocessed MR: 4 done, 0 done before, 0 failed" in ended.stdout
    assert (folder / "elsewhere" / "MR" / "d.nii.gz").is_file()
    for arguments, message in (
        (("-c", path, "--input", folder / "images"), "--input stands beside -c; give an INI file, or --input"),
        (("-c", path, "--workers", "2"), "--workers stands beside -c"),
        ((), "--input and --output and --steps missing; give an INI file with -c FILE, or --input DIR"),
        (("--input", folder, "--output", folder / "x"), "--steps missing"),
    ):
        ended = run_cli(*arguments)
        assert ended.returncode == 2
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr


LANDMARKS = {"NETWORK__normalisation": "yes", "NETWORK__histogram_ref_file": "landmarks.json"}
RESAMPLED = {f"{name}__{key}": value for name in ("MR", "CT", "ORGANS") for key, value in
             (("pixdim", "3, 3, 3"), ("axcodes", "RAS"))}  # fmt: skip


def test_landmarks_of_a_folder_run_serve_training_and_those_of_training_a_folder_run(folder):
    steps, settings = "reorient, resample, nyul", {"resample_spacing": "3", "nyul_foreground": "all"}
    by_folder = by_folder_command(folder, steps, settings)
    trained = open_at(folder, **LANDMARKS, **RESAMPLED).preparation.landmarks["MR"]
    (found,) = read_landmarks(by_folder.fitted["histogram"]).values()
    np.testing.assert_allclose(trained.values, found.values, atol=1e-3)
    assert (trained.preparation, trained.foreground) == (found.preparation, found.foreground)
    own = folder / "model" / "landmarks.json"

    own.write_bytes(by_folder.fitted["histogram"].read_bytes())
    assert open_at(folder, **LANDMARKS, **RESAMPLED).preparation.landmarks["MR"] == found
    with pytest.raises(DataError, match=r"stale, fitted with steps before 'reorient\(axcodes=R A S\); .*', now 'none'"):
        open_at(folder, **LANDMARKS)
    with pytest.raises(DataError, match="stale, fitted with foreground rule 'all', now 'otsu_plus'"):
        open_at(folder, **LANDMARKS, **RESAMPLED, NETWORK__normalise_foreground_only="yes")

    own.unlink()
    open_at(folder, **LANDMARKS, **RESAMPLED)
    settings["nyul_ref_file"] = str(own)
    by_folder = by_folder_command(folder, steps, settings, training_subjects=["a", "b"], split=None)
    assert by_folder.fitted == {"histogram": own}
    with pytest.raises(DataError, match="training subjects without c@"):
        by_folder_command(folder, steps, settings, training_subjects=["a", "b", "c"], split=None)
    with pytest.raises(DataError, match="stale, fitted with steps before"):
        by_folder_command(folder, "resample, nyul", settings)


def test_landmarks_after_preprocessing_name_all_the_steps_before(folder):
    config = config_of(folder, "clip, reorient", PREPROCESSING__clip_limits="0, 400", **LANDMARKS, **RESAMPLED)
    session = open_session(config, SilentReporter(), True)
    assert session.preparation.landmarks["MR"].preparation == (
        "clip(limits=0 400, percentiles=none); reorient(axcodes=R A S); reorient(axcodes=R A S); "
        "resample(spacing=3 3 3, order=1, antialias=yes)"
    )
    assert preparation_text(config_of(folder), "MR") == "none"
    assert describe_steps(config).startswith("clip(limits=[0.0, 400.0]")
    # Fitted on what the section made: nothing above the limit is left.
    path = session.preprocessed.images["MR"]["a"].path
    image = read_image(path)
    assert image.array.max() == 400
    expected = resample_to_spacing(image.array, image.affine, 3.0)[0]
    measured = session.preparation.measured(session.cohort.subjects["a"])["MR"]
    np.testing.assert_allclose(measured.array, expected, atol=1e-3)
