"""New patients from a model folder alone: the numbers of inference, bit for bit, and clear words where it cannot be."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.predict import predict
from sfgkeras.data.nifti import read_header, read_image, reorient, write_image
from sfgkeras.errors import ConfigError, DataError

NAMES = [f"phantom_00{n}" for n in range(4)]
TASKS = ("ct", "organs")


def never():
    raise AssertionError("a network was about to be built")


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def place(config_maker, cohort, tmp_path_factory):
    """A trained and inferred run whose model folder was moved to `moved`, without its store; its data are gone."""
    folder = tmp_path_factory.mktemp("predict")
    shutil.copytree(cohort, folder / "images")
    sources = {f"{name}.path_to_search": folder / "images" for name in ("MR", "CT", "ORGANS")}
    sfg = {
        "NETWORK.sharing": "sfg",
        "NETWORK.batch_norm": "recalibrated",
        "TRAINING.max_iter": 2,
        "TRAINING.schedule": "paper",
    }
    config = config_maker(folder)({**sources, **sfg, "TRAINING.validation_every_n": 0})
    run.train(config)
    run.infer(config, dataset="all")
    shutil.move(folder / "model", folder / "moved")
    shutil.rmtree(folder / "moved" / "cache")
    shutil.move(folder / "moved" / "predictions", folder / "inferred")
    shutil.rmtree(folder / "images")
    return folder


@pytest.fixture
def new(place, cohort, tmp_path):
    """Returns a function: inputs, overrides, other arguments -> subjects; results are in `out`."""

    def predict_new(*inputs, overrides=(), name="moved", output="out", **arguments):
        found = read_trained_run(str(place / name), list(overrides))
        return predict(found, [str(path) for path in inputs], tmp_path / output, **arguments)

    return predict_new


def assert_as_inferred(place, folder, names):
    for new, old in names.items():
        for task in TASKS:
            found = (folder / f"{new}_{task}_predicted.nii.gz").read_bytes()
            assert found == (place / "inferred" / f"{old}_{task}_predicted.nii.gz").read_bytes(), (new, task)


def test_results_are_those_of_inference_bit_for_bit_and_the_model_folder_is_only_read(
    new, place, cohort, tmp_path, reporter
):
    before = content(place / "moved")
    subjects = new(cohort, reporter=reporter)
    assert [subject.subject_id for subject in subjects] == NAMES
    assert_as_inferred(place, tmp_path / "out", dict(zip(NAMES, NAMES, strict=True)))
    assert content(place / "moved") == before
    assert {path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith(".nii.gz")} <= {
        "provenance.json"
    }
    assert any("8 results" in text and str(tmp_path / "out") in text for text in reporter.messages)


def test_a_folder_for_each_patient_and_single_files_give_the_same(new, place, cohort, tmp_path):
    for patient, name in (("P07", NAMES[0]), ("P08", NAMES[1])):
        (tmp_path / "new" / patient).mkdir(parents=True)
        shutil.copy(cohort / f"{name}_mr.nii.gz", tmp_path / "new" / patient / "mr.nii.gz")
        shutil.copy(cohort / f"{name}_ct.nii.gz", tmp_path / "new" / patient / "ct.nii.gz")
    new(tmp_path / "new", f"MR={cohort / NAMES[2]}_mr.nii.gz")
    assert_as_inferred(place, tmp_path / "out", {"P07": NAMES[0], "P08": NAMES[1], NAMES[2]: NAMES[2]})


def test_an_image_of_another_orientation_is_turned_as_in_training_and_its_results_back(new, place, cohort, tmp_path):
    image = read_image(cohort / f"{NAMES[0]}_mr.nii.gz")
    turned, affine = reorient(image.array, image.affine, ("P", "I", "L"))
    write_image(tmp_path / "turned.nii.gz", turned, affine)
    new(tmp_path / "turned.nii.gz")
    for task in TASKS:
        path = tmp_path / "out" / f"turned_{task}_predicted.nii.gz"
        assert read_header(path).axcodes == ("P", "I", "L")
        assert read_header(path).shape == turned.shape
        found = read_image(path)
        back, _ = reorient(found.array, found.affine, ("R", "A", "S"))
        expected = read_image(place / "inferred" / f"{NAMES[0]}_{task}_predicted.nii.gz").array
        if task == "organs":
            assert (back != expected).mean() < 1e-3
        else:
            np.testing.assert_allclose(back, expected, atol=0.5)
            assert np.ptp(expected) > 10


def test_what_was_done_is_not_done_again_and_another_image_of_the_same_name_is_refused(new, cohort, tmp_path):
    shutil.copy(cohort / f"{NAMES[0]}_mr.nii.gz", tmp_path / "p.nii.gz")
    new(tmp_path / "p.nii.gz")
    before = content(tmp_path / "out")
    new(tmp_path / "p.nii.gz", before_network=never)
    shutil.copy(cohort / f"{NAMES[1]}_mr.nii.gz", tmp_path / "p.nii.gz")
    with pytest.raises(DataError, match=r"p_ct_predicted\.nii\.gz exists and was made from other images"):
        new(tmp_path / "p.nii.gz", before_network=never)
    assert content(tmp_path / "out") == before
    new(tmp_path / "p.nii.gz", overwrite=True)
    assert content(tmp_path / "out").keys() == before.keys()
    assert content(tmp_path / "out") != before


def test_batches_of_prediction_are_free_and_need_no_other_statistics(new, place, cohort, tmp_path):
    path = cohort / f"{NAMES[3]}_mr.nii.gz"
    new(path, overrides=[("NETWORK.batch_size", "3"), ("TASK.organs.output_prob", "yes")])
    found, expected = (
        read_image(folder / f"{NAMES[3]}_ct_predicted.nii.gz").array
        for folder in (tmp_path / "out", place / "inferred")
    )
    np.testing.assert_allclose(found, expected, atol=0.5)
    assert (tmp_path / "out" / f"{NAMES[3]}_organs_predicted_probabilities.nii.gz").is_file()


def test_missing_statistics_are_refused_with_what_to_do_or_measured_where_the_data_are(
    new, place, cohort, tmp_path, reporter
):
    path = cohort / f"{NAMES[0]}_mr.nii.gz"
    sample = [("INFERENCE.masks", "sample"), ("INFERENCE.monte_carlo", "2")]
    with pytest.raises(DataError) as refusal:
        new(path, overrides=sample, before_network=never)
    (line,) = str(refusal.value).splitlines()
    assert "no normalisation statistics of iteration 2 with masks = sample" in line
    assert f"{place / 'images'}: does not exist" in line
    assert "use --INFERENCE.masks auto, whose statistics are there" in line
    assert "--NETWORK.batch_norm population" in line
    new(path, overrides=[*sample, ("NETWORK.batch_norm", "population")], output="maps")
    spread = read_image(tmp_path / "maps" / f"{NAMES[0]}_ct_predicted_std.nii.gz").array
    assert spread.max() > 0
    shutil.copytree(place / "moved", place / "whole")
    shutil.copytree(cohort, place / "images")
    try:
        new(path, overrides=sample, name="whole", output="measured")
        made = {each.name for each in (place / "whole" / "checkpoints").iterdir()}
        made -= {each.name for each in (place / "moved" / "checkpoints").iterdir()}
        assert len(made) == 1
        assert f"{made.pop().rpartition('_')[0]}*.npz" in line
    finally:
        shutil.rmtree(place / "images")
        shutil.rmtree(place / "whole")


def test_what_the_model_folder_lacks_is_said_before_a_network_is_built(new, place, cohort, tmp_path):
    path = cohort / f"{NAMES[0]}_mr.nii.gz"
    shutil.copytree(place / "moved", place / "less")
    try:
        (place / "less" / "landmarks.json").unlink()
        with pytest.raises(DataError, match=r"landmarks\.json: the histogram landmarks .*histogram_ref_file FILE"):
            new(path, name="less", before_network=never)
        overrides = [("NETWORK.histogram_ref_file", str(place / "moved" / "landmarks.json"))]
        new(path, name="less", overrides=overrides)
        assert_as_inferred(place, tmp_path / "out", {NAMES[0]: NAMES[0]})
        for state in (place / "less" / "checkpoints").glob("*"):
            state.unlink()
        with pytest.raises(DataError, match="no checkpoint"):
            new(path, name="less", before_network=never)
    finally:
        shutil.rmtree(place / "less")


def test_images_that_cannot_be_used_are_refused_before_a_network_is_built(new, cohort, tmp_path):
    image = read_image(cohort / f"{NAMES[0]}_mr.nii.gz")
    bad = image.array.copy()
    bad[3, 3, 3] = np.nan
    write_image(tmp_path / "nan.nii.gz", bad, image.affine)
    with pytest.raises(DataError, match=r"nan\.nii\.gz: 1 voxels are NaN"):
        new(tmp_path / "nan.nii.gz", before_network=never)
    write_image(tmp_path / "series.nii.gz", np.stack([image.array] * 2, axis=-1), image.affine)
    with pytest.raises(DataError, match=r"series\.nii\.gz: .*4"):
        new(tmp_path / "series.nii.gz", before_network=never)
    with pytest.raises(DataError, match="is the folder of the image"):
        new(tmp_path / "nan.nii.gz", output=".", before_network=never)


def test_the_command_line_takes_several_files_and_refuses_without_loading_tensorflow(place, cohort, tmp_path):
    files = [str(cohort / f"{name}_mr.nii.gz") for name in NAMES[:2]]
    arguments = ["predict", "-c", str(place / "moved"), "--input", *files, "--INFERENCE.inference_iter", "77"]
    code = (
        "import sys\nfrom sfgkeras.cli import main\n"
        f"try:\n    main({[*arguments, '--output', str(tmp_path / 'out')]!r})\n"
        "except SystemExit as end:\n    print(end.code, sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "2 []"
    assert "may be one of: 0, 2" in result.stderr


def test_steps_of_preprocessing_use_the_landmarks_of_the_training(config_maker, cohort, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    steps = {
        "PREPROCESSING.steps": "clip, nyul", "PREPROCESSING.clip_limits": "0, 900", "NETWORK.normalisation": "no",
        "PREPROCESSING.pictures": "no", "TRAINING.max_iter": 1, "TRAINING.validation_every_n": 0,
    }  # fmt: skip
    config = config_maker(folder)(steps)
    run.train(config)
    run.infer(config)
    (expected,) = config.inference.save_seg_dir.glob("*_ct_predicted.nii.gz")
    name = expected.name.removesuffix("_ct_predicted.nii.gz")
    images = content(config.system.model_dir / "preprocessed")
    found = read_trained_run(str(config.system.model_dir))
    predict(found, [str(cohort / f"{name}_mr.nii.gz")], tmp_path / "out")
    assert (tmp_path / "out" / expected.name).read_bytes() == expected.read_bytes()
    assert content(config.system.model_dir / "preprocessed") == images
    landmarks = config.system.model_dir / "preprocessed" / "MR" / "landmarks.json"
    landmarks.unlink()
    with pytest.raises(DataError, match=f"{landmarks}: the histogram landmarks of the training are not there"):
        predict(found, [str(cohort / f"{name}_mr.nii.gz")], tmp_path / "none", before_network=never)


def test_a_network_of_other_settings_is_refused(place, cohort, tmp_path):
    changed = (place / "moved" / "configuration.ini").read_text().replace("width = 0.25", "width = 0.5")
    shutil.copytree(place / "moved" / "checkpoints", tmp_path / "other" / "checkpoints")
    (tmp_path / "other" / "configuration.ini").write_text(changed)
    found = read_trained_run(str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"trained with width = 0\.25"):
        predict(found, [str(cohort / f"{NAMES[0]}_mr.nii.gz")], tmp_path / "out", before_network=never)


@pytest.mark.real_data
def test_a_real_dicom_series_gives_what_its_nifti_gives(new, real_data, tmp_path):
    series = real_data / "dicom_mr_pelvis" / "ProstateX-0000_t2tra"
    image = read_image(series)
    write_image(tmp_path / "same.nii.gz", image.array, image.affine)
    subjects = new(series, tmp_path / "same.nii.gz")
    assert [subject.subject_id for subject in subjects] == ["ProstateX-0000_t2tra", "same"]
    for task in TASKS:
        one, other = (
            read_image(tmp_path / "out" / f"{name}_{task}_predicted.nii.gz")
            for name in ("ProstateX-0000_t2tra", "same")
        )
        assert one.array.shape == image.array.shape
        np.testing.assert_allclose(one.affine, image.affine, atol=1e-4)
        # The affines differ in the last digit of a float32, and so does what interpolation gives.
        assert (np.abs(one.array - other.array) > 0.5).mean() < 1e-4
        assert np.ptp(one.array) > 0
