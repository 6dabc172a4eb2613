"""The line from an INI file to results on real images: brain slabs, T2 to ADC, template MR to CT."""

import csv
import importlib.util
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from sfgkeras.applications import run
from sfgkeras.config import Config, read_config
from sfgkeras.preprocessing.folder import run_folder
from sfgkeras.preprocessing.resampling import resample_to_spacing

ITERATIONS = 30


def load_benchmark(name):
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


brain_slabs_cohort = load_benchmark("brain_slabs_cohort")


def write_config(path: Path, text: str, **values) -> Config:
    values |= {"model_dir": path.parent / "model", "iterations": ITERATIONS}
    path.write_text(textwrap.dedent(text).format(**values))
    return read_config(path, [("TRAINING.tensorboard_every_n", "1")])


def run_all(config: Config, reporter, dataset: str):
    run.train(config, reporter)
    run.infer(config, reporter, dataset)
    return run.evaluate(config, reporter, dataset)


def assert_losses_fall(config: Config, factor: float):
    """Mean loss of the last ten iterations against the first five, for the sum and each task."""
    with (config.system.model_dir / "logs" / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == list(range(1, ITERATIONS + 1))
    for name in ("loss", *config.tasks):
        values = np.array([float(row[name]) for row in rows])
        assert values[-10:].mean() < factor * values[:5].mean(), name


def read_result(config: Config, subject_id: str, task: str):
    return nib.load(config.inference.save_seg_dir / f"{subject_id}_{task}_predicted.nii.gz")


def assert_on_grid_of(result, original_path: Path):
    original = nib.load(original_path)
    assert result.shape == original.shape
    np.testing.assert_allclose(result.affine, original.affine, atol=1e-4)
    assert nib.aff2axcodes(result.affine) == nib.aff2axcodes(original.affine)
    for code in ("qform_code", "sform_code"):
        assert result.header[code] == original.header[code]


def measured(summary, **group) -> float:
    (row,) = [row for row in summary if group.items() <= row.items()]
    return row["mean"]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


def test_dividing_a_noiseless_slab_by_its_field_gives_the_slab_back_and_the_field_is_smooth_and_bounded():
    image = np.random.default_rng(0).random((24, 5, 20), np.float32)
    corrupted = brain_slabs_cohort.corrupt(image, np.random.default_rng(1), strength=0.4, noise=0.0)
    field = brain_slabs_cohort.bias_field(image.shape, np.random.default_rng(1), strength=0.4)
    np.testing.assert_allclose(corrupted / field, image, rtol=1e-5)
    assert np.abs(np.log(field)).max() == pytest.approx(0.4, rel=1e-5)
    # A polynomial of degree 3: its fourth differences vanish, and it is no constant.
    assert np.abs(np.diff(np.log(field.astype(float)), n=4, axis=0)).max() < 1e-5
    assert np.log(field).std() > 0.05


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("sharing", [pytest.param("hard_sharing", marks=pytest.mark.ci_sample), pytest.param("sfg")])
def test_clean_t1_and_tissues_are_learned_from_noisy_slabs_of_another_orientation(
    real_data, tmp_path, reporter, sharing
):
    source, cohort = real_data / "mr_brain_multi", tmp_path / "cohort"
    brain_slabs_cohort.write_cohort(source, cohort)
    brain_slabs_cohort.write_ini(
        tmp_path / "run.ini",
        model_dir=tmp_path / "model",
        iterations=ITERATIONS,
        test_subject="9",
        threads=2,
        cohort=cohort,
        source=source,
        window=48,
        seed=0,
        sharing=sharing,
        width=0.25,
        batch_size=8,
        learning_rate=5e-3,
        validate_every=ITERATIONS if sharing == "hard_sharing" else -1,
        initial_probabilities="0.1, 0.1, 0.8",
        grouping_rate=0.05,
        anneal_rate=0.1,
        entropy_decay=1e-3,
        output_activation="linear",
        whitening="yes",
        averages="",
    )
    config = read_config(tmp_path / "run.ini", [("TRAINING.tensorboard_every_n", "1")])
    summary = run_all(config, reporter, "inference")
    assert_losses_fall(config, 0.85)
    subject_id = "9"
    results = {}
    for task, name in (("t1", f"ilist{subject_id}_T1"), ("tissue", f"slist{subject_id}_tissue")):
        result = read_result(config, subject_id, task)
        assert_on_grid_of(result, source / f"{name}.nii.gz")
        truth = np.asarray(nib.load(source / f"{name}.nii.gz").dataobj, np.float32)
        results[task] = truth, np.asarray(result.dataobj)

    truth, predicted = results["t1"]
    # Heads are nearly symmetric; an axis turned on the way back shows all the same.
    found = correlation(truth, predicted)
    assert found > 0.85
    assert max(correlation(truth, np.flip(predicted, axis)) for axis in range(3)) < found - 0.005
    assert measured(summary["t1"], region="all", measure="mae") == pytest.approx(
        np.abs(truth - predicted).mean(), rel=1e-4
    )
    truth, predicted = results["tissue"]
    for label, name in enumerate(brain_slabs_cohort.TISSUES[1:], start=1):
        in_truth, in_prediction = truth == label, predicted == label
        dice = 2 * (in_truth & in_prediction).sum() / (in_truth.sum() + in_prediction.sum())
        assert measured(summary["tissue"], label=name, measure="dice") == pytest.approx(dice, abs=1e-6)


ADC_INI = """
    [T2]
    csv_file = {folder}/t2.csv
    pixdim = 1.5, 1.5, 3
    spatial_window_size = 32, 32, 1

    [ADC]
    csv_file = {folder}/adc.csv
    pixdim = 1.5, 1.5, 3

    [SYSTEM]
    model_dir = {model_dir}
    dataset_split_file = {folder}/split.csv

    [NETWORK]
    name = highresnet
    width = 0.25
    batch_size = 4
    whitening = yes
    normalise_foreground_only = yes

    [TRAINING]
    loss_type = rmse
    lr = 5e-3
    max_iter = {iterations}
    rotation_angle = -10, 10

    [INFERENCE]
    spatial_window_size = 64, 64, 1
    border = 4, 4, 0

    [EVALUATION]
    evaluations = mae, rmse

    [REGRESSION]
    image = T2
    output = ADC
    scale = 0.001
"""


@pytest.mark.real_data
@pytest.mark.slow
def test_adc_of_another_grid_is_learned_from_t2_and_written_on_the_grid_of_t2(real_data, tmp_path, reporter):
    folder = real_data / "pairs_t2_adc" / "ProstateX-0000"
    # The pair at hand is on one grid already; scanners give ADC coarser, on a grid of its own.
    original = nib.load(folder / "adc.nii.gz")
    coarse, affine = resample_to_spacing(np.asarray(original.dataobj, np.float32), original.affine, (2.0, 2.0, 3.0), 1)
    nib.save(nib.Nifti1Image(coarse, affine), tmp_path / "adc.nii.gz")
    (tmp_path / "t2.csv").write_text(f"ProstateX-0000,{folder / 't2.nii.gz'}\n")
    (tmp_path / "adc.csv").write_text("ProstateX-0000,adc.nii.gz\n")
    (tmp_path / "split.csv").write_text("ProstateX-0000,training\n")
    config = write_config(tmp_path / "run.ini", ADC_INI, folder=tmp_path)

    summary = run_all(config, reporter, "training")
    assert_losses_fall(config, 0.8)
    result = read_result(config, "ProstateX-0000", "regression")
    assert_on_grid_of(result, folder / "t2.nii.gz")
    truth = SimpleITK.ReadImage(str(tmp_path / "adc.nii.gz"), SimpleITK.sitkFloat32)
    predicted = SimpleITK.ReadImage(result.get_filename(), SimpleITK.sitkFloat32)
    covered = SimpleITK.Resample(truth, predicted, SimpleITK.Transform(), SimpleITK.sitkLinear, -1e6)
    truth, predicted = (SimpleITK.GetArrayFromImage(image) for image in (covered, predicted))
    inside = truth > -1e5
    assert inside.mean() > 0.9
    mae = np.abs(truth - predicted)[inside].mean()
    assert measured(summary["regression"], region="all", measure="mae") == pytest.approx(mae, rel=0.02)
    # In units of the file (1e-6 mm2/s), not of the network.
    assert 0.5 < predicted[inside].mean() / truth[inside].mean() < 2.0


CT_INI = """
    [MR]
    csv_file = {folder}/mr.csv
    spatial_window_size = 32, 32, 1

    [CT]
    csv_file = {folder}/ct.csv
    scaling = ct
    padding_value = -1024

    [TISSUE]
    csv_file = {folder}/tissue.csv

    [SYSTEM]
    model_dir = {model_dir}
    dataset_split_file = {folder}/split.csv

    [NETWORK]
    name = highresnet
    sharing = hard_sharing
    width = 0.25
    batch_size = 4
    whitening = yes

    [TRAINING]
    lr = 5e-3
    max_iter = {iterations}
    scaling_percentage = -10, 10

    [INFERENCE]
    spatial_window_size = 128, 128, 1

    [EVALUATION]
    evaluations = mae, dice
    intensity_bounds = bone: 200, 3000

    [MULTITASK]
    image = MR
    tasks = ct, tissue
    loss_border = 2

    [TASK ct]
    type = regression
    target = CT

    [TASK tissue]
    type = segmentation
    target = TISSUE
    num_classes = 4
"""


@pytest.mark.real_data
@pytest.mark.slow
def test_ct_of_the_template_is_learned_from_mr_and_written_in_hounsfield_units(real_data, tmp_path, reporter):
    folder = real_data / "pairs_template_mr_ct"
    for name in ("mr", "ct", "tissue"):
        (tmp_path / f"{name}.csv").write_text(f"template,{folder / f'{name}.nii.gz'}\n")
    (tmp_path / "split.csv").write_text("template,training\n")
    config = write_config(tmp_path / "run.ini", CT_INI, folder=tmp_path)

    summary = run_all(config, reporter, "training")
    assert_losses_fall(config, 0.9)
    truth = np.asarray(nib.load(folder / "ct.nii.gz").dataobj, np.float32)
    result = read_result(config, "template", "ct")
    assert_on_grid_of(result, folder / "mr.nii.gz")
    predicted = np.asarray(result.dataobj)
    errors = np.abs(predicted - truth)
    assert errors.mean() < np.abs(truth - np.median(truth)).mean()
    assert measured(summary["ct"], region="all", measure="mae") == pytest.approx(errors.mean(), rel=1e-4)
    bone = (truth >= 200) & (truth <= 3000)
    assert measured(summary["ct"], region="bone", measure="mae") == pytest.approx(errors[bone].mean(), rel=1e-4)
    labels = np.asarray(read_result(config, "template", "tissue").dataobj)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= set(range(4))
    assert len({row["label"] for row in summary["tissue"]}) == 3


PREPROCESSED_INI = """
    [T1]
    path_to_search = {source}
    filename_contains = ilist, _T1
    spatial_window_size = 32, 32, 1

    [TISSUE]
    path_to_search = {source}
    filename_contains = slist, _tissue

    [SYSTEM]
    model_dir = {model_dir}

    [PREPROCESSING]
    steps = n4, reorient, crop, resample, nyul, whiten
    n4_iterations = 5, 5
    resample_spacing = 3, 3, 2
    nyul_foreground = threshold_plus
    workers = 2

    [NETWORK]
    name = highresnet
    width = 0.25
    batch_size = 2
    batch_norm = population

    [TRAINING]
    max_iter = 2
    save_every_n = 1

    [INFERENCE]
    spatial_window_size = 64, 64, 1

    [SEGMENTATION]
    image = T1
    label = TISSUE
    num_classes = 5
"""


@pytest.mark.real_data
@pytest.mark.slow
def test_slabs_are_preprocessed_once_before_training_as_the_folder_command_does_it(real_data, tmp_path, reporter):
    source = real_data / "mr_brain_multi"
    config = write_config(tmp_path / "run.ini", PREPROCESSED_INI, source=source)
    config.system.model_dir.mkdir()
    config.system.dataset_split_file.write_text("1,training\n13,training\n9,inference\n")
    run.train(config, reporter)
    folder = config.preprocessing.output / "T1"
    written = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}
    assert set(written) == {"1.nii.gz", "13.nii.gz"}
    manifest, landmarks = (folder / "manifest.csv").read_text(), (folder / "landmarks.json").read_bytes()

    longer = read_config(config.path, [("TRAINING.max_iter", "3")])
    run.train(longer, reporter)
    assert any("0 done, 2 done before, 0 failed" in message for message in reporter.messages)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")} == written
    assert (folder / "manifest.csv").read_text() == manifest

    run.infer(longer, reporter)
    assert (folder / "landmarks.json").read_bytes() == landmarks
    assert_on_grid_of(read_result(longer, "9", "segmentation"), source / "ilist9_T1.nii.gz")
    # Inference preprocesses its own subject, and evaluation compares with the original label map.
    summary = run.evaluate(longer, reporter)
    labels = np.asarray(nib.load(source / "slist9_tissue.nii.gz").dataobj)
    predicted = np.asarray(read_result(longer, "9", "segmentation").dataobj)
    dice = 2 * ((labels == 3) & (predicted == 3)).sum() / ((labels == 3).sum() + (predicted == 3).sum())
    assert measured(summary["segmentation"], label="3", measure="dice") == pytest.approx(dice, abs=1e-6)

    settings = config.preprocessing.settings
    files = {name: source / f"ilist{name}_T1.nii.gz" for name in ("1", "13", "9")}
    by_folder = run_folder(
        files, tmp_path / "by_folder", ", ".join(config.preprocessing.steps), settings, workers=2,
        split=config.system.dataset_split_file, pictures=False,
    )  # fmt: skip
    for name, path in by_folder.outputs.items():
        # One thread to a worker: N4 is the same to the last bit.
        assert (folder / f"{name}.nii.gz").read_bytes() == path.read_bytes()
